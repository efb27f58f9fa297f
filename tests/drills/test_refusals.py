"""A drill damages nothing but staging, and leaves nothing of what it could not do (G12)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from blocks.hosts.ssh import SSHHost
from blocks.secrets import Secrets
from model.assets import DpkgAsset, FilesAsset, ServiceAsset, SqliteAsset, SystemAsset
from model.errors import BadInput, PreconditionFailed, Refused, ReinstateError
from model.fault_kinds import FaultKind
from model.faults import Fault
from model.host import Host
from model.plan import Objectives, Person, Plan, Roles, Service
from tasks.faults import inject, left_behind, planted_on, undo
from tests.lab.host import LabHost
from tests.support.witness import changes, look

pytestmark = pytest.mark.lab

SET = "/srv/set"
CHMOD = Fault(kind=FaultKind.PERMISSIONS, asset="files", host="web-1", seed=1, target=SET)


def plan_of(host: LabHost, **said: Any) -> Plan:  # noqa: ANN401 - fields of a host
    """A plan of this host, which says of it what is given."""
    there = Host.model_validate(
        {
            "address": host.address, "user": "ops", "sudo": True, "key": f"file:{host.key_path}",
            "host_key": host.host_key, "machine_id": host.machine_id, "role": "staging", **said,
        }
    )  # fmt: skip
    return Plan(
        name="shop", version="1", service=Service(name="Shop", owner="ann"), people={"ann": Person(name="Ann")},
        roles=Roles(leading_group=("ann",), working_group=("ann",)), objectives=Objectives(rto=60, rpo=60),
        hosts={"web-1": there, "web-2": there.model_copy(update={"address": "192.0.2.9"})},
        assets={
            "files": FilesAsset(kind="files", host="web-1", path=SET, backup="kept"),
            "empty": FilesAsset(kind="files", host="web-1", path="/srv/empty", backup="kept"),
            "elsewhere": FilesAsset(kind="files", host="web-2", path=SET, backup="kept"),
            "packages": DpkgAsset(kind="dpkg", host="web-1", packages=("sudo", "libc6")),
            "stopped": ServiceAsset(kind="service", host="web-1", unit="nginx.service"),
            "archive": SqliteAsset(kind="sqlite", host="web-1", path="/srv/archive.db", backup="kept"),
            "state": SystemAsset(kind="system", host="web-1", mounts=("/srv", "/run")),
        },
        backups={"kept": {"kind": "directory", "path": "kept"}},  # type: ignore[dict-item]  # checked by pydantic
    )  # fmt: skip


def mark(host: LabHost, role: str | None) -> None:
    """What the host itself says it is."""
    folder = host.inside("/var/lib") / "reinstate"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "role").unlink(missing_ok=True)
    if role is not None:
        (folder / "role").write_text(f"{role}\n")


@pytest.fixture
def host(lab_host: LabHost) -> LabHost:
    """A host with one file set, marked staging."""
    folder = lab_host.inside("/srv") / "set" / "sub"
    folder.mkdir(parents=True)
    (lab_host.inside("/srv") / "empty").mkdir()
    for name in ("one", "two", "it's $x; odd\nname"):
        (folder / name).write_text(f"content of {name}")
    mark(lab_host, "staging")
    return lab_host


def trying(host: LabHost, plan: Plan, fault: Fault, connected_by: Plan | None = None) -> ReinstateError:
    """The refusal; the host is byte for byte what it was, and holds nothing of ours."""
    before = look(host, ("/etc", "/usr", "/srv", "/var/lib/reinstate"))
    described = (connected_by or plan).hosts["web-1"]
    opened = SSHHost.from_plan("web-1", described, Secrets(Path("/"))).connect()
    with opened as connection, pytest.raises(ReinstateError) as caught:
        inject(connection, plan, fault)
    after = look(host, ("/etc", "/usr", "/srv", "/var/lib/reinstate"))
    assert [] == changes(before, after)
    return caught.value


def test_host_that_is_not_staging_by_every_fact_is_refused(host: LabHost) -> None:
    """G12: the plan, and the host's own marker, each alone."""
    staging = plan_of(host)
    cases: list[tuple[str, Plan, Plan | None, str | None]] = [
        ("the plan says production", plan_of(host, role="production"), None, "production"),
        ("only the host says staging", plan_of(host, role="production"), None, "staging"),
        ("only the connection says staging", plan_of(host, role="production"), staging, "staging"),
        ("the host says production", staging, None, "production"),
        ("the host says nothing", staging, None, None),
        ("it is another machine", plan_of(host, machine_id="0" * 32), None, "staging"),
    ]
    for name, plan, connected_by, role in cases:
        mark(host, role)
        assert isinstance(trying(host, plan, CHMOD, connected_by), Refused), name
    mark(host, "staging")
    with SSHHost.from_plan("web-1", staging.hosts["web-1"], Secrets(Path("/"))).connect() as connection:
        planted = inject(connection, staging, CHMOD)
        for role in ("production", None):  # nor is anything put back where it is not staging any more
            mark(host, role)
            with pytest.raises(Refused):
                undo(connection, staging, planted)
        mark(host, "staging")
        undo(connection, staging, planted)


@pytest.mark.parametrize("asset", ["nothing", "elsewhere"])
def test_asset_that_is_not_of_this_host_is_refused(host: LabHost, asset: str) -> None:
    fault = CHMOD.model_copy(update={"asset": asset})
    assert isinstance(trying(host, plan_of(host), fault), BadInput)


@pytest.mark.parametrize(
    "kind", [kind for kind in FaultKind if kind not in {FaultKind.DATABASE_PAGES, FaultKind.DROPPED_TABLE}]
)
def test_fault_that_does_not_fit_its_asset_is_refused(host: LabHost, kind: FaultKind) -> None:
    """Nothing is done to a SQLite database but what can be undone there."""
    fault = CHMOD.model_copy(update={"asset": "archive", "kind": kind, "column": "x", "wrong": "null"})
    assert isinstance(trying(host, plan_of(host), fault), BadInput)


@pytest.mark.parametrize(
    ("kind", "asset", "target", "words"),
    [
        (FaultKind.PACKAGE_FILE, "packages", "sudo", "may damage"),
        (FaultKind.PACKAGE_FILE, "packages", "libc6", "may damage"),
        (FaultKind.STOPPED_SERVICE, "stopped", "", "does not run"),
        (FaultKind.PERMISSIONS, "empty", "", "no file with content"),
        (FaultKind.DELETED_DIRECTORY, "empty", "", "no folder with files"),
        (FaultKind.DISK_FULL, "state", "/srv", "no mount point"),
        (FaultKind.DISK_FULL, "state", "/run", "a repair needs"),
        (FaultKind.DISK_FULL, "state", "/", "none of those"),
        (FaultKind.EXPIRED_CERTIFICATE, "state", "/etc/ssl/nothing/*.pem", "no file that matches"),
    ],
)
def test_fault_that_cannot_be_done_is_refused_and_leaves_nothing(
    host: LabHost, kind: FaultKind, asset: str, target: str, words: str
) -> None:
    fault = Fault(kind=kind, asset=asset, host="web-1", seed=1, target=target)
    refused = trying(host, plan_of(host), fault)
    assert isinstance(refused, PreconditionFailed)
    assert words in str(refused)


@pytest.mark.parametrize(
    "kind", [FaultKind.PERMISSIONS, FaultKind.DELETED_DIRECTORY, FaultKind.OVERWRITTEN_DOCUMENTS]
)
def test_injection_that_was_cut_off_goes_on_and_is_undone_from_the_hosts_own_record(
    host: LabHost, kind: FaultKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drill whose orchestrator died after the damage, or in the middle of it, can still be undone."""
    plan = plan_of(host)
    fault = CHMOD.model_copy(update={"kind": kind})
    before = look(host, ("/srv",))
    with SSHHost.from_plan("web-1", plan.hosts["web-1"], Secrets(Path("/"))).connect() as connection:
        planted = inject(connection, plan, fault)
        damaged = look(host, ("/srv",))
        assert changes(before, damaged)
        assert planted == inject(connection, plan, fault)
        assert [] == [line for line in changes(damaged, look(host, ("/srv",))) if "content" in line]
        (seen,) = planted_on(connection)
        assert planted == seen
        undo(connection, plan, seen)
        assert [] == changes(before, look(host, ("/srv",)))
        assert () == planted_on(connection)
        assert () == left_behind(connection, plan, planted)
    assert not host.inside("/var/lib/reinstate").joinpath("drill").exists()


def test_what_the_recovery_cured_or_people_added_is_left_alone(host: LabHost) -> None:
    """Undoing after a recovery changes nothing of what it did."""
    plan = plan_of(host)
    fault = CHMOD.model_copy(update={"kind": FaultKind.DELETED_DIRECTORY})
    place = host.inside(SET) / "sub"
    contents = {path.name: path.read_bytes() for path in place.iterdir()}
    with SSHHost.from_plan("web-1", plan.hosts["web-1"], Secrets(Path("/"))).connect() as connection:
        planted = inject(connection, plan, fault)
        assert not place.exists()
        place.mkdir(mode=0o755)
        for name, content in contents.items():
            (place / name).write_bytes(content)
            (place / name).chmod(0o644)
        (place / "new").write_text("written since")
        cured = look(host, (SET,))
        undo(connection, plan, planted)
    assert [] == changes(cured, look(host, (SET,)))


def test_sqlite_table_that_came_back_is_left_alone(host: LabHost) -> None:
    """A restored database is another file with the same rows."""
    plan, path = plan_of(host), host.inside("/srv") / "archive.db"
    fault = CHMOD.model_copy(update={"asset": "archive", "kind": FaultKind.DROPPED_TABLE})

    def rows(statement: str = "SELECT count(*) FROM papers") -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(path)) as opened, opened:
            return opened.execute(statement).fetchall()

    rows("CREATE TABLE papers (id INTEGER PRIMARY KEY)")
    rows("INSERT INTO papers VALUES (1), (2)")
    whole = path.read_bytes()
    with SSHHost.from_plan("web-1", plan.hosts["web-1"], Secrets(Path("/"))).connect() as connection:
        planted = inject(connection, plan, fault)
        assert [] == rows("SELECT name FROM sqlite_master")
        undo(connection, plan, planted)
        assert whole == path.read_bytes()
        planted = inject(connection, plan, fault)
        rows("CREATE TABLE papers (id INTEGER PRIMARY KEY)")
        rows("INSERT INTO papers VALUES (1), (2), (3)")
        undo(connection, plan, planted)
        assert () == left_behind(connection, plan, planted)
    assert [(3,)] == rows()
