# SPDX-License-Identifier: Apache-2.0
"""Gets a token of Entra ID through azure-identity, which is imported only when one is needed.

azure-identity finds the identity: workload identity, managed identity, client secret or certificate, Azure CLI and
others. Each token is fetched with a new object of azure-identity, because an old one could return a refused token from
its cache.

Source: azure-identity, "Credential chains".
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Any

from s3dlio import forks, redaction
from s3dlio.auth import ANONYMOUS
from s3dlio.errors import ConfigurationError, missing_extra

Fields = tuple[tuple[str, str], ...]

_SCOPE = "https://storage.azure.com/.default"  # in every cloud

# azure-identity's own requests: a token service that cannot be reached must not hold up a call for long.
_REQUESTS = {"connection_timeout": 2, "read_timeout": 10, "retry_connect": 1}

# The variables that azure-identity reads. After a change of one, another token is fetched.
VARIABLES = (
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_CONFIG_DIR",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_PASSWORD",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZURE_TENANT_ID",
    "AZURE_TOKEN_CREDENTIALS",
    "AZURE_USERNAME",
    "HOME",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
)
_SECRET_VARIABLES = ("AZURE_CLIENT_SECRET", "AZURE_PASSWORD", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "IDENTITY_HEADER")

_NOT_SET = (
    "no credentials for az://: none of AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN and"
    " AZURE_STORAGE_CONNECTION_STRING is set"
)

# Without a handler of the program, azure-identity's log would go to standard error. Its errors are raised instead.
logging.getLogger("azure.identity").addHandler(logging.NullHandler())


def fetch_token() -> tuple[Fields, float]:
    """A new token, as the header fields that carry it, and the second at which it expires.

    Raises:
        ConfigurationError: azure-identity is not installed, or has found no identity.
    """
    try:
        with forks.delayed:
            from azure.core.exceptions import AzureError
            from azure.identity import DefaultAzureCredential
    except ImportError:
        raise missing_extra(
            f"{_NOT_SET}, and Entra ID (managed identity, workload identity, client secret, Azure CLI)",
            "azure-identity",
            "azure",
            ANONYMOUS,
        ) from None
    try:
        # A given authority is trusted without asking the public cloud about it, which fails in other clouds.
        trusted = bool(os.environ.get("AZURE_AUTHORITY_HOST"))
        made = DefaultAzureCredential(**_REQUESTS, disable_instance_discovery=trusted)
        with contextlib.closing(made) as identity:
            token: Any = identity.get_token(_SCOPE)
    # ValueError and OSError too: azure-identity raises them for variables and files that it cannot use.
    except (AzureError, ValueError, OSError) as error:
        # Raised without its cause, because an answer of the token service may hold more than the message.
        raise ConfigurationError(
            f"{_NOT_SET}, and Entra ID gave no token: {_without_secrets(str(error)).rstrip('.')}; "
            f"check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or the machine's identity. {ANONYMOUS}"
        ) from None
    redaction.remember(token.token)
    return (("Authorization", f"Bearer {token.token}"),), float(token.expires_on)


def _without_secrets(text: str) -> str:
    """A message of azure-identity on one line, without the secrets of the environment, in case it quotes one."""
    for variable in _SECRET_VARIABLES:
        secret = os.environ.get(variable)
        if secret:
            text = text.replace(secret, "***")
    return " ".join(text.split())
