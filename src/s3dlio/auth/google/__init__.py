"""Credentials and signatures for Google Cloud Storage."""
