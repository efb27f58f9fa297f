"""What may run side by side: hosts that do not wait for each other (R-RESP-5)."""

from __future__ import annotations

from functools import cache

from model.outcome import Stage
from model.plan import Plan
from model.planfile import read_plan
from model.proposal import Action, Rung, SetAside
from model.waves import waves
from tests.model import builders

_ASSETS = """\
  other: {kind: files, host: web-2, path: /srv/other, backup: tree}
  later: {kind: files, host: web-2, path: /srv/later, backup: tree, depends_on: [files]}
  served: {kind: files, host: web-1, path: /srv/served, backup: tree, services: [far]}
  far: {kind: service, host: web-2, unit: far.service}
"""


@cache
def plan() -> Plan:
    """A second host; `later` waits for `files`, and those for `packages`."""
    second = builders.PLAN_TEXT[
        builders.PLAN_TEXT.index("  web-1:\n") : builders.PLAN_TEXT.index("backups:\n")
    ]
    second = second.replace("web-1", "web-2").replace("192.0.2.10", "192.0.2.11")
    second = second.replace("0123456789abcdef" * 2, "fedcba9876543210" * 2)
    text = builders.PLAN_TEXT.replace("backups:\n", f"{second}backups:\n", 1)
    return read_plan(text.replace("checks:\n", f"{_ASSETS}checks:\n", 1))


def grouped(*assets: str) -> list[list[str]]:
    """The groups of one action for each of these assets."""
    actions: list[Action] = [
        SetAside(
            id=f"a{number:02d}", host=plan().assets[asset].host, asset=asset, stage=Stage.RESTORE,
            rung=Rung.FILE, reason="r", undo="u", paths=("/srv/x",), minutes=0.1,
        )
        for number, asset in enumerate(assets, start=1)
    ]  # fmt: skip
    return [[action.asset for action in wave] for wave in waves(actions, plan())]


def test_hosts_that_do_not_wait_for_each_other_are_repaired_side_by_side() -> None:
    assert [["files", "other"]] == grouped("files", "other")


def test_one_host_is_repaired_one_action_after_another() -> None:
    assert [["packages", "other"], ["files"]] == grouped("packages", "files", "other")


def test_what_an_asset_depends_on_comes_first_also_through_others() -> None:
    assert [["files"], ["later"]] == grouped("files", "later")
    assert [["packages"], ["later"]] == grouped("packages", "later")


def test_service_of_another_host_waits_for_what_it_serves() -> None:
    assert [["served"], ["far"]] == grouped("served", "far")


def test_nothing_to_do_has_no_groups() -> None:
    assert [] == grouped()
