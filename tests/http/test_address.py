# SPDX-License-Identifier: Apache-2.0
"""The servers that NO_PROXY names, the endpoints and proxies that are accepted, and where tokens may go."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from s3dlio.errors import ConfigurationError
from s3dlio.http.address import (
    Address,
    Proxy,
    goes_direct,
    parse_endpoint,
    parse_proxy,
    require_private,
)

NAMED = [
    # host, port, NO_PROXY, whether it is reached directly
    ("store.example", 9000, "store.example", True),
    ("STORE.example.", 9000, "store.EXAMPLE", True),
    ("b.store.example", 443, "store.example", True),
    ("b.store.example", 443, ".store.example", True),
    ("b.store.example", 443, "*.store.example", True),
    ("store.example", 443, ".store.example", True),
    ("mystore.example", 443, "store.example", False),
    ("store.example", 9000, "store.example:9000", True),
    ("store.example", 9001, "store.example:9000", False),
    ("b.store.example", 9000, ".store.example:9000", True),
    ("10.1.2.3", 80, "10.0.0.0/8", True),
    ("11.1.2.3", 80, "10.0.0.0/8", False),
    ("10.1.2.3", 80, "10.9.9.9/8", True),  # bits of the host are ignored, as Go does
    ("10.1.2.3", 80, "a.example, 10.1.0.0/16,b.example", True),
    ("10.1.2.3", 80, "10.1.2.3", True),
    ("10.1.2.3", 80, "10.1.2.3:80", True),
    ("10.1.2.3", 80, "10.1.2.3:81", False),
    ("10.1.2.3", 80, "2.3", False),  # an address has no domains
    ("10.1.2.3", 80, "10.0.0.0/99", False),
    ("fd00::1", 9000, "fd00::1", True),
    ("fd00::1", 9000, "[fd00::1]", True),
    ("fd00:0:0::1", 9000, "fd00::1", True),
    ("fd00::1", 9000, "[fd00::1]:9000", True),
    ("fd00::1", 9000, "[fd00::1]:9001", False),
    ("fd00::1", 9000, "fd00::/8", True),
    ("fe80::1", 9000, "fd00::/8", False),
    ("::1", 80, "localhost, ::1", True),
    ("store.example", 80, "*", True),
    ("store.example", 80, "a.example, *", True),
    ("store.example", 80, "a.example b.example store.example", True),  # blanks, as curl takes them
    ("store.example", 80, "", False),
    ("store.example", 80, " , ,", False),
    ("store.example", 80, ".", False),
]


@pytest.mark.parametrize(("host", "port", "no_proxy", "direct"), NAMED)
def test_no_proxy_names_servers_as_other_clients_read_it(host: str, port: int, no_proxy: str, direct: bool) -> None:
    assert goes_direct(host, port, no_proxy) is direct


@pytest.mark.parametrize("no_proxy", ["store.example", ".example", "store.example:9000", "other", "10.0.0.1", "*"])
@pytest.mark.parametrize("host", ["store.example", "a.store.example", "xstore.example", "10.0.0.1"])
def test_a_server_that_urllib_reaches_directly_is_reached_directly(host: str, no_proxy: str) -> None:
    import urllib.request

    oracle = urllib.request.proxy_bypass_environment(f"{host}:9000", {"no": no_proxy})  # type: ignore[attr-defined]
    assert goes_direct(host, 9000, no_proxy) or not oracle


@pytest.mark.parametrize(
    ("host", "target", "authority"),
    [
        ("fd00::1", "[fd00::1]:443", "[fd00::1]"),
        ("10.0.0.1", "10.0.0.1:443", "10.0.0.1"),
        ("host", "host:443", "host"),
    ],
)
def test_connect_names_host_and_port_with_ipv6_in_brackets(host: str, target: str, authority: str) -> None:
    address = Address(True, host, 443)
    assert (address.target, address.authority) == (target, authority)


SECRETS = ["hush", "h@ush", "hu#sh", "hu/sh", "hu:sh", "hu?sh", "hu,sh", "h%20ush", "h@u#s/h:x?y"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("user", ["user", "u@x", ""])
def test_the_password_of_an_endpoint_is_refused_and_not_repeated(user: str, secret: str) -> None:
    for url in (f"http://{user}:{secret}@127.0.0.1:9000", f"https://{user}:{secret}@host", f"ftp://{user}:{secret}@h"):
        with pytest.raises(ConfigurationError) as caught:
            parse_endpoint(url, "SOME_ENDPOINT")
        message = str(caught.value)
        assert "SOME_ENDPOINT" in message
        for piece in (secret, secret.partition("@")[0] + "@", f":{secret[:2]}"):
            assert piece not in message


@pytest.mark.parametrize("secret", SECRETS)
def test_the_password_of_a_proxy_may_contain_any_character(secret: str) -> None:
    import base64
    from urllib.parse import unquote

    proxy = parse_proxy(f"http://user:{secret}@127.0.0.1:3128", "HTTP_PROXY")
    expected = base64.b64encode(f"user:{unquote(secret)}".encode()).decode()
    assert proxy == Proxy("127.0.0.1", 3128, f"Basic {expected}")
    assert secret not in repr(proxy)
    assert expected not in repr(proxy)


@pytest.mark.parametrize("secret", SECRETS)
def test_the_password_in_a_malformed_proxy_url_is_not_repeated(secret: str) -> None:
    for url in (f"socks5://user:{secret}@host", f"http://user:{secret}@host:port", f"http://user:{secret}@"):
        with pytest.raises(ConfigurationError) as caught:
            parse_proxy(url, "HTTP_PROXY")
        assert secret not in str(caught.value)


PROXY = Proxy("10.0.0.9", 3128, "")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        (Address(True, "host", 443), True),
        (Address(True, "host", 443, PROXY), True),  # through a tunnel
        (Address(False, "127.0.0.1", 80), True),
        (Address(False, "127.8.9.1", 80), True),
        (Address(False, "::1", 80), True),
        (Address(False, "localhost", 80), True),
        (Address(False, "127.0.0.1", 80, PROXY), False),  # the proxy reads it
        (Address(False, "10.0.0.1", 80), False),
        (Address(False, "localhost.example", 80), False),
        (Address(False, "127.0.0.1.example", 80), False),
    ],
)
def test_tokens_leave_the_machine_only_with_tls(address: Address, allowed: bool) -> None:
    require_private(address, "the token", allowed=True)
    if allowed:
        require_private(address, "the token", allowed=False)
    else:
        with pytest.raises(ConfigurationError, match=r"the token would be sent unencrypted .*S3DLIO_TOKENS_OVER_HTTP"):
            require_private(address, "the token", allowed=False)


@pytest.mark.parametrize("secret", ["hu#sh", "hu/sh", "hu?sh", "hush", "[hush"])
@pytest.mark.parametrize(
    ("parse", "form"),
    [
        (parse_endpoint, "http://user:{}@host:9000"),
        (parse_endpoint, "http://user:{}@host:99999"),
        (parse_endpoint, "http://user:{}"),
        (parse_proxy, "http://user:{}@host:99999"),
        (parse_proxy, "http://user:{}"),
    ],
)
def test_no_exception_that_caused_the_error_quotes_a_password(
    parse: Callable[[str, str], object], form: str, secret: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(form.format(secret), "SOURCE")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("url", ["http://例え.jp", "http://ü.example:9000", "http://host/ü", "http://host/a b"])
def test_an_endpoint_with_characters_that_a_request_cannot_hold_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not ASCII"):
        parse_endpoint(url, "SOURCE")


@pytest.mark.parametrize("url", ["http://a b:3128", "http://ü:3128"])
def test_a_proxy_whose_name_cannot_be_resolved_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="SOURCE is not the URL of an HTTP proxy"):
        parse_proxy(url, "SOURCE")
