"""The stores for file:// and direct://."""
