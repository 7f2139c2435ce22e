"""Credentials and signatures for Amazon S3 and compatible services."""
