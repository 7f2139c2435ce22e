"""Where a server is, and by which way it is reached."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from s3dlio.errors import ConfigurationError
from s3dlio.settings import Settings

_PORTS = {"http": 80, "https": 443}


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
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS["https" if self.tls else "http"] else f"{host}:{self.port}"

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
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"{source}={text!r} is not a URL: {error}") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(f"{source}={text!r} is not an endpoint: expected http://host:port or https://host")
    if parts.username is not None:
        raise ConfigurationError(f"{source} holds a user name: an endpoint has none, credentials go elsewhere")
    return Address(parts.scheme == "https", parts.hostname, port or _PORTS[parts.scheme]), parts.path.rstrip("/")


def parse_proxy(text: str, source: str) -> Proxy:
    """The proxy that a URL names; user name and password in it become its authorization.

    Raises:
        ConfigurationError: not the URL of an HTTP proxy.
    """
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port or 3128
    except ValueError as error:
        raise ConfigurationError(f"{source} is not the URL of a proxy: {error}") from None
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigurationError(f"{source} names no HTTP proxy: expected http://host:port")
    authorization = ""
    if parts.username is not None:
        import base64

        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.hostname, port, authorization)


def reached(address: Address, settings: Settings) -> Address:
    """The address with the way to it that the settings give: its proxy, and the CAs to verify with."""
    text = settings.https_proxy if address.tls else settings.http_proxy
    proxy = None
    if text:
        import urllib.request  # 20 ms that only programs with a proxy pay

    if text and not urllib.request.proxy_bypass_environment(address.host, {"no": settings.no_proxy or ""}):  # type: ignore[attr-defined]
        proxy = parse_proxy(text, "HTTPS_PROXY" if address.tls else "HTTP_PROXY")
    return address._replace(proxy=proxy, ca_file=settings.ca_file if address.tls else None)
