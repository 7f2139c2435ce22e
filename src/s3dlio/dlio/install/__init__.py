"""Installs s3dlio into DLIO, with one of the options of the integration guide."""
