"""What every test shares: which tests need a lab or a browser, and when their absence is a failure.

A test marked `lab` or `browser` is skipped, with the reason, where the machine cannot run it. On a machine that
claims to be able to (`REINSTATE_REQUIRE_LAB=1`, set by `.ci/run`) each such skip is a failure: a suite never passes
on nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Generator
from typing import Any

import pytest

from tests.lab.base import missing_prerequisites

pytest_plugins = ["tests.lab.fixtures", "tests.support.fixtures"]

LAB_TOOLS = ("systemd-nspawn", "ip", "nft", "ssh", "sshd")
SLOW_SECONDS = 900
"""A whole recovery may wait this long on a busy machine; nothing of it is measured by the clock."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def lab_required() -> bool:
    """Whether this run must not skip lab and browser tests."""
    return os.environ.get("REINSTATE_REQUIRE_LAB", "") not in ("", "0")


def find_tool(name: str) -> str | None:
    """The path of a system tool, also where an ordinary user's PATH leaves out the sbin folders."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def why_no_lab() -> str | None:
    """The reason why lab tests cannot run here, or None if they can."""
    if not sys.platform.startswith("linux"):
        return "lab tests need Linux"
    if os.geteuid() != 0:
        return "lab tests need root (they start systemd-nspawn hosts): run `sudo make test`"
    missing = [tool for tool in LAB_TOOLS if find_tool(tool) is None]
    missing += [what for what in missing_prerequisites() if what not in missing]
    if missing:
        return f"lab tests need {', '.join(missing)}: `make test` as root installs them on Debian and Ubuntu"
    return None


def why_no_browser() -> str | None:
    """The reason why browser tests cannot run here, or None if they can."""
    if any(find_tool(browser) for browser in BROWSERS):
        return None
    return "browser tests need Chromium: install your system's `chromium` package"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what this machine cannot run, and says why; what takes longest begins first."""
    reasons = {"lab": why_no_lab(), "browser": why_no_browser()}
    for item in items:
        for marker, reason in reasons.items():
            if reason is not None and item.get_closest_marker(marker) is not None:
                item.add_marker(pytest.mark.skip(reason=reason))
        slow = item.get_closest_marker("slow") is not None
        if slow and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))
    # So that no process of `make test` is left with it at the end.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # noqa: ANN401 - xdist has no types
    """Tests that share something costly run in one process."""
    from tests.support.scheduling import Together

    return Together(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns the skip of a lab or browser test into a failure where the lab is required."""
    report = yield
    needs = [name for name in ("lab", "browser") if item.get_closest_marker(name) is not None]
    if report.skipped and needs and lab_required() and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"REINSTATE_REQUIRE_LAB=1, but this {needs[0]} test was skipped. {reason}"
    return report


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as Prefect does."""
    return "asyncio"
