# SPDX-License-Identifier: Apache-2.0
"""Key files of Google Cloud, with keys that open nothing."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

EMAIL = "loader@project.iam.gserviceaccount.com"


@lru_cache(maxsize=1)
def private_key() -> str:
    """An RSA key generated for this run, as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def service_account(token_uri: str) -> dict[str, Any]:
    """The content of a service account's key file."""
    return {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "key-id",
        "private_key": private_key(),
        "client_email": EMAIL,
        "client_id": "1",
        "token_uri": token_uri,
    }


def authorized_user() -> dict[str, Any]:
    """The content of the file that `gcloud auth application-default login` writes."""
    return {
        "type": "authorized_user",
        "client_id": "client",
        "client_secret": "the client's secret",
        "refresh_token": "the refresh token",
        "quota_project_id": "billed",
    }


def external_account(token_url: str, subject_file: Path) -> dict[str, Any]:
    """A workload identity whose subject token is in a file, as Kubernetes writes it."""
    return {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/provider",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": token_url,
        "credential_source": {"file": str(subject_file)},
    }


def written(path: Path, info: dict[str, Any]) -> str:
    """Write a key file; returns its path."""
    path.write_text(json.dumps(info))
    return str(path)
