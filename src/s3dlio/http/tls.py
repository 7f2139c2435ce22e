"""TLS contexts: certificates are always verified, against the system's CAs or a file the settings name.

A context is costly (reading the system's CAs takes 20 ms) and is made once per CA file and process. A fork waits while
one is being made: the child could never take a lock that OpenSSL held then.
"""

from __future__ import annotations

import os
import ssl
import threading
from functools import lru_cache

from s3dlio.errors import ConfigurationError

_making = threading.RLock()

os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release)


@lru_cache(maxsize=16)
def context(ca_file: str | None) -> ssl.SSLContext:
    """The context to connect with.

    Args:
        ca_file: PEM file of the CAs to trust instead of the system's (AWS_CA_BUNDLE, SSL_CERT_FILE), or None.

    Raises:
        ConfigurationError: the file cannot be read or holds no certificate.
    """
    try:
        with _making:
            made = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the CA file {ca_file!r} cannot be used: {error}; check AWS_CA_BUNDLE") from error
    made.set_alpn_protocols(["http/1.1"])
    return made
