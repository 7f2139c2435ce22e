# SPDX-License-Identifier: Apache-2.0
"""AWS Signature Version 4 for S3: the fields to add to a request, or a presigned target.

Strategy. Pure functions of credentials, request and time, without sockets, environment or settings. Everything that
requests share is computed once: the signing key (four HMACs) for each secret, day, region and service; the parts of a
signature that depend only on the time, for each second; and the part of the signed text that depends on the fields
(`Form`). A GET then costs one SHA-256, one HMAC and the joining of strings.

S3 differs from the general algorithm in two ways. The path is signed as it is sent, percent-encoded once and never
normalized, since `a//b` and `a/../b` are keys. The hash of the payload is a field of its own, whose value may be
UNSIGNED-PAYLOAD: computing a SHA-256 takes longer than the transfer.

Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)".
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from s3dlio.auth.encoding import HmacKey, canonical_query, check_presigned_life

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
"""A payload hash that excludes the payload from the signature."""

_FORMS_KEPT = 16  # for each second; further ones are made each time
_ALGORITHM = "AWS4-HMAC-SHA256"
_SPACES = re.compile(r"[ \t]+")


@dataclass(frozen=True)
class AwsCredentials:
    """The keys that requests are signed with.

    Attributes:
        access_key: the access key ID, which is visible in each signature.
        secret_key: the secret access key; never part of a repr.
        session_token: the token of temporary credentials, None for permanent ones; never part of a repr.
    """

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


class Signer:
    """Signs the requests to one host with one set of credentials.

    Threads may share a signer: its cache is replaced in one step.

    Args:
        credentials: the keys to sign with.
        region: the region of the bucket, such as "us-east-1".
        host: the Host field exactly as it is sent, with the port unless that is the scheme's default.
        service: the name of the service in the scope of the signature.
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
            method: in capitals.
            path: the path as it is sent: percent-encoded (`uri_encode`), with its leading "/", without the query.
            query: the query as it is sent, without "?", in the form that `canonical_query` returns.
            headers: other fields to sign, which must be sent unchanged: every "x-amz-*" field of the request,
                Content-Type and Content-MD5 if the request has them; Range and others are optional. Not Host, which is
                always signed.
            payload_hash: SHA-256 of the payload in lower-case hexadecimal, or UNSIGNED_PAYLOAD.
            now: seconds since the epoch; None for the clock.

        Raises:
            ValueError: a field has a character outside Latin-1.
        """
        form = self.form(tuple(headers), payload_hash, now)
        return [*form.added, ("Authorization", form.authorization + form.signature(path, method=method, query=query))]

    def form(
        self,
        headers: tuple[tuple[str, str], ...] = (),
        payload_hash: str = UNSIGNED_PAYLOAD,
        now: float | None = None,
        hole: str = "",
    ) -> Form:
        """The part of the signature that requests with the same fields share within a second.

        Args:
            headers, payload_hash, now: see `sign`.
            hole: a placeholder in the value of one field, which differs from request to request; "" for none.
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
        """A request target, path and query, with which anyone can make one request.

        Args:
            method: the method of the request.
            path: the path, percent-encoded (`uri_encode`), with its leading "/".
            query: other parameters of the request, not encoded.
            headers: fields that the request must carry with these values, in addition to Host.
            expires: for how many seconds the target is valid, 1 to 604800.
            now: seconds since the epoch from which it is valid; None for the clock.

        Raises:
            ValueError: `expires` is out of bounds, or a field has a character outside Latin-1.
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

    def _moment_at(self, second: int) -> _Moment:
        """What requests signed in this second share."""
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
        """The fields that signing adds to a request, except for Authorization."""
        fields = [("x-amz-content-sha256", payload_hash), ("x-amz-date", timestamp)]
        if self.credentials.session_token is not None:
            fields.append(("x-amz-security-token", self.credentials.session_token))
        return fields


class _Moment(NamedTuple):
    """What requests signed in one second share.

    Attributes:
        second: seconds since the epoch.
        timestamp: the second as the signature writes it.
        scope: day, region and service, as the signature writes them.
        key: signs the hash of a canonical request; already fed with the lines that come before the hash.
        authorization: the value of Authorization up to the names of the signed fields.
        forms: the first few forms, by fields, payload hash and hole. Most requests repeat those of another one.
    """

    second: int
    timestamp: str
    scope: str
    key: HmacKey
    authorization: str
    forms: dict[tuple[tuple[tuple[str, str], ...], str, str], Form]


class Form:
    """The part of a signature that does not depend on method, path and query.

    Attributes:
        added: the fields that signing adds to a request, except for Authorization.
        authorization: the value of Authorization up to the signature.
    """

    __slots__ = ("_after_hole", "_key", "_tail", "added", "authorization")

    def __init__(
        self, moment: _Moment, added: list[tuple[str, str]], authorization: str, tail: str, hole: str = ""
    ) -> None:
        self._key = moment.key
        self._tail, _, self._after_hole = tail.partition(hole) if hole else (tail, "", "")
        self.added = added
        self.authorization = authorization

    def signature(self, path: str, filled: str = "", *, method: str = "GET", query: str = "") -> str:
        """The signature of a request, in hexadecimal.

        Args:
            path, method, query: see `Signer.sign`.
            filled: the value that the hole stands for.

        Raises:
            ValueError: a field has a character outside Latin-1.
        """
        try:
            # In the encoding in which fields are sent.
            request = f"{method}\n{path}\n{query}\n{self._tail}{filled}{self._after_hole}".encode("latin-1")
        except UnicodeEncodeError:
            # Raised without its cause, which would carry the whole request with its session token.
            raise ValueError("cannot sign a field with a character outside Latin-1; encode its value first") from None
        return self._key.sign(hashlib.sha256(request).hexdigest().encode()).hexdigest()


def _canonical_fields(fields: Iterable[tuple[str, str]], payload_hash: str) -> tuple[str, str]:
    """The names of the signed fields, and the part of the canonical request that begins with the fields."""
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
    """The key for the signatures of one day, region and service."""
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, service, "aws4_request"):
        key = HmacKey(key).sign(part.encode()).digest()
    return HmacKey(key)
