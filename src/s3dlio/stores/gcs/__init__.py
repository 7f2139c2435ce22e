"""The store for gs://."""
