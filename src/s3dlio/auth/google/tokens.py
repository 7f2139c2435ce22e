# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens for Google Cloud Storage: where they come from.

The first source that exists is used, in the order of Google's own libraries (application default credentials):

1. the key file that GOOGLE_APPLICATION_CREDENTIALS names;
2. the file that `gcloud auth application-default login` writes;
3. the metadata server of a machine in Google Cloud.

`key_file` turns a file into a token. The metadata server is asked here, with one request: google-auth's module for that
needs `requests`, and waits longer than a caller should. `auth.renewal` decides when to fetch; the file is read again
for each token, so a replaced key file takes effect.

Sources: Google Cloud, "How Application Default Credentials works"; "About the metadata server"; RFC 6750.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from s3dlio import redaction
from s3dlio.auth import ANONYMOUS
from s3dlio.auth.google.key_file import KEY_FILE, Fetch, Found, token_from
from s3dlio.auth.renewal import Renewed
from s3dlio.errors import ConfigurationError, S3dlioError, StoreUnavailableError
from s3dlio.objects import documents

_EARLY = 240.0  # seconds before expiry; from then on the metadata server gives a new token


class Token(NamedTuple):
    """A token, as the header fields that carry it."""

    fields: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return "Token()"


class TokenSource:
    """Gives the token to send with a request. Threads share it.

    Args:
        fetch: makes the requests.
        key_file: value of GOOGLE_APPLICATION_CREDENTIALS, or None.
        config_folder: folder of gcloud's settings; None for the usual one.
        metadata_host: host of the metadata server, with a port if necessary.
        quota_project: project to bill; None for the one that the credentials name.
    """

    def __init__(
        self,
        fetch: Fetch,
        key_file: str | None = None,
        config_folder: str | None = None,
        metadata_host: str = "169.254.169.254",
        quota_project: str | None = None,
    ) -> None:
        self._fetch = fetch
        self._key_file = key_file
        self._config_folder = config_folder
        self._metadata_host = metadata_host
        self._quota_project = quota_project
        self._tokens = Renewed("the token for gs://", self._next, _EARLY)

    def current(self) -> Token:
        """The token in force; the same object until there is another.

        May wait for files or a server on the first call, and when the token is about to expire. Otherwise it takes less
        than 1 µs.

        Raises:
            ConfigurationError: there are no credentials, or the file that should hold them does not.
            PermissionDeniedError: the token endpoint refuses the account.
            StoreUnavailableError, StoreTimeoutError: the token endpoint does not answer.
        """
        return self._tokens.current()

    def renew(self, refused: Token) -> bool:
        """Whether there is another token than one that the service has refused; see `Renewed.renew`."""
        return self._tokens.renew(refused)

    def _next(self) -> tuple[Token, float]:
        """A new token, and the second at which it expires."""
        found = self._from_file() or self._from_metadata_server()
        text = found.text.strip()
        if not (text.isascii() and text.isprintable()):
            raise ConfigurationError(
                "no credentials for gs://: the token contains characters that HTTP forbids;"
                " check the service that issues it"
            )
        redaction.remember(text)
        fields = [("Authorization", f"Bearer {text}")]
        project = self._quota_project or found.quota_project
        if project:
            fields.append(("x-goog-user-project", project))
        return Token(tuple(fields)), found.expires

    # From a file...

    def _from_file(self) -> Found | None:
        if self._key_file is not None:
            return token_from(self._key_file, KEY_FILE, self._fetch)
        path = os.path.join(self._gcloud_folder(), "application_default_credentials.json")
        return token_from(path, "gcloud's credentials", self._fetch) if os.path.exists(path) else None

    def _gcloud_folder(self) -> str:
        return self._config_folder or os.path.join(os.path.expanduser("~"), ".config", "gcloud")

    # From the metadata server...

    def _from_metadata_server(self) -> Found:
        url = f"http://{self._metadata_host}/computeMetadata/v1/instance/service-accounts/default/token"
        where = f"the metadata server {self._metadata_host}"
        try:
            answer = self._fetch("GET", url, {"Metadata-Flavor": "Google"}, source=where, connect=1.0, direct=True)
        except S3dlioError as error:
            raise ConfigurationError(
                f"no credentials for gs://. Looked for {KEY_FILE}: not set; the file of `gcloud auth"
                f" application-default login` in {self._gcloud_folder()}: no such file; {where}: no answer, so this"
                f" machine is not in Google Cloud. {ANONYMOUS}",
                endpoint=error.endpoint,
            ) from None
        if answer.status == 404:
            raise ConfigurationError(
                f"no credentials for gs://: {where} says that this machine has no service account; attach one, or set"
                f" {KEY_FILE}. {ANONYMOUS}",
                status=404,
            )
        try:
            content = documents.json(answer.body) if answer.status == 200 else {}
            return Found(str(content["access_token"]), time.time() + float(content["expires_in"]), None)
        except (ValueError, KeyError, TypeError):
            raise StoreUnavailableError(
                f"no credentials for gs://: {where} answered {answer.status} without a token; try again later",
                status=answer.status,
            ) from None
