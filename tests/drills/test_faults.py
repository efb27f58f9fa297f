"""Every kind of fault, really injected over the plan's own connection: seen as announced, undone without a trace."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import pytest

from blocks.home import open_store
from checks.expectations import expect_tables
from model.fault_kinds import FaultKind
from model.faults import Fault, choose
from model.finding import CheckResult, Code, Finding, Verdict
from tasks.faults import inject, left_behind, planted_on, undo
from tasks.progress import Progress
from tasks.steps import look
from tasks.work import PlanFile, load_plan
from tests.drills.conftest import ARCHIVE, SPOOL
from tests.support import witness
from tests.support.labworld import HOST, LabWorld
from tests.support.locally import back_up_locally

pytestmark = [pytest.mark.lab, pytest.mark.slow]

DRILL = "/var/lib/reinstate/drill"
OFF = {"/etc/ld.so.cache", "/var/lib/dpkg", "/var/cache/apt", "/etc/ssl/certs"}


def examined(file: PlanFile) -> list[CheckResult]:
    """Everything the plan can see; a server that does not answer has no tables to ask."""
    results = look(file, open_store(), None, Progress("look", "look"))
    if any(finding.code is Code.DATABASE_UNREACHABLE for finding in found(results)):
        return list(results)
    return [*results, *expect_tables(file.plan, file.connect, file.secrets)]


def found(results: Sequence[CheckResult]) -> list[Finding]:
    """All findings."""
    return [finding for result in results for finding in result.findings]


def outside(world: LabWorld) -> dict[str, object]:
    """The host as this machine sees it: files without times, running services, databases, room."""
    host, shop = world.host, world.shop
    state: dict[str, object] = {
        path: seen.facts
        for path, seen in witness.look(host).items()
        if not path.startswith(("/var/", "/etc/ld.so"))
    }
    state["dpkg"] = host.must(
        ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Status}\n"]
    )
    state["orders"] = shop.state().tables
    state["schema"] = shop.sql("SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1")
    state["nginx"] = host.shell(["systemctl", "is-active", "nginx.service"]).stdout
    state["archive"] = hashlib.sha256(host.inside(ARCHIVE).read_bytes()).hexdigest()
    state["spool"] = sorted(host.must(["ls", "-A", SPOOL]).split())
    return state


def tried(world: LabWorld, file: PlanFile, fault: Fault, before: dict[str, object]) -> list[str]:
    """Inject, look, undo, look again; what is not as it should be, in words."""
    wrong: list[str] = []
    with file.connect(HOST) as connection:
        planted = inject(connection, file.plan, fault, secrets=file.secrets)
        assert (planted,) == planted_on(connection)
        assert left_behind(connection, file.plan, planted)
    assert 0o700 == world.host.inside(DRILL).stat().st_mode & 0o777
    findings = found(examined(file))
    wrong += [f"not seen: {one}" for one in planted.expected if not any(one.matches(f) for f in findings)]
    wrong += [f"not announced: {f.sentence}" for f in findings if not planted.explains(f)]
    for _ in range(2):  # the second time after it was cured
        with file.connect(HOST) as connection:
            undo(connection, file.plan, planted, secrets=file.secrets)
            assert () == left_behind(connection, file.plan, planted)
            assert () == planted_on(connection)
    wrong += [f"still seen: {f.sentence}" for f in found(examined(file))]
    after = outside(world)
    wrong += [
        f"not as before: {k}" for k in sorted(before.keys() | after.keys()) if before.get(k) != after.get(k)
    ]
    if world.host.inside(DRILL).exists():
        wrong.append("the drill's folder is still there")
    return [f"{fault.kind} {fault.asset} {fault.target} ({planted.sentence}): {one}" for one in wrong]


ASSETS = int(os.environ.get("REINSTATE_FAULT_ASSETS", "1"))
"""How many assets each kind is done to, at most; 3 tries all."""
GROUPS = {
    "files": ("configuration", "permissions", "deleted-directory", "overwritten-documents"),
    "packages": ("package-file", "library-bit", "killed-upgrade"),
    "host": ("disk-full", "stopped-service", "expired-certificate"),
    "databases": ("database-pages", "wrong-update", "dropped-table"),
}
"""Kinds that share a host."""


def test_groups_hold_every_kind() -> None:
    assert set(FaultKind) == {FaultKind(kind) for group in GROUPS.values() for kind in group}


@pytest.mark.parametrize("group", list(GROUPS))
def test_every_kind_is_seen_as_announced_and_undone(staging: LabWorld, group: str) -> None:
    """Issue 6: thirteen kinds of real damage, by seed; nothing is left behind."""
    back_up_locally(staging)
    file = load_plan(str(staging.plan_file))
    healthy = examined(file)
    assert [] == [f.sentence for f in found(healthy)]
    assert {Verdict.PASSED} == {result.verdict for result in healthy}, [r.sentence for r in healthy]
    wrong: list[str] = []
    before = outside(staging)
    for kind in map(FaultKind, GROUPS[group]):
        faults = {one.asset: one for seed in range(6) for one in choose(file.plan, [HOST], [kind], seed, 3)}
        assert faults, kind
        for fault in list(faults.values())[:ASSETS]:
            try:
                wrong += tried(staging, file, fault, before)
            except Exception as error:
                raise AssertionError([*wrong, f"{fault}: {error!r}"]) from error
    assert [] == wrong
