"""Which tests `make test` keeps in one process: those of a file, of a corpus host, and of the running installation.

xdist's own `loadgroup` writes the group into the test's id, which pytest 9.2 no longer lets it do.
"""

from __future__ import annotations

from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped] # xdist has no types

INSTALLATION = (
    "tests/deployments/test_automations.py", "tests/deployments/test_drills_up.py",
    "tests/deployments/test_readiness.py", "tests/deployments/test_schedules.py", "tests/deployments/test_up.py",
    "tests/e2e/test_browser.py", "tests/e2e/test_kill.py",
)  # fmt: skip
"""Files whose tests share one running `reinstate up` (`tests.support.fixtures`)."""
ALONE = ("tests/e2e/test_alerts.py", "tests/e2e/test_gates.py", "tests/e2e/test_information.py")
"""Those with one of their own: they change the plan that every incident follows."""


def together(nodeid: str) -> str:
    """Name of what a test shares with others: its file; in the corpus `family:group`, the start of its parameters."""
    file, _, rest = nodeid.partition("::")
    if file in INSTALLATION:
        return "installation"
    family, colon, more = rest.partition("[")[2].partition(":")
    if file == "tests/corpus/test_corpus.py" and colon:
        return f"{file}[{family}:{more.partition(':')[0].rstrip(']')}"
    return file


class Together(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Hands out whole groups, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return together(nodeid)
