# SPDX-License-Identifier: Apache-2.0
"""Where a server is, and the way to it: through a proxy or not, with TLS or without.

NO_PROXY has no standard. The rules here are those that urllib, curl and Go have in common, and what two of them know:
names match themselves and everything below them, with or without a leading "." or "*."; an entry with a port matches
that port alone; IP addresses are compared as addresses, IPv6 with or without brackets; networks are written as in
10.0.0.0/8; "*" matches everything, also beside other entries.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from s3dlio import redaction
from s3dlio.errors import ConfigurationError
from s3dlio.settings import Settings

_HOST = re.compile(r"[^\s,;\\\"'<>|^`{}]+")
_PORTS = {"http": 80, "https": 443}
_PROXY_PORT = 3128


class Proxy(NamedTuple):
    """An HTTP proxy; `authorization` is the value of Proxy-Authorization, or ""."""

    host: str
    port: int
    authorization: str

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"


class Address(NamedTuple):
    """One server: what a connection is made to, and what connections are kept under.

    Attributes:
        tls: whether to speak TLS.
        host: name or IP address, without brackets.
        port: TCP port.
        proxy: the proxy to go through, or None.
        ca_file: file of CA certificates to verify with, or None for the system's.
    """

    tls: bool
    host: str
    port: int
    proxy: Proxy | None = None
    ca_file: str | None = None

    @property
    def authority(self) -> str:
        """The value of the Host field: the port only where it is not the scheme's own."""
        return self._host if self.port == _PORTS["https" if self.tls else "http"] else self.target

    @property
    def target(self) -> str:
        """Host and port, always both, as CONNECT names them (RFC 9110 section 9.3.6)."""
        return f"{self._host}:{self.port}"

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def is_private(self) -> bool:
        """Whether what is sent cannot be read on a network: TLS, or a server on this machine, without a proxy."""
        return self.tls or (self.proxy is None and _is_loopback(self.host))

    @property
    def url(self) -> str:
        """As in "https://host:port", for messages."""
        return f"{'https' if self.tls else 'http'}://{self.authority}"


def parse_endpoint(text: str, source: str) -> tuple[Address, str]:
    """The address and the path of an endpoint's URL.

    Args:
        text: as in "http://host:9000" or "https://host/path".
        source: the setting it stands in, for the message.

    Returns:
        The address, and the path without its last "/".

    Raises:
        ConfigurationError: not such a URL; the message names the setting.
    """
    shown = redaction.url(text)
    parts, port = _split(text.strip())
    if "@" in (text if parts is None else parts.netloc):
        raise ConfigurationError(
            f"{source}={shown!r} holds user info: an endpoint has none, credentials have settings of their own"
        )
    if parts is None:
        raise ConfigurationError(
            f"{source}={shown!r} is not a URL that a server can have: expected http://host:port or https://host"
        )
    host = parts.hostname or ""
    if parts.scheme not in _PORTS or not _HOST.fullmatch(host) or parts.query or parts.fragment:
        raise ConfigurationError(f"{source}={shown!r} is not an endpoint: expected http://host:port or https://host")
    if not (host + parts.path).isascii() or " " in parts.path:
        raise ConfigurationError(
            f"{source}={shown!r} holds a blank or a character that is not ASCII: write names in their form for DNS"
            " (xn--…), and percent-encode the path"
        )
    return Address(parts.scheme == "https", host, port or _PORTS[parts.scheme]), parts.path.rstrip("/")


def _split(text: str) -> tuple[SplitResult | None, int | None]:
    """The parts of a URL and its port; None for what is no URL.

    The ValueError of the standard library may quote a password, so none is in flight when a message is made: it would
    be its `__context__`.
    """
    try:
        parts = urlsplit(text)
        return parts, parts.port
    except ValueError:
        return None, None


def split_endpoints(text: str) -> list[str]:
    """The endpoints of a comma-separated list. A comma within one of them, as in a password, separates nothing."""
    return [item.strip() for item in redaction.BETWEEN_URLS.split(text) if item.strip()]


def parse_proxy(text: str, source: str) -> Proxy:
    """The proxy that a URL names; user name and password in it become its authorization.

    Raises:
        ConfigurationError: not the URL of an HTTP proxy.
    """
    scheme, mark, rest = text.strip().partition("://")
    if not mark:
        scheme, rest = "http", text.strip()
    # User info ends at the last "@": a password may hold all that ends a host otherwise.
    user_info, at, place = rest.rpartition("@")
    parts, port = _split(f"{scheme}://{place}")
    if parts is None:
        raise ConfigurationError(f"{source} is not the URL of a proxy: expected http://host:port")
    host = parts.hostname or ""
    if parts.scheme != "http" or not _HOST.fullmatch(host) or not host.isascii():
        raise ConfigurationError(f"{source} names no HTTP proxy: expected http://host:port")
    authorization = ""
    if at:
        import base64

        user, _, password = user_info.partition(":")
        for secret in (password, unquote(password)):
            redaction.remember(secret)
        pair = f"{unquote(user)}:{unquote(password)}"
        encoded = base64.b64encode(pair.encode()).decode()
        redaction.remember(encoded)
        authorization = f"Basic {encoded}"
    return Proxy(host, port or _PROXY_PORT, authorization)


def require_private(address: Address, what: str, settings: Settings) -> None:
    """Refuse to send a bearer token where others could read and then use it.

    Args:
        address: where it would go, with its proxy.
        what: the token, for the message.
        settings: in force; `tokens_over_http` allows it.

    Raises:
        ConfigurationError: the way is not encrypted and leaves this machine.
    """
    if address.is_private or settings.tokens_over_http:
        return
    way = "" if address.proxy is None else f" through the proxy {address.proxy.host}:{address.proxy.port}"
    raise ConfigurationError(
        f"{what} would be sent in the clear to {address.url}{way}, where others can read it: use https, or set"
        " S3DLIO_TOKENS_OVER_HTTP=1 if the network is trusted",
        endpoint=address.url,
    )


def reached(address: Address, settings: Settings) -> Address:
    """The address with the way to it that the settings give: its proxy, and the CAs to verify with."""
    text = settings.https_proxy if address.tls else settings.http_proxy
    proxy = None
    if text and not goes_direct(address.host, address.port, settings.no_proxy or ""):
        proxy = parse_proxy(text, "HTTPS_PROXY" if address.tls else "HTTP_PROXY")
    return address._replace(proxy=proxy, ca_file=settings.ca_file if address.tls else None)


@lru_cache(maxsize=256)
def goes_direct(host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY names a server. The rules are those in this module's first lines.

    Args:
        host: name or IP address, without brackets.
        port: TCP port.
        no_proxy: the value of NO_PROXY.
    """
    name = host.lower().rstrip(".")
    ip = _ip(name)
    return any(_names(entry, name, ip, port) for entry in no_proxy.lower().replace(",", " ").split())


def _names(entry: str, host: str, ip: _IP | None, port: int) -> bool:
    """Whether one entry of NO_PROXY names a server."""
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return ip is not None and ip in ipaddress.ip_network(entry.replace("[", "").replace("]", ""), strict=False)
        except ValueError:
            return False
    if _ip(entry) is None:  # otherwise the colons are those of an IPv6 address
        before, colon, digits = entry.rpartition(":")
        if colon and digits.isdecimal():
            if int(digits) != port:
                return False
            entry = before
    if ip is not None:
        return _ip(entry.removeprefix("[").removesuffix("]")) == ip
    entry = entry.removeprefix("*").removeprefix(".").rstrip(".")
    return bool(entry) and (host == entry or host.endswith(f".{entry}"))


_IP = ipaddress.IPv4Address | ipaddress.IPv6Address


def _ip(text: str) -> _IP | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    ip = _ip(host)
    return ip.is_loopback if ip is not None else host == "localhost"
