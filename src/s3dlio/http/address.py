# SPDX-License-Identifier: Apache-2.0
"""Servers and the routes to them: through a proxy or directly, with TLS or without.

An `Address` is one server together with its route, and connections are kept under it. `parse_endpoint` and
`parse_proxy` read URLs, `routed` adds the route to an address, and `require_private` refuses a route on which others
could read a token.

NO_PROXY has no standard. These rules are common to urllib, curl and Go, or to two of them:

- A name matches itself and every name below it, with or without a leading "." or "*.".
- An entry with a port matches only that port.
- IP addresses are compared as addresses, IPv6 with or without brackets. Networks are written as in 10.0.0.0/8.
- "*" matches every server, also if it is one of several entries.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from s3dlio import redaction
from s3dlio.errors import ConfigurationError

_HOST = re.compile(r"[^\s,;\\\"'<>|^`{}]+")
_PORTS = {"http": 80, "https": 443}
_PROXY_PORT = 3128


class Proxy(NamedTuple):
    """An HTTP proxy.

    Attributes:
        host: name or IP address, without brackets.
        port: TCP port.
        authorization: the value of Proxy-Authorization; "" if the proxy has no user.
    """

    host: str
    port: int
    authorization: str

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"


class Route(Protocol):
    """The settings that decide how servers are reached."""

    @property
    def http_proxy(self) -> str | None:
        """URL of the proxy for servers without TLS."""

    @property
    def https_proxy(self) -> str | None:
        """URL of the proxy for servers with TLS."""

    @property
    def no_proxy(self) -> str | None:
        """The servers to connect to directly, in the form of NO_PROXY."""

    @property
    def ca_file(self) -> str | None:
        """File of CA certificates; None for the system's."""


class Address(NamedTuple):
    """A server and the route to it. Connections are kept under their address.

    Attributes:
        tls: whether to use TLS.
        host: name or IP address, without brackets.
        port: TCP port.
        proxy: the proxy to go through; None to connect directly.
        ca_file: the file of CA certificates to verify the server with; None for the system's.
    """

    tls: bool
    host: str
    port: int
    proxy: Proxy | None = None
    ca_file: str | None = None

    @property
    def authority(self) -> str:
        """The value of the Host field: host and port, the port only if it is not the default one."""
        return self._host if self.port == _PORTS["https" if self.tls else "http"] else self.target

    @property
    def target(self) -> str:
        """Host and port, as CONNECT names a server (RFC 9110 section 9.3.6)."""
        return f"{self._host}:{self.port}"

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def is_private(self) -> bool:
        """Whether requests cannot be read on the way: they use TLS, or go directly to a server on this machine."""
        return self.tls or (self.proxy is None and _is_loopback(self.host))

    @property
    def url(self) -> str:
        """The URL, as in "https://host:9000", for messages."""
        return f"{'https' if self.tls else 'http'}://{self.authority}"


def parse_endpoint(text: str, source: str) -> tuple[Address, str]:
    """The address, without a route, and the path, without a final "/", in the URL of an endpoint.

    Raises:
        ConfigurationError: the URL is not that of an endpoint; the message names the setting that holds it.
    """
    shown = redaction.url(text)
    parts, port = _split(text.strip())
    if "@" in (text if parts is None else parts.netloc):
        raise ConfigurationError(
            f"{source}={shown!r} contains a user name or password; remove it, since credentials have their own settings"
        )
    if parts is None:
        raise ConfigurationError(f"{source}={shown!r} is not a valid URL: expected http://host:port or https://host")
    host = parts.hostname or ""
    if parts.scheme not in _PORTS or not _HOST.fullmatch(host) or parts.query or parts.fragment:
        raise ConfigurationError(f"{source}={shown!r} is not an endpoint: expected http://host:port or https://host")
    if not (host + parts.path).isascii() or " " in parts.path:
        raise ConfigurationError(
            f"{source}={shown!r} contains a space or a character that is not ASCII; write the host name in its DNS form"
            " (xn--…), and percent-encode the path"
        )
    return Address(parts.scheme == "https", host, port or _PORTS[parts.scheme]), parts.path.rstrip("/")


def _split(text: str) -> tuple[SplitResult | None, int | None]:
    """The parts of a URL and its port; None for a text that is not a URL.

    The ValueError of the standard library may quote a password. So it is handled here, before the caller raises an
    error, of which it would be the `__context__`.
    """
    try:
        parts = urlsplit(text)
        return parts, parts.port
    except ValueError:
        return None, None


def split_endpoints(text: str) -> list[str]:
    """The endpoints of a comma-separated list. A comma inside an endpoint, as in a password, does not separate."""
    return [item.strip() for item in redaction.BETWEEN_URLS.split(text) if item.strip()]


def parse_proxy(text: str, source: str) -> Proxy:
    """The proxy that a URL names, with the authorization that its user name and password make.

    The URL may lack "http://".

    Raises:
        ConfigurationError: the URL is not that of an HTTP proxy; the message names the setting that holds it.
    """
    scheme, mark, rest = text.strip().partition("://")
    if not mark:
        scheme, rest = "http", text.strip()
    # The user info ends at the last "@": a password may contain characters that would end a host.
    user_info, at, server = rest.rpartition("@")
    parts, port = _split(f"{scheme}://{server}")
    if parts is None:
        raise ConfigurationError(f"{source} is not a valid URL: expected http://host:port")
    host = parts.hostname or ""
    if parts.scheme != "http" or not _HOST.fullmatch(host) or not host.isascii():
        raise ConfigurationError(f"{source} is not the URL of an HTTP proxy: expected http://host:port")
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


def require_private(address: Address, what: str, *, allowed: bool) -> None:
    """Refuse to send a bearer token, unless that is allowed, over a route on which others could read and then use it.

    Raises:
        ConfigurationError: the route is not encrypted and leaves this machine.
    """
    if address.is_private or allowed:
        return
    route = "" if address.proxy is None else f" through the proxy {address.proxy.host}:{address.proxy.port}"
    raise ConfigurationError(
        f"{what} would be sent unencrypted to {address.url}{route}, where others can read it; use https, or set"
        " S3DLIO_TOKENS_OVER_HTTP=1 if the network is trusted",
        endpoint=address.url,
    )


def routed(address: Address, route: Route) -> Address:
    """The address with its route: the proxy to go through, and the CAs to verify the server with.

    Raises:
        ConfigurationError: the URL of the proxy is not that of an HTTP proxy.
    """
    text = route.https_proxy if address.tls else route.http_proxy
    proxy = None
    if text and not goes_direct(address.host, address.port, route.no_proxy or ""):
        proxy = parse_proxy(text, "HTTPS_PROXY" if address.tls else "HTTP_PROXY")
    return address._replace(proxy=proxy, ca_file=route.ca_file if address.tls else None)


@lru_cache(maxsize=256)
def goes_direct(host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY names a server, by the rules at the top of this module. An IPv6 address has no brackets."""
    name = host.lower().rstrip(".")
    ip = _ip(name)
    return any(_names(entry, name, ip, port) for entry in no_proxy.lower().replace(",", " ").split())


def _names(entry: str, host: str, ip: _IP | None, port: int) -> bool:
    """Whether an entry of NO_PROXY names a server."""
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return ip is not None and ip in ipaddress.ip_network(entry.replace("[", "").replace("]", ""), strict=False)
        except ValueError:
            return False
    if _ip(entry) is None:  # the colons of an IPv6 address do not separate a port
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
