"""Pointing this process's Prefect client at an installation of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from deployments.server.paths import Paths

UNREACHABLE = (OSError, httpx.HTTPError)
"""What a Prefect call raises while the server does not answer."""


@contextmanager
def client_settings(where: Paths) -> Iterator[None]:
    """Prefect calls inside the context go to that server, with its password."""
    with temporary_settings({PREFECT_API_URL: f"{where.url}/api", PREFECT_API_AUTH_STRING: where.auth}):
        yield
