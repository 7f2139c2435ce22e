# SPDX-License-Identifier: Apache-2.0
"""Credentials of each service, and how they authorize requests.

Signatures (`aws.sigv4`, `azure.shared_key`) are pure functions of credentials, request and time. The other modules read
files or ask a service for credentials, before a request is sent.
"""

ANONYMOUS = "To read a public bucket or container without credentials, set S3DLIO_NO_SIGN=1."
"""The last sentence of an error about missing credentials."""
