"""Credentials and signatures for Azure Blob Storage."""
