# SPDX-License-Identifier: Apache-2.0
"""Where AWS credentials come from: a pair of keys in the settings, or botocore's credential chain.

Strategy. A pair of keys in the settings is used as it is. Everything else (profiles, shared files, SSO, web identity,
assumed roles, roles of containers and instances) is left to botocore, which is imported only then. Each fetch makes a
new session of botocore: a session caches what it has found, and would miss a shared file that has changed since.
`auth.renewal` decides when to fetch.

Sources: AWS SDKs and Tools Reference Guide, "Standardized credential providers"; botocore's documentation.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

from s3dlio import forks, redaction
from s3dlio.auth import ANONYMOUS
from s3dlio.auth.aws.sigv4 import AwsCredentials
from s3dlio.auth.renewal import Renewed
from s3dlio.errors import ConfigurationError, missing_extra

# The variables that botocore's chain reads. A change of one makes it look again.
VARIABLES = (
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_PROFILE",
    "AWS_DEFAULT_REGION",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "HOME",
)

# Seconds before expiry at which the next credentials are fetched. botocore's own limit is 900.
_EARLY = 890.0

_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class CredentialSource:
    """Gives the credentials to sign with, from a pair of keys or from botocore's chain. Threads share it.

    Args:
        access_key: the access key ID of the settings; None or empty if unset.
        secret_key: the secret access key of the settings; None or empty if unset.
        session_token: the session token that goes with the pair, if any. Ignored without a pair.
        profile: the profile at which the chain starts; None for AWS_PROFILE or "default".

    Raises:
        ConfigurationError: one key of the pair is given without the other.
    """

    def __init__(
        self,
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        profile: str | None = None,
    ) -> None:
        if bool(access_key) != bool(secret_key):
            there, missing = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
            if secret_key:
                there, missing = missing, there
            raise ConfigurationError(f"{there} is set, but {missing} is not; set both, or neither")
        self._static: AwsCredentials | None = None
        if access_key and secret_key:
            self._static = AwsCredentials(access_key, secret_key, session_token or None)
        self._found = Renewed("the credentials for s3://", partial(_from_chain, profile or None), _EARLY, VARIABLES)

    def current(self) -> AwsCredentials:
        """The credentials to sign the next request with; the same object until there are others.

        May wait for files or services on the first call, after a fork or a change of the environment, and when the
        credentials are about to expire. Otherwise it takes less than 1 µs.

        Raises:
            ConfigurationError: there are no credentials, or the chain could not get them. The message says where it
                has looked.
        """
        return self._found.current() if self._static is None else self._static


def _from_chain(profile: str | None) -> tuple[AwsCredentials, float]:
    """What botocore's chain finds first, and the second at which it expires; infinity for permanent credentials."""
    session = _session(profile)
    with _errors_of_the_chain():
        origin = session.get_credentials()
        if origin is None:
            raise ConfigurationError(_nothing_found(session))
        frozen = origin.get_frozen_credentials()
    # A file edited by hand, or written with `echo`, may have added a blank or a line end.
    found = AwsCredentials(frozen.access_key.strip(), frozen.secret_key.strip(), (frozen.token or "").strip() or None)
    redaction.remember(found.secret_key)
    redaction.remember(found.session_token)
    expiry = getattr(origin, "_expiry_time", None)
    return found, math.inf if expiry is None else expiry.timestamp()


def _session(profile: str | None) -> Any:
    """A session of botocore whose chain exists, but has not looked anywhere yet."""
    with forks.delayed:
        try:
            import botocore.config
            import botocore.session
        except ImportError:
            raise missing_extra(
                f"no credentials for s3://: {_KEYS} are not set, and looking for profiles, SSO, roles and web identity",
                "botocore",
                "aws",
                ANONYMOUS,
            ) from None
        with _errors_of_the_chain():
            session = botocore.session.Session(profile=profile)
            # A token service that does not answer must not hold up a call for minutes, botocore's default.
            session.set_default_client_config(
                botocore.config.Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 2})
            )
            region = os.environ.get("AWS_REGION")
            if region:  # botocore reads AWS_DEFAULT_REGION only
                session.set_config_variable("region", region)
            session.get_component("credential_provider")  # creates TLS contexts, and so sets up OpenSSL
    return session


@contextlib.contextmanager
def _errors_of_the_chain() -> Iterator[None]:
    """Turn what botocore raises into a ConfigurationError that says which credentials are missing."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ConfigurationError:
        raise
    # RuntimeError, ValueError and KeyError too: botocore raises them for answers and files that it cannot use.
    except (BotoCoreError, ClientError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise ConfigurationError(
            f"cannot get credentials for s3:// from the profile, role or service: {str(error).rstrip('.')}; "
            f"check {_KEYS}, AWS_PROFILE and the shared files. {ANONYMOUS}"
        ) from error


def _nothing_found(session: Any) -> str:
    """The message that lists every source in which the chain has looked, without secrets."""
    profile = session.get_config_variable("profile") or "default"
    files = " and ".join(
        f"{path} ({'read' if os.path.exists(os.path.expanduser(path)) else 'no such file'})"
        for path in (session.get_config_variable("credentials_file"), session.get_config_variable("config_file"))
    )
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        instance = "off (AWS_EC2_METADATA_DISABLED)"
    else:
        instance = "no answer"
    return (
        f"no credentials for s3://. Looked for {_KEYS}: not set; the profile {profile!r} in {files}: no credentials; "
        "web identity (AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN): not set; a container's role "
        "(AWS_CONTAINER_CREDENTIALS_FULL_URI or AWS_CONTAINER_CREDENTIALS_RELATIVE_URI): not set; "
        f"the instance's role, from its metadata service: {instance}. {ANONYMOUS}"
    )
