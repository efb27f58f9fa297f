"""The repair ladder: each finding is cured on the lowest rung that reaches it, or said to be unmet (R-RESP-4)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.assets import Asset
from model.canonical import canonical_json
from model.finding import Code, Finding
from model.ladder import propose
from model.manifest import Entry, FileType, Manifest, RecoveryPoint
from model.outcome import Stage
from model.plan import Plan
from model.proposal import (
    Proposal,
    ReinstallDistribution,
    ReinstallPackage,
    RestartService,
    RestoreDatabase,
    RestoreFiles,
    SetMetadata,
)
from model.supplies import DatabaseSupply, PackageSupply, PointSupply, Supplies, WheelSupply
from tests.model.builders import PLAN_TEXT

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
TAKEN = datetime(2025, 6, 1, 3, tzinfo=UTC)
MACHINE = "0123456789abcdef0123456789abcdef"
HASH = "a" * 64

ASSETS = """
  os: {kind: dpkg, host: web-1, services: [web]}
  config: {kind: files, host: web-1, path: /etc/shop, role: configuration, backup: tree, services: [web]}
  library: {kind: pip, host: web-1, python: /opt/shop/bin/python, store: wheels, services: [web]}
  postgres: {kind: service, host: web-1, unit: postgresql.service}
  database: {kind: postgresql, host: web-1, database: shop, backup: tree, service: postgres, services: [web],
              depends_on: [postgres]}
  bare: {kind: postgresql, host: web-1, database: bare, backup: tree}
  files: {kind: files, host: web-1, path: /srv/shop, backup: tree}
  web: {kind: service, host: web-1, unit: shop.service, depends_on: [database, files]}
"""
_HEAD, _REST = PLAN_TEXT.split("assets:\n")


@pytest.fixture(scope="module")
def shop() -> Plan:
    from model.planfile import read_plan

    return read_plan(_HEAD + "assets:" + ASSETS + "checks:\n" + _REST.split("checks:\n")[1])


def finding(code: Code, asset: str, subject: str = "/x", package: str = "", version: str = "") -> Finding:
    return Finding(code=code, host="web-1", asset=asset, subject=subject, package=package, version=version)


def entry(path: str, **more: object) -> Entry:
    return Entry.model_validate(
        {"path": path, "type": "file", "mode": 0o644, "size": 10, "sha256": HASH} | more
    )


def point(asset: str, *entries: Entry, machine: str = MACHINE, taken: datetime = TAKEN) -> PointSupply:
    name = f"{taken:%Y%m%dT%H%M%SZ}"
    return PointSupply(
        asset=asset,
        point=RecoveryPoint(
            id=name, asset=asset, source="tree", taken_at=taken, key="k", sha256=HASH, bytes=1000, manifest_sha256=HASH
        ),
        manifest=Manifest(
            asset=asset, point=name, format="tar", host="web-1", machine_id=machine, root="/r", taken_at=taken,
            object_key="k", object_sha256=HASH, object_bytes=1000, entries=entries,
        ),
    )  # fmt: skip


def package(name: str = "hello", version: str = "1.0-1") -> PackageSupply:
    return PackageSupply(
        asset="os", package=name, version=version, architecture="amd64", source="mirror", filename="hello.deb",
        sha256=HASH, bytes=500, touches=("/usr/bin/hello", "/var/lib/dpkg/status"),
    )  # fmt: skip


SUPPLIES = Supplies(
    packages=(package(),),
    wheels=(
        WheelSupply(
            asset="library", distribution="front", version="1.0", filename="front.whl", sha256=HASH, bytes=70,
            touches=("/opt/shop/lib/front.py",),
        ),
    ),
    points=(
        point("files", entry(".", type="directory", sha256=""), entry("a", size=100), entry("b/c", size=30)),
        point("config", entry("shop.conf"), entry("other.conf")),
        point("database"),
    ),
)  # fmt: skip
BASELINE = {
    "os": (
        entry("/usr/bin/hello", mode=0o755),
        Entry(path="dpkg:hello=1.0-1", type=FileType.OTHER, sha256=HASH),
    )
}


def climb(
    shop: Plan,
    *findings: Finding,
    supplies: Supplies = SUPPLIES,
    baselines: Mapping[str, tuple[Entry, ...]] = BASELINE,
    detected_at: datetime | None = None,
) -> Proposal:
    return propose(
        shop, "inc-20250601-120000-00aa", "0" * 64, {"web-1": MACHINE}, findings, supplies, baselines, NOW,
        timedelta(hours=24), detected_at,
    )  # fmt: skip


def kinds(proposal: Proposal) -> list[str]:
    return [f"{a.kind} {a.asset} {a.stage}" for a in proposal.actions]


DAMAGED = finding(Code.FILE_CONTENT_DIFFERS, "os", "/usr/bin/hello", "hello", "1.0-1")
BARRED = finding(Code.FILE_MODE_DIFFERS, "os", "/usr/bin/hello", "hello", "1.0-1")
CONF = finding(Code.CONFFILE_MISSING, "os", "/etc/shop/shop.conf", "hello", "1.0-1")
LOST_CONF = finding(Code.FILE_MISSING, "config", "/etc/shop/shop.conf")
LOST_FILE = finding(Code.FILE_MISSING, "files", "/srv/shop/a")
WHEEL = finding(Code.FILE_MISSING, "library", "/opt/shop/lib/front.py", "front", "1.0")
PAGE = finding(Code.DATABASE_CHECKSUM_FAILED, "database", "public.orders")
MUTE = finding(Code.DATABASE_UNREACHABLE, "database", "shop")
DOWN = finding(Code.SERVICE_DOWN, "web", "shop.service")
SERVER = finding(Code.SERVICE_DOWN, "postgres", "postgresql.service")
PROBE = finding(Code.PROBE_FAILED, "home", "http://192.0.2.10/")
UNEXPECTED = finding(Code.EXPECTATION_FAILED, "database", "orders")


def test_mode_alone_is_set_from_the_baseline_and_nothing_is_reinstalled(shop: Plan) -> None:
    proposal = climb(shop, BARRED)
    assert ["set_metadata os repair", "restart_service web repair"] == kinds(proposal)
    action = proposal.actions[0]
    assert isinstance(action, SetMetadata)
    assert (("/usr/bin/hello",), (0o755,)) == (action.touches, tuple(e.mode for e in action.files))


@pytest.mark.parametrize(
    "baseline",
    [
        {},
        {"os": BASELINE["os"][:1]},
        {"os": (BASELINE["os"][0], Entry(path="dpkg:hello=0.9", type=FileType.OTHER))},
    ],
    ids=["none", "unmarked", "other-version"],
)
def test_mode_without_a_baseline_of_this_version_takes_the_package(
    shop: Plan, baseline: Mapping[str, tuple[Entry, ...]]
) -> None:
    assert "reinstall_package os repair" == kinds(climb(shop, BARRED, baselines=baseline))[0]


def test_content_takes_the_same_version_of_the_package_once(shop: Plan) -> None:
    missing = finding(Code.FILE_MISSING, "os", "/usr/share/hello", "hello", "1.0-1")
    proposal = climb(shop, DAMAGED, missing, CONF)
    assert ["reinstall_package os repair", "restart_service web repair"] == kinds(proposal)
    action = proposal.actions[0]
    assert isinstance(action, ReinstallPackage)
    assert ("1.0-1", "mirror", ("/etc/shop/shop.conf",)) == (action.version, action.source, action.conffiles)
    assert {"/usr/bin/hello", "/usr/share/hello", "/var/lib/dpkg/status", "/etc/shop/shop.conf"} == set(
        action.touches
    )
    assert {f.id for f in (DAMAGED, missing, CONF)} == set(action.findings)


def test_deleted_configuration_comes_from_where_the_plan_says(shop: Plan) -> None:
    """From the backup by preference; from the package, for both assets that miss it, when the plan says so."""
    supplies = Supplies(packages=(package(),), points=(point("config", entry("shop.conf")),))
    lost = finding(Code.FILE_MISSING, "config", CONF.subject)
    backup = climb(shop, CONF, lost, supplies=supplies)
    assert "restore_files config repair" == kinds(backup)[0]
    assert {CONF.id, lost.id} == set(backup.actions[0].findings)
    os_ = shop.assets["os"].model_copy(update={"conffiles": "package"})
    plan = shop.model_copy(update={"assets": {**shop.assets, "os": os_}})
    from_package = climb(plan, CONF, lost, supplies=supplies)
    assert "reinstall_package os repair" == kinds(from_package)[0]
    assert {CONF.id, lost.id} == set(from_package.actions[0].findings)


def test_records_of_the_package_tool_come_first_and_what_waits_is_configured_last(shop: Plan) -> None:
    """A whole database before any package; `dpkg --configure -a` needs no file at all."""
    torn = finding(Code.PACKAGE_DATABASE_DAMAGED, "os", "/var/lib/dpkg/status")
    waiting = finding(Code.PACKAGE_STATE_BROKEN, "os", "other", "other", "2").model_copy(
        update={"actual": "half-configured"}
    )
    whole = DatabaseSupply(
        asset="os", path=torn.subject, base="/var/lib/dpkg/status-old", sha256=HASH, bytes=1
    )
    proposal = climb(
        shop, torn, waiting, DAMAGED, supplies=Supplies(packages=(package(),), databases=(whole,))
    )
    wanted = ["restore_package_database", "reinstall_package", "configure_packages", "restart_service"]
    assert wanted == [kind.split()[0] for kind in kinds(proposal)]
    lost = whole.model_copy(update={"lost": ("gone",)})
    proposal = climb(shop, torn, supplies=Supplies(databases=(lost,)))
    assert "the entries of gone are in no copy" in proposal.unmet[0].sentence


def test_broken_tool_is_cured_with_what_is_damaged(shop: Plan) -> None:
    """A tool is broken by damaged files; when none is found, that is said."""
    tool = finding(Code.TOOL_BROKEN, "os", "/usr/bin/find", "findutils")
    proposal = climb(shop, tool, DAMAGED)
    assert {tool.id, DAMAGED.id} <= {f for action in proposal.actions for f in action.findings}
    assert () == proposal.unmet
    assert "nothing damaged was found" in climb(shop, tool).unmet[0].sentence


def test_another_version_is_never_taken(shop: Plan) -> None:
    proposal = climb(shop, DAMAGED, supplies=Supplies(packages=(package(version="1.0-2"),)))
    assert ((), DAMAGED.id) == (proposal.actions, proposal.unmet[0].finding)
    assert "1.0-1" in proposal.unmet[0].sentence


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            finding(Code.PACKAGE_DATABASE_DAMAGED, "os", "/var/lib/dpkg/status"),
            "no copy of it on the host is whole",
        ),
        (finding(Code.PACKAGE_NOT_INSTALLED, "os", "gone", "gone"), "version was installed is not known"),
        (finding(Code.FILE_UNREADABLE, "library", "/opt/shop/bin/python"), "interpreter"),
        (
            finding(Code.PACKAGE_NOT_INSTALLED, "library", "gone", "gone"),
            "version was installed is not known",
        ),
        (finding(Code.FILE_MISSING, "library", "/x", "other", "3"), "no wheel of other 3"),
        (finding(Code.FILE_MISSING, "files", "/srv/shop/new"), "does not hold it"),
        (finding(Code.DATABASE_EMPTY, "bare", "bare"), "no recovery point"),
        (finding(Code.DATABASE_UNREACHABLE, "bare", "bare"), "names no service"),
        (UNEXPECTED, "nothing damaged was found"),
    ],
)
def test_what_nothing_cures_is_unmet_with_a_remedy(shop: Plan, wrong: Finding, words: str) -> None:
    proposal = climb(shop, wrong)
    assert ((), [wrong.id]) == (proposal.actions, [unmet.finding for unmet in proposal.unmet])
    assert words in proposal.unmet[0].sentence
    assert proposal.unmet[0].remedy


def test_configuration_covered_by_a_file_set_is_restored_and_no_package_reinstalled(shop: Plan) -> None:
    proposal = climb(shop, CONF, LOST_CONF)
    assert ["restore_files config repair", "restart_service web repair"] == kinds(proposal)
    assert {CONF.id, LOST_CONF.id} == set(proposal.actions[0].findings)


def test_mode_of_configuration_covered_by_a_file_set_is_set_once(shop: Plan) -> None:
    both = [
        finding(Code.FILE_MODE_DIFFERS, asset, "/etc/shop/shop.conf", owner, version)
        for asset, owner, version in (("os", "hello", "1.0-1"), ("config", "", ""))
    ]
    proposal = climb(shop, *both)
    assert ["set_metadata config repair", "restart_service web repair"] == kinds(proposal)
    assert {f.id for f in both} == set(proposal.actions[0].findings)


def test_data_comes_back_in_the_restore_stage_only_what_is_damaged_and_declares_the_loss(shop: Plan) -> None:
    proposal = climb(shop, LOST_FILE)
    assert ["restore_files files restore"] == kinds(proposal)
    action = proposal.actions[0]
    assert isinstance(action, RestoreFiles)
    assert (["a"], 100, "/srv/shop") == ([e.path for e in action.files], action.bytes, action.root)
    assert [TAKEN] == [loss.newer_than for loss in proposal.losses]
    assert "2025-06-01 03:00:00 UTC" in proposal.losses[0].sentence


@pytest.mark.parametrize(
    ("wanted", "host", "stops"),
    [(None, "h", ("web",)), (False, "h", ()), (True, "h", ("web",)), (None, "elsewhere", ())],
)
def test_services_of_data_stand_still_while_it_is_put_into_place(
    shop: Plan, wanted: bool | None, host: str, stops: tuple[str, ...]
) -> None:
    """N2; signed with the proposal. A service of another host cannot be stopped from here."""
    here = shop.assets["files"].host if host == "h" else host
    changes: dict[str, Asset] = {
        "files": shop.assets["files"].model_copy(update={"services": ("web",), "stop_services": wanted}),
        "web": shop.assets["web"].model_copy(update={"host": here}),
    }
    action = climb(shop.model_copy(update={"assets": {**shop.assets, **changes}}), LOST_FILE).actions[0]
    assert isinstance(action, RestoreFiles)
    assert stops == action.stops
    assert bool(stops) == ("web stands still" in action.reason)


def test_configuration_stops_nobody_unless_the_plan_says_so(shop: Plan) -> None:
    for wanted, stops in ((None, ()), (True, ("web",))):
        config = shop.assets["config"].model_copy(update={"services": ("web",), "stop_services": wanted})
        changed = shop.model_copy(update={"assets": {**shop.assets, "config": config}})
        action = climb(changed, CONF, LOST_CONF).actions[0]
        assert isinstance(action, RestoreFiles)
        assert stops == action.stops


def test_mode_of_data_is_set_and_nothing_is_lost(shop: Plan) -> None:
    proposal = climb(shop, finding(Code.FILE_OWNER_DIFFERS, "files", "/srv/shop/b/c"))
    assert ["set_metadata files repair"] == kinds(proposal)
    assert ("/srv/shop/b/c",) == proposal.actions[0].touches
    assert () == proposal.losses


def test_mode_and_content_of_one_file_are_one_restore(shop: Plan) -> None:
    mode = finding(Code.FILE_MODE_DIFFERS, "files", "/srv/shop/a")
    proposal = climb(shop, LOST_FILE, mode)
    assert ["restore_files files restore"] == kinds(proposal)
    assert {LOST_FILE.id, mode.id} == set(proposal.actions[0].findings)


def test_environment_takes_the_wheel(shop: Plan) -> None:
    proposal = climb(shop, WHEEL)
    assert ["reinstall_distribution library repair", "restart_service web repair"] == kinds(proposal)
    action = proposal.actions[0]
    assert isinstance(action, ReinstallDistribution)
    assert ("front", "1.0", "front.whl") == (action.distribution, action.version, action.filename)


def test_database_is_restored_and_its_users_restarted_after_it(shop: Plan) -> None:
    proposal = climb(shop, PAGE)
    assert ["restore_database database restore", "restart_service web restore"] == kinds(proposal)
    assert isinstance(proposal.actions[0], RestoreDatabase)
    assert "not in the dump" in proposal.losses[0].sentence


def test_dropped_database_is_restored(shop: Plan) -> None:
    assert "restore_database database restore" in kinds(
        climb(shop, finding(Code.DATABASE_EMPTY, "database", "shop"))
    )


def test_service_used_by_repaired_and_restored_things_is_restarted_once_after_both(shop: Plan) -> None:
    assert [
        "reinstall_package os repair", "restore_database database restore", "restart_service web restore"
    ] == kinds(climb(shop, DAMAGED, PAGE))  # fmt: skip


def test_service_that_is_down_waits_for_the_data_it_depends_on(shop: Plan) -> None:
    proposal = climb(shop, LOST_FILE, DOWN)
    assert ["restore_files files restore", "restart_service web restore"] == kinds(proposal)
    assert (DOWN.id,) == proposal.actions[1].findings


def test_server_of_a_database_is_restarted_before_the_database_is_restored(shop: Plan) -> None:
    assert [
        "restart_service postgres repair", "restore_database database restore", "restart_service web restore"
    ] == kinds(climb(shop, SERVER, PAGE))  # fmt: skip


def test_database_that_does_not_answer_restarts_its_server_and_restores_nothing(shop: Plan) -> None:
    proposal = climb(shop, MUTE)
    assert ["restart_service postgres repair"] == kinds(proposal)
    assert ((MUTE.id,), ()) == (proposal.actions[0].findings, proposal.losses)


def test_service_that_is_down_with_nothing_else_damaged_is_restarted_alone(shop: Plan) -> None:
    proposal = climb(shop, DOWN, PROBE)
    assert ["restart_service web repair"] == kinds(proposal)
    assert {DOWN.id, PROBE.id} == set(proposal.actions[0].findings)


def test_probe_that_fails_with_nothing_else_damaged_restarts_the_services_in_their_order(shop: Plan) -> None:
    proposal = climb(shop, PROBE)
    assert ["restart_service postgres repair", "restart_service web repair"] == kinds(proposal)
    assert (PROBE.id,) == proposal.actions[-1].findings


def test_probe_that_fails_belongs_to_the_last_action(shop: Plan) -> None:
    proposal = climb(shop, DAMAGED, PROBE)
    action = proposal.actions[-1]
    assert isinstance(action, RestartService)
    assert PROBE.id in action.findings


def test_another_hosts_backup_is_not_used_and_said(shop: Plan) -> None:
    """A restore across hosts needs its own sign-off (G7)."""
    other = Supplies(points=(point("files", entry("a"), machine="f" * 32),))
    proposal = climb(shop, LOST_FILE, supplies=other)
    assert () == proposal.actions
    assert "another host" in proposal.unmet[0].sentence


def test_newest_point_from_before_the_damage_is_taken(shop: Plan) -> None:
    points = [point("files", entry("a"), taken=TAKEN + timedelta(hours=hours)) for hours in (1, 3, 2)]
    proposal = climb(
        shop,
        LOST_FILE,
        supplies=Supplies(points=tuple(points)),
        detected_at=TAKEN + timedelta(hours=2, minutes=30),
    )
    action = proposal.actions[0]
    assert isinstance(action, RestoreFiles)
    assert "20250601T050000Z" == action.point.id
    late = climb(shop, LOST_FILE, supplies=Supplies(points=tuple(points)), detected_at=TAKEN)
    assert "newer than the damage" in late.unmet[0].sentence


def test_nothing_found_proposes_nothing(shop: Plan) -> None:
    assert ((), (), ()) == ((proposal := climb(shop)).actions, proposal.unmet, proposal.losses)


def test_order_of_the_findings_does_not_change_one_byte(shop: Plan) -> None:
    """Equal input gives the digest that was signed (G6)."""
    bytes_ = {
        canonical_json(climb(shop, *order)) for order in permutations((DAMAGED, LOST_FILE, PAGE, PROBE))
    }
    assert 1 == len(bytes_)


EVERYTHING = [DAMAGED, BARRED, CONF, LOST_CONF, LOST_FILE, WHEEL, PAGE, MUTE, DOWN, SERVER, PROBE, UNEXPECTED]


@given(st.sets(st.sampled_from(EVERYTHING)))
def test_every_finding_is_cured_or_unmet_and_never_both(shop: Plan, found: set[Finding]) -> None:
    """Whatever is found together (R-RESP-4)."""
    proposal = climb(shop, *found)
    cured = [each for action in proposal.actions for each in action.findings]
    unmet = [each.finding for each in proposal.unmet]
    assert sorted(f.id for f in found) == sorted({*cured, *unmet})
    assert set(cured).isdisjoint(unmet)
    assert [f"a{n:02d}" for n in range(1, len(proposal.actions) + 1)] == [a.id for a in proposal.actions]
    stages = [a.stage for a in proposal.actions]
    assert sorted(stages, key=[Stage.REPAIR, Stage.RESTORE].index) == stages
    restarts = [(a.asset, a.stage) for a in proposal.actions if isinstance(a, RestartService)]
    assert len(set(restarts)) == len(restarts)
    assert all(a.reason and a.undo and a.minutes > 0 for a in proposal.actions)
