# SPDX-License-Identifier: Apache-2.0
"""AWS Signature Version 4 as S3 wants it: the fields to add to a request, or a presigned target.

Strategy. Pure functions of credentials, request and time: no socket, no environment, no setting. What does
not change from request to request is made once. The signing key, four HMACs, is cached per secret, day,
region and service. A `Signer` belongs to one (credentials, region, host) and keeps, for the second it is in,
all that depends on nothing but the time; a GET then costs one SHA-256, one HMAC and the joining of strings.

S3 departs from the general algorithm: the path is signed as it is sent, percent-encoded once and never
normalised, since `a//b` and `a/../b` are keys; and the payload's hash is itself a field, which may say
UNSIGNED-PAYLOAD because a SHA-256 pass costs more than the transfer.

Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)".
"""

import hashlib
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from s3dlio.auth.encoding import HmacKey, canonical_query, check_presigned_life

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
"""The payload hash that leaves the payload out of the signature."""

_FORMS_KEPT = 16
_ALGORITHM = "AWS4-HMAC-SHA256"
_SPACES = re.compile(r"[ \t]+")


@dataclass(frozen=True)
class AwsCredentials:
    """What a request is signed with.

    Attributes:
        access_key: The access key id, which a signature shows to everyone.
        secret_key: The secret access key; never part of a repr.
        session_token: The token of temporary credentials, None for permanent ones; never part of a repr.
    """

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


class Signer:
    """Signs the requests of one set of credentials to one host.

    Threads may share it: what it remembers is replaced whole.

    Args:
        credentials: What to sign with.
        region: The region of the bucket, such as ``us-east-1``.
        host: The Host field exactly as it will be sent, with the port where that is not the scheme's own.
        service: The service's name in the scope of the signature.
    """

    __slots__ = ("_moment", "credentials", "host", "region", "service")

    def __init__(self, credentials: AwsCredentials, region: str, host: str, service: str = "s3") -> None:
        self.credentials = credentials
        self.region = region
        self.host = host
        self.service = service
        self._moment: _Moment | None = None

    def sign(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Sequence[tuple[str, str]] = (),
        payload_hash: str = UNSIGNED_PAYLOAD,
        now: float | None = None,
    ) -> list[tuple[str, str]]:
        """The fields to add to a request so that S3 accepts it.

        Args:
            method: The method, in capitals.
            path: The path as sent: percent-encoded (`uri_encode`), from its first ``/``, without the query.
            query: The query as sent, without ``?``, in the form that `canonical_query` gives.
            headers: Further fields to sign, which must be sent as they are: every ``x-amz-*`` field of the
                request, Content-Type and Content-MD5 where there are any; Range and others if wished. Not
                Host, which is always signed.
            payload_hash: SHA-256 of the payload in lower-case hexadecimal, or UNSIGNED-PAYLOAD.
            now: Seconds since the epoch; None for the clock.

        Raises:
            ValueError: A field has a character beyond Latin-1.
        """
        form = self.form(tuple(headers), payload_hash, now)
        return [*form.added, ("Authorization", form.authorization + form.signature(path, method=method, query=query))]

    def form(
        self,
        headers: tuple[tuple[str, str], ...] = (),
        payload_hash: str = UNSIGNED_PAYLOAD,
        now: float | None = None,
        hole: str = "",
    ) -> "Form":
        """What all requests with these fields that are signed in this second have in common.

        The same object until the second is over, so that a caller may keep by it what it has made of it.

        Args:
            headers, payload_hash, now: as for `sign`.
            hole: what in the value of a field stands for something that differs from request to request; "" if nothing
                does.
        """
        second = int(time.time() if now is None else now)
        moment = self._moment
        if moment is None or moment.second != second:
            self._moment = moment = self._moment_at(second)
        kept = headers, payload_hash, hole
        form = moment.forms.get(kept)
        if form is None:
            added = self._added_fields(moment.timestamp, payload_hash)
            names, tail = _canonical_fields([("host", self.host), *added, *headers], payload_hash)
            form = Form(moment, added, f"{moment.authorization}{names}, Signature=", tail, hole)
            if len(moment.forms) < _FORMS_KEPT:
                moment.forms[kept] = form
        return form

    def presign(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        headers: Sequence[tuple[str, str]] = (),
        expires: int = 3600,
        now: float | None = None,
    ) -> str:
        """The request target, path and query, with which anyone can make this one request.

        Args:
            method: The method the target is good for.
            path: The path, percent-encoded (`uri_encode`), from its first ``/``.
            query: Further parameters of the request, not encoded.
            headers: Fields that the request must then carry with these values, besides Host.
            expires: The target's life in seconds, 1 to 604800.
            now: Seconds since the epoch at which its life begins; None for the clock.

        Raises:
            ValueError: `expires` is out of bounds, or a field has a character beyond Latin-1.
        """
        check_presigned_life(expires)
        moment = self._moment_at(int(time.time() if now is None else now))
        names, tail = _canonical_fields([("host", self.host), *headers], UNSIGNED_PAYLOAD)
        parameters = [
            *query,
            ("X-Amz-Algorithm", _ALGORITHM),
            ("X-Amz-Credential", f"{self.credentials.access_key}/{moment.scope}"),
            ("X-Amz-Date", moment.timestamp),
            ("X-Amz-Expires", str(expires)),
            ("X-Amz-SignedHeaders", names),
        ]
        if self.credentials.session_token is not None:
            parameters.append(("X-Amz-Security-Token", self.credentials.session_token))
        signed_query = canonical_query(parameters)
        signature = Form(moment, [], "", tail).signature(path, method=method, query=signed_query)
        return f"{path}?{signed_query}&X-Amz-Signature={signature}"

    def _moment_at(self, second: int) -> "_Moment":
        """All that requests signed in this second share."""
        timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        day = timestamp[:8]
        scope = f"{day}/{self.region}/{self.service}/aws4_request"
        key = _signing_key(self.credentials.secret_key, day, self.region, self.service)
        return _Moment(
            second=second,
            timestamp=timestamp,
            scope=scope,
            key=key.after(f"{_ALGORITHM}\n{timestamp}\n{scope}\n".encode()),
            authorization=f"{_ALGORITHM} Credential={self.credentials.access_key}/{scope}, SignedHeaders=",
            forms={},
        )

    def _added_fields(self, timestamp: str, payload_hash: str) -> list[tuple[str, str]]:
        """The fields, but for Authorization, that a signed request has and an unsigned one has not."""
        fields = [("x-amz-content-sha256", payload_hash), ("x-amz-date", timestamp)]
        if self.credentials.session_token is not None:
            fields.append(("x-amz-security-token", self.credentials.session_token))
        return fields


class _Moment(NamedTuple):
    """What requests signed in one second share.

    `key` signs the hash of a canonical request: what stands before that in the string to sign is in the key already.
    `forms` keeps the first few, by their fields and payload hash: reads repeat theirs from request to request.
    """

    second: int
    timestamp: str
    scope: str
    key: HmacKey
    authorization: str
    forms: "dict[tuple[tuple[tuple[str, str], ...], str, str], Form]"


class Form:
    """The part of a signature that does not depend on method, path and query.

    Attributes:
        added: the fields, but for Authorization, that a signed request has and an unsigned one has not.
        authorization: the value of Authorization up to where the signature follows.
    """

    __slots__ = ("_behind", "_key", "_tail", "added", "authorization")

    def __init__(
        self, moment: _Moment, added: list[tuple[str, str]], authorization: str, tail: str, hole: str = ""
    ) -> None:
        self._key = moment.key
        self._tail, _, self._behind = tail.partition(hole) if hole else (tail, "", "")
        self.added = added
        self.authorization = authorization

    def signature(self, path: str, filled: str = "", *, method: str = "GET", query: str = "") -> str:
        """The signature of a request, in hexadecimal; see `Signer.sign` for the arguments. `filled` fills the hole."""
        try:
            # As the fields are sent.
            request = f"{method}\n{path}\n{query}\n{self._tail}{filled}{self._behind}".encode("latin-1")
        except UnicodeEncodeError:
            # Without its cause, which would carry the whole request, session token included.
            raise ValueError("a field to sign has a character beyond Latin-1") from None
        return self._key.sign(hashlib.sha256(request).hexdigest().encode()).hexdigest()


def _canonical_fields(fields: Iterable[tuple[str, str]], payload_hash: str) -> tuple[str, str]:
    """The names of the signed fields, and the canonical request from its fields on."""
    values: dict[str, str] = {}
    for name, value in fields:
        name = name.lower()
        value = value.strip(" \t")
        if "  " in value or "\t" in value:
            value = _SPACES.sub(" ", value)
        values[name] = f"{values[name]},{value}" if name in values else value
    lines = [f"{name}:{value}\n" for name, value in sorted(values.items())]
    names = ";".join(sorted(values))
    return names, f"{''.join(lines)}\n{names}\n{payload_hash}"


@lru_cache(maxsize=64)
def _signing_key(secret_key: str, day: str, region: str, service: str) -> HmacKey:
    """The key that a day's signatures for one region and service are made with."""
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, service, "aws4_request"):
        key = HmacKey(key).sign(part.encode()).digest()
    return HmacKey(key)
