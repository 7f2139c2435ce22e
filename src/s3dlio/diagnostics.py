# SPDX-License-Identifier: Apache-2.0
"""What a program needs to examine its own use of s3dlio: endpoints, proxies, environment variables and traffic."""

from __future__ import annotations

from collections.abc import Collection

from s3dlio import settings
from s3dlio.errors import ConfigurationError
from s3dlio.http import endpoints
from s3dlio.http.address import parse_endpoint, routed, split_endpoints
from s3dlio.settings import Settings

# How the name of a variable that concerns one scheme begins.
_SCHEMES_OF_PREFIXES = {
    "AWS_": "s3",
    "S3_": "s3",
    "AZURE_": "az",
    "IDENTITY_": "az",
    "IMDS_": "az",
    "MSI_": "az",
    "S3DLIO_AZURE_": "az",
    "CLOUDSDK_": "gs",
    "GCE_": "gs",
    "GCS_": "gs",
    "GOOGLE_": "gs",
    "STORAGE_EMULATOR_": "gs",
}


def traffic() -> dict[str, tuple[int, int]]:
    """What this process has exchanged with each endpoint since it started; a forked child continues its parent's sums.

    Returns:
        By the endpoint's URL: the number of requests, repeated ones included, and the bytes of bodies in both
        directions.
    """
    return {url: (sums.requests, sums.bytes) for url, sums in list(endpoints.traffic.items())}


def s3_endpoints(now: Settings) -> list[str]:
    """The endpoints of s3:// as the settings spell them; empty if the settings name none."""
    return split_endpoints(now.s3_endpoints or "")


def proxy_of(endpoint: str, now: Settings) -> str | None:
    """The proxy between this process and an endpoint, as "host:port".

    Args:
        endpoint: its URL.
        now: the settings that name proxies, and the hosts that are reached without one.

    Returns:
        None if requests go straight to the endpoint, or if the URL or the proxy's is malformed.
    """
    try:
        proxy = routed(parse_endpoint(endpoint, "endpoint")[0], now).proxy
    except ConfigurationError:
        return None
    return None if proxy is None else f"{proxy.host}:{proxy.port}"


def environment_variables(schemes: Collection[str]) -> list[str]:
    """The environment variables that decide where calls go, with which credentials, and how.

    Args:
        schemes: the variables of these are included, as in {"s3"}; those that concern every scheme always are.

    Returns:
        Names in alphabetical order, whether the variables are set or not. HOME, below which some credentials are
        looked for, is not among them.
    """
    from s3dlio.auth.aws import credentials as aws
    from s3dlio.auth.azure import entra as azure

    known = {name for names, _, _ in settings.table() for name in names.split(", ")}
    known |= {*aws.VARIABLES, *azure.VARIABLES}
    return sorted(name for name in known - {"HOME"} if _scheme_of(name) in {None, *schemes})


def _scheme_of(name: str) -> str | None:
    return next((scheme for prefix, scheme in _SCHEMES_OF_PREFIXES.items() if name.startswith(prefix)), None)
