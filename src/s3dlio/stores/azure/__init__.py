"""The store for az://."""
