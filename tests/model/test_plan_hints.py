"""What a right plan still lacks (R-ORG-4, R-PREV-1, R-USE-5, R-DRILL-1)."""

from __future__ import annotations

import pytest

from model.plan_hints import hints
from model.planfile import line_of, read_plan

from .builders import KEY, PLAN_TEXT

COMPLETE = (
    PLAN_TEXT.replace("bob: {name: Bob,", 'bob: {name: Bob, phone: "1",')
    .replace("cyd: {name: Cyd}", "cyd: {name: Cyd, email: c@example.org, totp: env:CYD}")
    .replace("kind: dpkg, host: web-1", "kind: dpkg, host: web-1, store: wheels")
    .replace(
        "path: /srv/shop, backup: tree",
        "path: /srv/shop, backup: tree, reimport: Scan the paper forms again.",
    )
    + 'back_up: {schedule: "0 2 * * *"}\nverification: {schedule: "0 4 * * 0"}\n'
    + 'drill: {schedule: "0 9 1 * *", mode: tabletop}\n'
)


def test_complete_plan_lacks_nothing() -> None:
    assert () == hints(read_plan(COMPLETE))


def part(start: str, end: str) -> str:
    """The complete plan from one text to another."""
    return COMPLETE[COMPLETE.index(start) : COMPLETE.index(end)]


LACKING = {
    "leader without address": (", email: c@example.org", "", "people.cyd", "cannot be reached"),
    "nobody to spare": (", totp: env:CYD", "", "signoff.decide", "nobody to spare: it cannot be signed when one of"),
    "packages from nowhere": ("host: web-1, store: wheels}", "host: web-1}", "assets.packages", "very same version"),
    "no way to enter again": (", reimport: Scan the paper forms again.", "", "assets.files", "nobody wrote down"),
    "no backups": ('back_up: {schedule: "0 2 * * *"}\n', "", "back_up", "only by hand"),
    "no proof": ('verification: {schedule: "0 4 * * 0"}\n', "", "verification", "ever restored"),
    "no drill": ('drill: {schedule: "0 9 1 * *", mode: tabletop}\n', "", "drill", "never exercised"),
    "nobody is told": (part("communication:", "back_up:"), "", "communication", "told"),
    "no checks": (part("  probes:", "signoff:"), "", "checks", "asks the service"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "path", "words"), LACKING.values(), ids=LACKING)
def test_what_is_missing_is_named_with_a_remedy(old: str, new: str, path: str, words: str) -> None:
    assert old in COMPLETE
    (hint,) = hints(read_plan(COMPLETE.replace(old, new, 1)))
    assert path == hint.path
    assert words in hint.what
    assert hint.remedy


def test_gate_that_can_never_be_signed_says_so() -> None:
    plan = read_plan(
        COMPLETE.replace(", totp: env:CYD", "").replace(f', ssh_keys: ["{KEY}"]', "").replace("quorum: 2", "quorum: 3")
    )  # fmt: skip
    said = {hint.path: hint.what for hint in hints(plan)}
    assert "needs 3 signatures and 1 of its people can prove who they are" == said["signoff.decide"]
    assert "nobody to spare" in said["signoff.accept"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("assets.files.backup", "  files: {"), ("signoff.accept", "signoff:"),
        ("checks.probes.0.name", "- {name: home"), ("hosts.web-1", "  web-1:"), ("review.owner", "reinstate: 1"),
    ],
)  # fmt: skip
def test_line_of_a_key_is_that_of_what_holds_it_when_it_is_absent(path: str, words: str) -> None:
    assert words in PLAN_TEXT.splitlines()[line_of(PLAN_TEXT, path) - 1]
