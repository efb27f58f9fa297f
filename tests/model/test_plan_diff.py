"""Two versions of a plan: what differs, and what of it weakens the plan."""

from __future__ import annotations

import pytest

from model.plan_diff import Change, compare_plans
from model.planfile import read_plan

from .builders import KEY, PLAN_TEXT


def test_comments_order_and_written_defaults_are_no_difference() -> None:
    other = "# mine\n" + PLAN_TEXT.replace("soak: 30s", "interval: 5s\n  soak: 30").replace(
        "roles:\n  leading_group: [ann, bob, cyd]\n  working_group: [dan]\n",
        "roles:\n  working_group: [dan]\n  leading_group: [ann, bob, cyd]\n",
    )
    found = compare_plans(read_plan(PLAN_TEXT), read_plan(other))
    assert ((), ()) == (found.changes, found.warnings)


def test_values_lists_and_sections_that_differ_are_named_by_their_key() -> None:
    other = (
        PLAN_TEXT.replace("rto: 4h", "rto: 2h")
        .replace("working_group: [dan]", "working_group: [dan, cyd]")
        .replace("name: home,", "name: start,")
        .replace("  cyd: {name: Cyd}\n", "  cyd: {name: Cyd}\n  eve: {name: Eve}\n")
    )
    found = compare_plans(read_plan(PLAN_TEXT), read_plan(other))
    new: dict[str, object] = {"name": "Eve", "email": "", "phone": "", "totp": None, "ssh_keys": []}
    assert (
        Change(path="people.eve", before=None, after=new),
        Change(path="roles.working_group", before=["dan"], after=["dan", "cyd"]),
        Change(path="objectives.rto", before=14400.0, after=7200.0),
        Change(path="checks.probes.0.name", before="home", after="start"),
    ) == found.changes
    assert ["added", "changed", "changed", "changed"] == [one.word for one in found.changes]
    assert () == found.warnings
    back = compare_plans(read_plan(other), read_plan(PLAN_TEXT))
    assert "removed" == back.changes[0].word
    assert ("objectives.rto allows more time than before.",) == back.warnings


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        ("quorum: 2", "quorum: 1", "signoff.decide needs 1 instead of 2 signatures."),
        ("decide: {roles: [leading_group]", "decide: {roles: [leading_group, working_group]",
         "signoff.decide may now be signed by dan."),
        ("totp: env:ANN", "totp: env:EVE", "people.ann proves who they are by another code or key"),
        (f'ssh_keys: ["{KEY}"]', "totp: env:BOB", "people.bob proves who they are by another code or key"),
        ('"0123456789abcdef0123456789abcdef"', '"ffffffffffffffffffffffffffffffff"', "hosts.web-1 is another machine"),
        ("  packages: {kind: dpkg, host: web-1}\n", "", "assets.packages is no longer part of the plan."),
        ("rpo: 1d", "rpo: 2d", "objectives.rpo allows more time"),
        ('    - {name: home, url: "http://192.0.2.10/", from_host: web-1}\n', "    []\n",
         "checks.probes has 0 instead of 1 checks."),
    ],
)  # fmt: skip
def test_what_weakens_a_plan_is_said(old: str, new: str, warning: str) -> None:
    assert old in PLAN_TEXT
    other = PLAN_TEXT.replace(old, new)
    if "packages" in old:
        other = other.replace(", depends_on: [packages]", "")
    (said,) = compare_plans(read_plan(PLAN_TEXT), read_plan(other)).warnings
    assert said.startswith(warning)
