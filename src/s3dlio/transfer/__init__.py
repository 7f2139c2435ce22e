"""What sits between a verb and a store: running operations, batches, trees, writers."""
