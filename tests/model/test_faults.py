"""Which faults a plan allows, and the choice among them by seed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import BadInput, PreconditionFailed
from model.fault_kinds import FaultKind
from model.faults import KINDS, Expected, Fault, choose, masks, possible
from model.finding import Code, Finding
from model.plan import Plan
from model.planfile import read_plan
from tests.model import builders

HOST, OTHER = "web-1", "web-2"
BETWEEN = "{type: expect_column_values_to_be_between, kwargs: {column: total, min_value: 0, max_value: 9}}"
ASSETS = """\
assets:
  packages: {kind: dpkg, host: web-1, services: [web]}
  few: {kind: dpkg, host: web-2, packages: [nginx, hello]}
  settings: {kind: files, host: web-1, path: /etc/shop, role: configuration, backup: tree}
  files: {kind: files, host: web-1, path: /srv/shop, backup: tree}
  inner: {kind: files, host: web-1, path: /srv/shop/inner, backup: tree}
  database: {kind: postgresql, host: web-1, database: shop, backup: tree, service: server}
  twin: {kind: postgresql, host: web-1, database: twin, backup: tree, service: server}
  archive: {kind: sqlite, host: web-1, path: /srv/shop/archive.db, backup: tree}
  server: {kind: service, host: web-1, unit: postgresql@15-main.service}
  web: {kind: service, host: web-1, unit: shop.service, depends_on: [database]}
  state: {kind: system, host: web-1, mounts: [/, /srv/spool], certificates: [/etc/ssl/shop.pem]}
"""


def whole() -> Plan:
    """A plan whose assets allow every kind."""
    before, rest = builders.PLAN_TEXT.split("assets:\n")
    after = rest[rest.index("checks:\n") :]
    tables = f"  tables:\n    - {{database: database, table: orders, expectations: [{BETWEEN}]}}\n"
    second = "hosts:\n  web-2:\n" + before[before.index("    address:") : before.index("backups:")]
    text = before.replace("hosts:\n", second.replace("192.0.2.10", "192.0.2.11")) + ASSETS + after
    text = text[: text.index("checks:\n")] + "checks:\n  soak: 30s\n" + tables
    return read_plan(text)


def test_every_kind_is_possible_in_a_plan_that_has_everything() -> None:
    plan = whole()
    offered = possible(plan, HOST)
    assert set(FaultKind) == set(KINDS)
    assert set(FaultKind) == {one.kind for one in offered}
    assert {HOST} == {one.host for one in offered}
    assert {("few", "nginx"), ("few", "hello")} == {(one.asset, one.target) for one in possible(plan, OTHER)}


def test_disk_of_the_system_itself_is_never_filled() -> None:
    assert ["/srv/spool"] == [
        one.target for one in possible(whole(), HOST) if one.kind is FaultKind.DISK_FULL
    ]


def test_wrong_update_breaks_what_the_plan_expects() -> None:
    (one,) = [one for one in possible(whole(), HOST) if one.kind is FaultKind.WRONG_UPDATE]
    assert ("database", "orders", "total", "value", "10") == (
        one.asset,
        one.target,
        one.column,
        one.wrong,
        one.value,
    )


@given(seed=st.integers(0, 2**40), count=st.integers(1, 12))
def test_choice_is_the_same_for_the_same_seed_and_masks_nothing(seed: int, count: int) -> None:
    """No two faults of a drill may hide each other."""
    plan = whole()
    chosen = choose(plan, [HOST, OTHER], [], seed, count)
    assert chosen == choose(plan, [HOST, OTHER], [], seed, count)
    assert 1 <= len(chosen) <= count
    assert {seed} == {one.seed for one in chosen}
    for number, one in enumerate(chosen):
        assert not any(masks(plan, one, other) or masks(plan, other, one) for other in chosen[number + 1 :])


@given(first=st.integers(0, 2**30))
def test_seeds_that_follow_each_other_go_round_all_kinds(first: int) -> None:
    """Thirty drills by seed see every kind."""
    plan = whole()
    seen = {choose(plan, [HOST], [], first + number, 1)[0].kind for number in range(30)}
    assert set(FaultKind) == seen


@pytest.mark.parametrize(
    ("one", "other", "hidden"),
    [
        ((FaultKind.STOPPED_SERVICE, "server"), (FaultKind.DROPPED_TABLE, "database"), True),
        ((FaultKind.DATABASE_PAGES, "database"), (FaultKind.DROPPED_TABLE, "twin"), True),
        ((FaultKind.DELETED_DIRECTORY, "files"), (FaultKind.PERMISSIONS, "inner"), True),
        ((FaultKind.OVERWRITTEN_DOCUMENTS, "files"), (FaultKind.DATABASE_PAGES, "archive"), True),
        ((FaultKind.DISK_FULL, "state"), (FaultKind.CONFIGURATION, "settings"), True),
        ((FaultKind.PACKAGE_FILE, "packages"), (FaultKind.KILLED_UPGRADE, "packages"), True),
        ((FaultKind.STOPPED_SERVICE, "web"), (FaultKind.CONFIGURATION, "settings"), False),
        ((FaultKind.PACKAGE_FILE, "packages"), (FaultKind.DROPPED_TABLE, "database"), False),
        ((FaultKind.EXPIRED_CERTIFICATE, "state"), (FaultKind.CONFIGURATION, "settings"), False),
        ((FaultKind.DISK_FULL, "state"), (FaultKind.PACKAGE_FILE, "few"), False),
    ],
)
def test_faults_that_could_hide_each_other_are_kept_apart(
    one: tuple[FaultKind, str], other: tuple[FaultKind, str], hidden: bool
) -> None:
    plan = whole()
    offered = [*possible(plan, HOST), *possible(plan, OTHER)]
    first, second = (next(f for f in offered if (f.kind, f.asset) == pair) for pair in (one, other))
    assert hidden is masks(plan, first, second)
    assert hidden is masks(plan, second, first)


def test_only_kinds_that_are_asked_for_are_chosen() -> None:
    chosen = choose(whole(), [HOST], [FaultKind.PERMISSIONS, FaultKind.STOPPED_SERVICE], 7, 4)
    assert {FaultKind.PERMISSIONS, FaultKind.STOPPED_SERVICE} == {one.kind for one in chosen}


def test_what_cannot_be_chosen_is_refused() -> None:
    plan = whole()
    with pytest.raises(BadInput, match="no host of the plan"):
        choose(plan, ["nowhere"], [], 0, 1)
    with pytest.raises(BadInput, match="one fault or more"):
        choose(plan, [HOST], [], 0, 0)
    with pytest.raises(PreconditionFailed, match="no asset on these hosts"):
        choose(plan, [OTHER], [FaultKind.STOPPED_SERVICE], 0, 1)


def test_order_by_seed_does_not_depend_on_the_order_of_the_names() -> None:
    fault = Fault(kind=FaultKind.PERMISSIONS, asset="files", host=HOST, seed=3)
    names = [f"name-{number}" for number in range(20)]
    assert fault.pick(names) == fault.pick(names[::-1])
    assert fault.pick(names) != fault.model_copy(update={"seed": 4}).pick(names)


@pytest.mark.parametrize(
    ("subject", "seen"),
    [
        ("/srv/a", True), ("/srv/a/below", True), ("/srv/ab", False), ("/srv", False), ("/srv/a: it has rows", True),
    ],
)  # fmt: skip
def test_expected_finding_is_that_subject_or_what_is_below_it(subject: str, seen: bool) -> None:
    expected = Expected(code=Code.FILE_MISSING, asset="files", subject="/srv/a")
    assert seen is expected.matches(
        Finding(code=Code.FILE_MISSING, host=HOST, asset="files", subject=subject)
    )
    assert not expected.matches(Finding(code=Code.FILE_MISSING, host=HOST, asset="other", subject=subject))


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("plans/*.yaml")), ids=lambda path: path.stem
)
def test_plans_we_ship_allow_drills(path: Path) -> None:
    plan = read_plan(path.read_text(encoding="utf-8"))
    for seed in range(13):
        assert choose(plan, list(plan.hosts), [], seed, 3)


def test_page_names_every_kind_with_what_it_needs() -> None:
    """docs/drill-faults.md."""
    page = Path(__file__).parents[2] / "docs" / "drill-faults.md"
    rows = [
        line.split(" | ") for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]
    assert {kind.value: need.words for kind, need in KINDS.items()} == {
        row[0].strip("|` "): row[2] for row in rows
    }
