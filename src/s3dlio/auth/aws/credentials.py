# SPDX-License-Identifier: Apache-2.0
"""Where AWS credentials come from, and how they stay valid.

Strategy. A pair of keys in the settings is taken at once. Everything else (profiles, shared files, SSO, web
identity, assumed roles, container and instance roles) is botocore's credential chain, imported only then and
asked through one `CredentialSource` that all threads share. What the chain found is kept as one `_Held`, which
is replaced whole, so that a request on the way reads it without a lock:

- before `refresh_at` it is handed out as it is;
- from then on, while it is valid, it is still handed out, and one thread of its own fetches the next ones: a
  slow or unreachable service stalls no transfer. That thread ends with the refresh;
- in its last seconds the callers wait for the next ones, all for the same attempt.

What was held is dropped when the variables that the chain reads have changed, and in a forked child: there the
lock is a new one, since a thread that the child does not have may hold the old one.

Sources: AWS SDKs and Tools Reference Guide, "Standardized credential providers"; botocore's documentation.
"""

import contextlib
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from s3dlio import redaction
from s3dlio.auth.aws.sigv4 import AwsCredentials
from s3dlio.errors import ConfigurationError
from s3dlio.log import logger

# The variables that botocore's chain reads. A change of one makes the chain look again.
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

# Reading through os.environ decodes at each access; the mapping behind it answers in a tenth of the time.
_environment: Mapping[Any, Any] = getattr(os.environ, "_data", os.environ)
_RAW_NAMES = tuple(map(getattr(os.environ, "encodekey", str), VARIABLES))

# botocore itself refreshes nothing before a quarter of an hour is left; a little later, it does.
_REFRESH_BEFORE_EXPIRY = 890.0

_LAST_SECONDS = 10.0

_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_ANONYMOUS = "For a public bucket, S3DLIO_NO_SIGN=1 sends requests without credentials."


_lock = threading.Lock()  # held while the chain looks, by the one thread that lets it
_import_lock = threading.RLock()
_generation = 0  # how many forks lie between this process and the one that imported this module


def _after_fork_in_child() -> None:
    global _lock, _generation
    _import_lock.release()
    _lock = threading.Lock()
    _generation += 1


# A fork waits for the import of botocore and the making of its chain: a child could never take the lock of a module
# that was half imported, nor one that OpenSSL held while it set itself up.
os.register_at_fork(
    before=_import_lock.acquire, after_in_parent=_import_lock.release, after_in_child=_after_fork_in_child
)


@dataclass(slots=True)
class _Held:
    """Credentials as the chain gave them. Times are seconds since the epoch, infinite for permanent ones."""

    credentials: AwsCredentials
    origin: Any  # botocore's credentials object, which knows how to refresh itself
    environment: tuple[Any, ...]
    generation: int
    refresh_at: float
    wait_from: float
    expires: float
    is_refreshing: bool = False


class CredentialSource:
    """Gives the credentials to sign with, from a pair of keys or from botocore's chain. Threads share it.

    Args:
        access_key: The access key id of the settings, None or empty if there is none.
        secret_key: The secret access key of the settings, likewise.
        session_token: The session token that goes with the pair, if any. Without a pair it means nothing.
        profile: The profile for the chain to start from; None for AWS_PROFILE or ``default``.

    Raises:
        ConfigurationError: One key of the pair without the other.
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
            raise ConfigurationError(f"{there} is set but {missing} is not: set both, or neither")
        self._static: AwsCredentials | None = None
        if access_key and secret_key:
            self._static = AwsCredentials(access_key, secret_key, session_token or None)
        self._profile = profile or None
        self._held: _Held | None = None
        self._failure = ""
        self._failed_at = -math.inf

    def current(self) -> AwsCredentials:
        """The credentials to sign the next request with; the same object until there are others.

        May wait for files or services on the first call, after a fork or a change of the environment, and when
        the credentials are about to expire; otherwise it takes under 1 µs.

        Raises:
            ConfigurationError: There are no credentials, or the chain could not get them. The message says what
                was looked for.
        """
        if self._static is not None:
            return self._static
        held = self._held
        environment = tuple(map(_environment.get, _RAW_NAMES))
        if (
            held is not None
            and time.time() < held.refresh_at
            and held.environment == environment
            and held.generation == _generation
        ):
            return held.credentials
        return self._look(environment)

    def _look(self, environment: tuple[Any, ...]) -> AwsCredentials:
        """Credentials from the chain, by this thread or by the one that was here first."""
        asked_at = time.monotonic()
        with _lock:
            held = self._held
            is_new = held is None or held.environment != environment or held.generation != _generation
            if held is not None and not is_new:
                if time.time() < held.refresh_at:
                    return held.credentials
                if time.time() < held.wait_from:
                    self._refresh_aside(held)
                    return held.credentials
            if self._failed_at > asked_at:
                # The attempt that this thread waited for has failed: it would only fail the same way again.
                raise ConfigurationError(self._failure)
            try:
                origin = _find(self._profile) if held is None or is_new else held.origin
                self._held = _hold(origin, environment)
            except ConfigurationError as error:
                if held is not None and not is_new and time.time() < held.expires:
                    return held.credentials
                self._failure, self._failed_at = str(error), time.monotonic()
                raise
            return self._held.credentials

    def _refresh_aside(self, held: _Held) -> None:
        """Fetch the next credentials on a thread of their own, unless that is being done."""
        if not held.is_refreshing:
            held.is_refreshing = True
            # No thread can start while the interpreter ends; these credentials are valid until then.
            with contextlib.suppress(RuntimeError):
                threading.Thread(target=self._refresh, args=(held,), name="s3dlio-credentials", daemon=True).start()

    def _refresh(self, held: _Held) -> None:
        try:
            renewed = _hold(held.origin, held.environment)
        except ConfigurationError as error:
            left = held.expires - time.time()
            logger.warning("could not refresh AWS credentials, which expire in %.0f s: %s", left, error)
            held.refresh_at = time.time() + max(1.0, left / 2)
            held.is_refreshing = False
            return
        with _lock:
            if self._held is held:
                self._held = renewed


def _find(profile: str | None) -> Any:
    """What botocore's chain finds first, as botocore's credentials object."""
    try:
        with _import_lock:
            import botocore.config
            import botocore.session

            with _errors_of_the_chain():
                session = _session(botocore, profile)
    except ImportError:
        raise ConfigurationError(
            f"no AWS credentials: {_KEYS} are not set. Profiles, SSO, roles and web identity need botocore: "
            f"pip install 's3dlio[aws]'. {_ANONYMOUS}"
        ) from None
    with _errors_of_the_chain():
        found = session.get_credentials()
        if found is None:
            raise ConfigurationError(_nothing_found(session))
    return found


def _session(botocore: Any, profile: str | None) -> Any:
    """A session whose chain is made, but has not looked anywhere yet."""
    session = botocore.session.Session(profile=profile)
    # A token service that does not answer must not hold a call for the minutes that botocore would.
    session.set_default_client_config(
        botocore.config.Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 2})
    )
    region = os.environ.get("AWS_REGION")
    if region:  # which botocore does not read
        session.set_config_variable("region", region)
    session.get_component("credential_provider")  # makes TLS contexts, and so OpenSSL's first ones
    return session


def _hold(origin: Any, environment: tuple[Any, ...]) -> _Held:
    """What a botocore credentials object holds now, refreshed before by botocore where that is due."""
    with _errors_of_the_chain():
        frozen = origin.get_frozen_credentials()
    # A file edited by hand, or written with `echo`, may have added a blank or a line end.
    found = AwsCredentials(frozen.access_key.strip(), frozen.secret_key.strip(), (frozen.token or "").strip() or None)
    redaction.remember(found.secret_key)
    redaction.remember(found.session_token)
    now = time.time()
    expiry = getattr(origin, "_expiry_time", None)
    expires = math.inf if expiry is None else expiry.timestamp()
    left = expires - now
    return _Held(
        credentials=found,
        origin=origin,
        environment=environment,
        generation=_generation,
        # Credentials that never live for half an hour are refreshed at half their time.
        refresh_at=now + max(left - _REFRESH_BEFORE_EXPIRY, left / 2),
        wait_from=expires - min(_LAST_SECONDS, left / 4),
        expires=expires,
    )


@contextlib.contextmanager
def _errors_of_the_chain() -> Iterator[None]:
    """Make what botocore raises a ConfigurationError that says which credentials could not be had."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ConfigurationError:
        raise
    # RuntimeError, ValueError and KeyError too: botocore raises them for answers and files that it cannot use.
    except (BotoCoreError, ClientError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise ConfigurationError(
            f"AWS credentials could not be had from the profile, role or service that is configured: {error}. "
            f"Check {_KEYS}, AWS_PROFILE and the shared files. {_ANONYMOUS}"
        ) from error


def _nothing_found(session: Any) -> str:
    """Everything that was looked for: names of variables and files, never a value that is secret."""
    profile = session.get_config_variable("profile") or "default"
    files = " and ".join(
        f"{path} ({'read' if os.path.exists(os.path.expanduser(path)) else 'no such file'})"
        for path in (
            session.get_config_variable("credentials_file"),
            session.get_config_variable("config_file"),
        )
    )
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        instance = "off (AWS_EC2_METADATA_DISABLED)"
    else:
        instance = "no answer"
    return (
        f"no AWS credentials. Looked for {_KEYS}: not set; the profile {profile!r} in {files}: none there; "
        "web identity, AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN: not set; a container's role, "
        "AWS_CONTAINER_CREDENTIALS_FULL_URI or AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: not set; "
        f"the instance's role, from its metadata service: {instance}. {_ANONYMOUS}"
    )
