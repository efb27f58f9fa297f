"""Examining a plan: one result per asset and probe, in dependency order, and nothing left out silently."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.secrets import Secrets
from checks.examine import examine, impact_scope
from model.finding import CheckResult, Code, Verdict
from model.plan import Plan
from model.planfile import read_plan
from model.severity import Scope
from tests.checks.local import LocalConnection
from tests.model.builders import KEY, PLAN_TEXT


@pytest.fixture
def shop(tmp_path: Path) -> Plan:
    """Three services, a file set and a probe on web-1; one service on web-2."""
    status = tmp_path / "status"
    status.write_text("#!/bin/sh\nexit 0\n")
    status.chmod(0o755)
    driven = f"start: ['true'], stop: ['true'], status: [{status}]"
    head = PLAN_TEXT[: PLAN_TEXT.index("backups:")]
    return read_plan(f"""{head}
  web-2: {{address: 192.0.2.11, key: file:k, host_key: {KEY}, machine_id: "{"1" * 32}"}}
backups:
  tree: {{kind: directory, path: backups}}
assets:
  last: {{kind: service, host: web-1, {driven}, depends_on: [first]}}
  first: {{kind: service, host: web-1, {driven}}}
  far: {{kind: service, host: web-2, {driven}}}
  files: {{kind: files, host: web-1, path: {tmp_path}, backup: tree}}
checks:
  probes:
    - {{name: closed, url: "http://127.0.0.1:1/", from_host: web-1}}
    - {{name: away, url: "http://127.0.0.1:1/", from_host: web-2}}
""")


def run(
    here: LocalConnection, shop: Plan, tmp_path: Path, only: set[str] | None = None
) -> dict[str, CheckResult]:
    told: list[tuple[int, int]] = []

    def tell(done: int, total: int, note: str = "", /) -> None:
        assert "assets" in note
        told.append((done, total))

    results = examine(
        shop, {"web-1": here}, baselines={}, manifests={}, secrets=Secrets(tmp_path), only=only,
        progress=tell,
    )  # fmt: skip
    assert (1000, 1000) == told[-1]
    assert sorted(told) == told
    return {result.asset: result for result in results}


def test_every_asset_and_probe_has_a_result_in_dependency_order(
    here: LocalConnection, shop: Plan, tmp_path: Path
) -> None:
    results = run(here, shop, tmp_path)
    assert ["first", "last", "far", "files", "closed", "away"] == list(results)
    verdicts = [result.verdict.value for result in results.values()]
    assert ["PASSED", "PASSED", "ERROR", "ERROR", "FAILED", "ERROR"] == verdicts


def test_host_that_cannot_be_reached_is_named_and_not_passed(
    here: LocalConnection, shop: Plan, tmp_path: Path
) -> None:
    results = run(here, shop, tmp_path)
    assert all("web-2 cannot be reached" in results[name].sentence for name in ("far", "away"))


def test_file_set_without_a_recovery_point_is_an_error(
    here: LocalConnection, shop: Plan, tmp_path: Path
) -> None:
    assert "no recovery point" in run(here, shop, tmp_path)["files"].sentence


def test_some_assets_alone_are_looked_at_without_probes(
    here: LocalConnection, shop: Plan, tmp_path: Path
) -> None:
    assert ["first"] == list(run(here, shop, tmp_path, {"first"}))


@pytest.mark.parametrize(
    ("status", "scope", "down"),
    [(0, Scope.SERVICE, 0), (3, Scope.SEVERAL, 2)],
    ids=["probe-fails", "services-down"],
)
def test_scope_follows_from_what_stopped_working(
    here: LocalConnection, shop: Plan, tmp_path: Path, status: int, scope: Scope, down: int
) -> None:
    """Degree and scope are graded apart (R-RESP-2)."""
    (tmp_path / "status").write_text(f"#!/bin/sh\nexit {status}\n")
    results = tuple(run(here, shop, tmp_path).values())
    assert down == sum(f.code is Code.SERVICE_DOWN for r in results for f in r.findings)
    assert scope is impact_scope(results, shop)
    assert Scope.PART is impact_scope([r for r in results if r.verdict is Verdict.PASSED], shop)
