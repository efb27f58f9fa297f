"""Ceph's S3 gateway on a laboratory host: what Swift does not have, such as Object Lock, and a second opinion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.lab import base as lab_base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.support.s3server import ACCESS_KEY, SECRET_KEY
from tests.support.waiting import wait_for

PORT = 7480
_START = Path(lab_base.__file__).with_name("objects_start.sh")


@contextmanager
def radosgw(session: LabSession) -> Iterator[str]:
    """Run a gateway with its cluster; what it keeps is in memory, and gone afterwards.

    Args:
        session: the network it is on; this machine and all hosts of the session reach it.

    Yields:
        Its endpoint.
    """
    with LabHost(lab_base.ensure_base(recipe=lab_base.OBJECTS), session, "objects") as host:
        words = ["sh", "-s", "--", host.address, str(PORT), ACCESS_KEY, SECRET_KEY]
        host.must(words, text=_START.read_text(), seconds=180)
        endpoint = f"http://{host.address}:{PORT}"
        wait_for("the gateway answers", lambda: _answers(endpoint), 60)
        yield endpoint


def _answers(endpoint: str) -> bool:
    try:
        return httpx.get(endpoint, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
