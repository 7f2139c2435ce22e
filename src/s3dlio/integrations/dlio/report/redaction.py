"""What may be a secret is not shown: a report is made to be passed on.

Settings are judged by their names, and every other text (URIs, messages) by the places in which secrets travel: user
names and passwords in URLs, signatures in their queries, the parts of connection strings.
"""

from __future__ import annotations

import re

HIDDEN = "(hidden)"

_SECRET_WORDS = frozenset(
    {"auth", "authorization", "connection", "credential", "keys", "passphrase", "passwd", "pwd", "sas", "secrets"}
    | {"signature", "tokens"}
)
_SECRET_ENDINGS = ("credentials", "key", "keyid", "password", "secret", "token")  # of words, whole ones too

_USER = re.compile(r"(?<=://)[^/\s?#@]+@")
_QUERY = re.compile(r"(https?://[^\s?'\"]+\?)[^\s'\"]+")
_PART = re.compile(
    r"(?i)\b(\w*(?:account_?key|shared_?access_?signature|access_?key(?:_?id)?|secret(?:_?access)?_?key|session_?token"
    r"|password|sig|signature|x-amz-\w+)\s*[=:]\s*)[^\s;&,'\"]+"
)


def plain(text: str) -> str:
    """The text without what looks like a secret in it."""
    text = _USER.sub(f"{HIDDEN}@", text)
    text = _QUERY.sub(rf"\1{HIDDEN}", text)
    return _PART.sub(rf"\1{HIDDEN}", text)


def setting(name: str, value: str) -> str:
    """The value of a setting as it may be shown.

    Args:
        name: its path, such as "storage.storage_options.access_key_id".
        value: as text.
    """
    words = {word for part in name.lower().split(".") for word in (part, *re.split(r"[_\W]+", part))}
    if value and (words & _SECRET_WORDS or any(word.endswith(_SECRET_ENDINGS) for word in words)):
        return HIDDEN
    return plain(value)
