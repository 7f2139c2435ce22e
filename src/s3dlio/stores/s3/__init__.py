"""The store for s3://."""
