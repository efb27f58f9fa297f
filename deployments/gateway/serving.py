"""Serving the gateway: the plans as they are now, one process, until told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import uvicorn

from blocks.alerts.spool import Spool
from blocks.home import home, open_store
from deployments.gateway.app import Gateway
from model.errors import BadInput, ReinstateError
from tasks.work import PlanFile, load_plan

FRESH = 2.0
"""Seconds for which a plan that was read is taken as it is."""


class LivePlans:
    """Plans by name as their files are now; one that is wrong at the moment stays as it was.

    Args:
        references: files, or names of registered plans.

    Raises:
        BadInput: no such plan. BadPlan: a plan is wrong from the start.
    """

    def __init__(self, references: Sequence[str]) -> None:
        self._files = {file.path: file for file in (load_plan(one, open_store()) for one in references)}
        self._seen = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in self._files}
        self._looked = time.monotonic()

    def __call__(self) -> Mapping[str, PlanFile]:
        """The plans by name."""
        if time.monotonic() - self._looked > FRESH:
            self._looked = time.monotonic()
            for path in self._files:
                self._refresh(path)
        return {file.plan.name: file for file in self._files.values()}

    def _refresh(self, path: Path) -> None:
        try:
            seen = (path.stat().st_mtime_ns, path.stat().st_size)
            if seen != self._seen[path]:
                self._files[path] = load_plan(str(path))
                self._seen[path] = seen
        except (ReinstateError, OSError):
            return  # `plan check` says what is wrong; alerts go on by what was right


def parse_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`.

    Raises:
        BadInput: it is none.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise BadInput(f"{text!r} is no address.", "--listen", "write HOST:PORT, such as 127.0.0.1:4280")
    return host.strip("[]"), int(port)


def serve_plans(references: Sequence[str], address: str, ready: Callable[[str], None] = print) -> None:
    """Serve the alerts of these plans until told to stop (SIGTERM, Ctrl-C).

    Raises:
        BadInput: no such plan, a plan without `alerts`, or no address.
    """
    host, port = parse_address(address)
    plans = LivePlans(references)
    without = [name for name, file in plans().items() if file.plan.alerts is None]
    if without:
        raise BadInput(
            f"plan {without[0]} names no source of alerts.", without[0], "add `alerts:`; see docs/alerts.md"
        )
    spool = Spool(home() / "alerts")
    for name, file in plans().items():
        for source in file.plan.alerts.sources if file.plan.alerts else ():
            ready(f"http://{address}/alerts/{name}/{source}")
    uvicorn.run(
        Gateway(plans, spool).app(), host=host, port=port, log_level="warning", access_log=False,
        server_header=False, proxy_headers=False, ws="none", timeout_keep_alive=30, limit_concurrency=1000,
    )  # fmt: skip
