# SPDX-License-Identifier: Apache-2.0
"""Keeps secrets, and control characters from a server, out of everything that people read.

Every message of an `S3dlioError`, every `repr` of settings and every report passes through this module, which hides
secrets in three ways, because each one alone has gaps:

- *By value*: `remember` takes each secret that the process uses, and hides it wherever it appears, even in text that a
  server sends back. Values shorter than `_SHORTEST` characters are too common as words to be hidden this way.
- *By position*: user names, passwords and queries of http URLs, and the values of well-known parameters, are hidden in
  any text. `url` takes a value that should be a URL, or a list of URLs, and may be malformed: everything up to the last
  "@" counts as the user's part, since a password may hold "@", "#", "/", ":" and ",", and no parser can find its end.
- *By name*: `setting` hides a value whose name says that it is secret, and `tree` hides everything below such a name.

`printable` escapes control characters, line separators and characters that change the direction of text, so that a name
or a message from a server can neither move the cursor nor forge a line of a log.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

HIDDEN = "(hidden)"

_SHORTEST = 8  # characters of a secret that is hidden by its value
_MOST_REMEMBERED = 1024  # forms of secrets

_SECRET_WORDS = frozenset(
    {"auth", "authorization", "connection", "credential", "keys", "passphrase", "passwd", "pwd", "sas", "secrets"}
    | {"signature", "tokens"}
)
_SECRET_ENDINGS = ("credentials", "key", "keyid", "password", "secret", "token")  # of a word, or a whole word

_HTTP_USER = re.compile(r"(?i)(\bhttps?://)[^\s'\"<>]*@")
_USER = re.compile(r"(?<=://)[^/\s?#@]*:[^/\s?#@]*@")
_QUERY = re.compile(r"(?i)(https?://[^\s?'\"]+\?)[^\s'\"]+")
# "user:password@host" without the scheme of a URL: as a whole value, and within a text.
_VALUE_WITH_USER = re.compile(r"(?is)\s*(?:https?://|[^/\s:@]+:(?!//)).*@")
_USER_WITHOUT_SCHEME = re.compile(r"(?<![\w/:])[^\s/:@'\"=]{1,100}:[^\s/@'\"]{1,200}@(?=[\w\[])")
_PART = re.compile(
    r"(?i)\b(\w*(?:account_?key|shared_?access_?signature|access_?key(?:_?id)?|secret(?:_?access)?_?key|session_?token"
    r"|password|sig|signature|x-amz-(?!id-2\b|request-id\b)[\w-]+|customer-key)['\"]?\s*[=:]\s*['\"]?)[^\s;&,'\"]+"
)
_BEARER = re.compile(r"\b([Bb]earer )[\w.~+/=-]{16,}")
_HEXADECIMAL = re.compile("%[0-9A-F]{2}")
BETWEEN_URLS = re.compile(r",(?=\s*[A-Za-z][A-Za-z0-9+.-]*://)")

# The category Cc, the characters of Cf that reorder text, and U+2028 and U+2029, which end a line.
_MOVES_THE_CURSOR = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

_remembered: dict[str, None] = {}
_longest_first: tuple[str, ...] = ()


def remember(secret: str | None) -> None:
    """Hide a secret from now on in every text, in the forms in which URLs, XML, JSON and `repr` write it, too.

    Args:
        secret: a key, token, signature or password that this process uses; None and short ones are ignored.
    """
    global _remembered, _longest_first
    if not secret or len(secret) < _SHORTEST or secret in _remembered:
        return
    _remembered = dict.fromkeys([*_remembered, *_forms(secret)][-_MOST_REMEMBERED:])
    _longest_first = tuple(sorted(_remembered, key=len, reverse=True))


def _forms(secret: str) -> set[str]:
    """The forms in which texts may repeat a secret."""
    encoded = quote(secret, safe="")
    in_xml = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    lower = _HEXADECIMAL.sub(lambda found: found[0].lower(), encoded)
    escaped = (secret.replace("/", "\\/"), repr(secret)[1:-1])
    return {secret, encoded, lower, quote(secret), in_xml, in_xml.replace('"', "&quot;"), *escaped}


def text(text: str) -> str:
    """The text without secrets, and without values that look like secrets: for reports."""
    text = without_secrets(text)
    if "=" in text or ":" in text:
        text = _PART.sub(rf"\1{HIDDEN}", text)
    return _USER_WITHOUT_SCHEME.sub(f"{HIDDEN}@", text) if "@" in text else text


def message(text: str) -> str:
    """The text of an error, on one line and without secrets. Applying this function twice changes nothing.

    Parameters such as "sig=" outside http URLs are kept, because they may be a part of the key that the message names.
    """
    return printable(without_secrets(text))


def without_secrets(text: str) -> str:
    """The text without remembered secrets, bearer tokens, users and passwords in URLs, and queries of http URLs."""
    for secret in _longest_first:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    if "://" in text:
        text = _HTTP_USER.sub(rf"\1{HIDDEN}@", text)
        text = _USER.sub(f"{HIDDEN}@", text)
        text = _QUERY.sub(rf"\1{HIDDEN}", text)
    return _BEARER.sub(rf"\1{HIDDEN}", text) if "earer " in text else text


def url(text: str) -> str:
    """A URL, or a comma-separated list of URLs, without users, queries and fragments, even if it is malformed."""
    return ",".join(_one_url(item) for item in BETWEEN_URLS.split(text))


def _one_url(text: str) -> str:
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "", text
    if "@" in rest:
        rest = f"{HIDDEN}@{rest.rpartition('@')[2]}"
    before, *after = re.split(r"(?=[?#])", rest, maxsplit=1)
    return f"{scheme}{mark}{before}{f'{after[0][0]}{HIDDEN}' if after else ''}"


def printable(text: str) -> str:
    """The text on one line, with escapes for characters that move the cursor or reorder the display."""
    if text.isprintable():
        return text
    return _MOVES_THE_CURSOR.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def tree(value: Any) -> Any:
    """A document of mappings, sequences and values, without secrets in its texts.

    Everything below a name that says that it is secret is hidden, even in the form {"name": …, "value": …}.
    """
    if isinstance(value, dict):
        own = value.get("name")
        return {
            key: tree(_below(own if key == "value" and isinstance(own, str) else str(key), entry))
            for key, entry in value.items()
        }
    if isinstance(value, list | tuple):
        return [tree(entry) for entry in value]
    return _value(value) if isinstance(value, str) else value


def _below(name: str, entry: Any) -> Any:
    """The content below a name, with every value hidden if the name says that it is secret."""
    return _all_hidden(entry) if _is_secret(name) else entry


def _all_hidden(entry: Any) -> Any:
    if isinstance(entry, dict):
        return {key: _all_hidden(below) for key, below in entry.items()}
    if isinstance(entry, list | tuple):
        return [_all_hidden(below) for below in entry]
    return entry if entry is None or entry == "" or isinstance(entry, bool) else HIDDEN


def setting(name: str, value: str) -> str:
    """The value, as text, of a setting in a form that may be shown; the name is its path, such as "storage.root"."""
    return HIDDEN if value and _is_secret(name) else _value(value)


def _is_secret(name: str) -> bool:
    words = {word for part in name.lower().split(".") for word in (part, *re.split(r"[_\W]+", part))}
    return bool(words & _SECRET_WORDS) or any(word.endswith(_SECRET_ENDINGS) for word in words)


def _value(value: str) -> str:
    """A whole value. If it holds a user and a password, these may contain blanks and the separators of a URL."""
    return text(url(value) if _VALUE_WITH_USER.match(value) else value)
