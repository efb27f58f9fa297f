"""`readiness` of a real host: each condition turned on from outside, seen in the next cycle, mended (R-PREV-1/4)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks.home import open_store
from flows.readiness import look_now
from flows.verify_backups import verify_backups
from model.incident import Source
from model.outcome import Gate
from model.readiness import Lack, PlanReadiness, Qualification, Readiness
from model.signoff import Decision
from tasks.plan_versions import publish_version
from tasks.publishing import open_publication
from tasks.voting import cast_vote, gate_digest, open_gate
from tasks.work import load_plan, open_work
from tests.lab.fixtures import MakeLabHost
from tests.lab.host import LabHost
from tests.lab.ledger import DATA, STANZA, UNIT, prepare_ledger
from tests.support.labworld import PEOPLE, World, merged, plan_head, write_people
from tests.support.locally import back_up_locally

pytestmark = pytest.mark.lab

Q, D, B = Qualification.QUALIFIED, Qualification.DEGRADED, Qualification.BLOCKED
STATE = "/var/lib/reinstate"
POOL = "/srv/pool"
AUTHORIZED = "/home/ops/.ssh/authorized_keys"
REPOSITORY = "/var/lib/pgbackrest/ledger"
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"


@dataclass(frozen=True)
class Ready(World):
    """A host with packages of its mirror and a configuration that is backed up."""

    machine: LabHost

    @property
    def host(self) -> LabHost:
        return self.machine

    def sees(self) -> PlanReadiness:
        """One cycle."""
        return asyncio.run(look_now(str(self.plan_file)))[0]

    def publish(self) -> None:
        """Publish the plan as it is."""
        store = open_store()
        work = open_publication(load_plan(str(self.plan_file)), store, "ines", Source.CLI)
        state = open_gate(work, Gate.PUBLISH)
        cast_vote(
            work, Gate.PUBLISH, person="lena", decision=Decision.APPROVE, reason="It is right.",
            signed_digest=gate_digest(state, Gate.PUBLISH), code=self.code("lena"),
        )  # fmt: skip
        publish_version.fn(work.incident.id)
        assert open_work(work.incident.id).state().published is not None


@pytest.fixture
def ready(lab_host: LabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ready:
    """Backed up, proven, published; the state directory is a disk of its own that is soon full."""
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "world"
    folder.mkdir()
    lab_host.wait_running()
    lab_host.must(["mkdir", "-p", STATE])
    lab_host.must(["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "state", STATE])
    world = Ready(folder, lab_host)
    write_people(world)
    more = {
        "people": {one: {"email": f"{one}@example.org"} for one in PEOPLE},
        "backups": {"disk": {"kind": "directory", "path": "backups"}},
        "assets": {
            "system": {"kind": "dpkg", "host": "machine", "packages": ["curl", "nginx-light", "nginx-common"]},
            "settings": {
                "kind": "files", "host": "machine", "path": "/etc/nginx", "role": "configuration", "backup": "disk",
            },
            "web": {"kind": "service", "host": "machine", "unit": "nginx.service", "depends_on": ["settings"]},
        },
        "readiness": {"head_room": 16 << 20},
    }  # fmt: skip
    (folder / "backups").mkdir()
    world.plan_file.write_text(json.dumps(merged(plan_head(world, "lab-ready", "machine"), more), indent=1))
    back_up_locally(world)
    asyncio.run(verify_backups.fn(str(world.plan_file)))
    world.publish()
    return world


def sentences(seen: PlanReadiness) -> list[str]:
    return [gap.sentence for row in seen.rows for gap in row.gaps]


def break_and_mend(
    world: Ready, turn_on: Callable[[], object], mend: Callable[[], object], lack: Lack, assets: set[str]
) -> Readiness:
    """These assets are blocked in the next cycle for this reason and no others, then all is well again."""
    turn_on()
    seen = world.sees()
    hit = {row.asset for row in seen.rows if lack in {gap.lack for gap in row.gaps if gap.blocks}}
    assert assets == hit, sentences(seen)
    assert assets == {row.asset for row in seen.in_state(B)}, sentences(seen)
    mend()
    after = world.sees()
    assert Q is after.state, sentences(after)
    row = seen.row(min(assets))
    assert row is not None
    return row


def test_host_turns_blocked_for_each_condition_and_qualified_again(ready: Ready) -> None:
    """Must show 6: disk full, key rotated, package version gone; and rights that were taken away."""
    host, must = ready.host, ready.host.must
    first = ready.sees()
    assert Q is first.state, sentences(first)
    system = first.row("system")
    assert system is not None
    assert ("access", "rights", "identity", "tools", "room", "packages") == system.checked
    everything = {"system", "settings", "web"}

    full = break_and_mend(
        ready, lambda: must(["sh", "-c", 'head -c 60m /dev/zero >"$1/fill"', "fill", STATE]),
        lambda: must(["rm", f"{STATE}/fill"]), Lack.DISK_FULL, everything,
    )  # fmt: skip
    assert f"machine {STATE}" in {gap.place for gap in full.gaps}

    (deb,) = host.inside(POOL).glob("curl_*.deb")
    kept = deb.with_suffix(".kept")
    gone = break_and_mend(
        ready, lambda: deb.rename(kept), lambda: kept.rename(deb), Lack.PACKAGE_GONE, {"system"}
    )
    assert "1 of 3 packages" in gone.gaps[0].what
    assert "curl" in gone.gaps[0].what

    keys = host.inside(AUTHORIZED)
    right = keys.read_text()
    break_and_mend(
        ready, lambda: keys.write_text(""), lambda: keys.write_text(right), Lack.LOGIN_REFUSED, everything
    )

    def put_back() -> None:
        must(["mv", f"{HOST_KEY}.kept", HOST_KEY])
        must(["systemctl", "restart", "ssh"])  # a reload returns before it listens

    def rotate() -> None:
        must(["mv", HOST_KEY, f"{HOST_KEY}.kept"])
        must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", HOST_KEY])
        must(["systemctl", "restart", "ssh"])  # a reload returns before it listens

    break_and_mend(ready, rotate, put_back, Lack.HOST_KEY_DIFFERS, everything)

    sudoers = next(path for path in host.inside("/etc/sudoers.d").iterdir() if "ops" in path.read_text())
    away = host.inside("/root") / "sudoers"
    rule = sudoers.read_text()

    def take() -> None:
        away.write_text(rule)
        sudoers.write_text("# nobody\n")

    break_and_mend(ready, take, lambda: sudoers.write_text(rule), Lack.SUDO_REFUSED, everything)


def test_read_only_disk_and_a_broken_tool_are_seen(ready: Ready) -> None:
    """What cannot be written to is blocked; a tool that can be lent only degrades."""
    must = ready.host.must
    break_and_mend(
        ready, lambda: must(["mount", "-o", "remount,ro", STATE]), lambda: must(["mount", "-o", "remount,rw", STATE]),
        Lack.DISK_READ_ONLY, {"system", "settings", "web"},
    )  # fmt: skip
    must(["mv", "/usr/bin/tar", "/usr/bin/tar.kept"])
    seen = ready.sees()
    assert {"": Q, "system": D, "settings": D, "web": D} == {row.asset: row.state for row in seen.rows}
    assert {Lack.TOOL_BROKEN} == {gap.lack for row in seen.rows for gap in row.gaps}
    must(["mv", "/usr/bin/tar.kept", "/usr/bin/tar"])
    assert Q is ready.sees().state


def test_look_changes_nothing_on_the_host(ready: Ready) -> None:
    """Read-only: what lies on the host is the same before and after, to the name and the time of every file."""
    paths = ("/etc", "/usr", "/var", "/srv", "/root", "/home/ops", "/tmp")

    def state() -> str:
        find = (
            'find "$@" -xdev ! -path "/var/log/*" ! -path "/var/lib/systemd/*" ! -path "/var/tmp/systemd-*" '
        )
        find += "-printf '%p %y %m %U %s %T@\\n' | sort"
        return ready.host.must(["sh", "-c", find, "find", *paths])

    ready.sees()
    before = state()
    ready.sees()
    assert before == state()


def test_cluster_whose_set_is_gone_from_the_repository_is_blocked(
    make_data_host: MakeLabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PgBackRest itself is asked: our record of a backup set is no proof that there is one."""
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    host = make_data_host("cluster")
    host.must(["install", "-d", "-o", "postgres", REPOSITORY])
    prepare_ledger(host, f"repo1-path={REPOSITORY}")
    world = Ready(tmp_path / "world", host)
    world.folder.mkdir()
    write_people(world)
    more = {
        "backups": {"wal": {"kind": "pgbackrest", "stanza": STANZA}},
        "assets": {
            "postgresql": {"kind": "service", "host": "machine", "unit": UNIT},
            "ledger": {
                "kind": "postgresql", "host": "machine", "database": "ledger", "server": "/var/run/postgresql",
                "os_user": "postgres", "backup": "wal", "service": "postgresql", "data_directory": DATA,
            },
        },
    }  # fmt: skip
    world.plan_file.write_text(json.dumps(merged(plan_head(world, "lab-cluster", "machine"), more), indent=1))
    back_up_locally(world)
    before = world.sees().row("ledger")
    assert before is not None
    assert {Lack.POINT_UNPROVEN} == {gap.lack for gap in before.gaps}, [gap.sentence for gap in before.gaps]
    assert {"tools", "room", "recovery points"} <= set(before.checked)
    folder = host.inside(REPOSITORY)
    folder.rename(folder.with_name("away"))
    gone = world.sees().row("ledger")
    assert gone is not None
    assert B is gone.state
    assert {Lack.POINT_MISSING, Lack.SOURCE_UNREACHABLE} & {gap.lack for gap in gone.gaps}
    folder.with_name("away").rename(folder)
    back = world.sees().row("ledger")
    assert back is not None
    assert D is back.state


def test_packages_of_a_whole_host_are_all_looked_for(ready: Ready) -> None:
    """Every installed package, not three: the one that the mirror lacks is found among all of them."""
    plan = json.loads(ready.plan_file.read_text())
    plan["assets"]["system"]["packages"] = []
    ready.plan_file.write_text(json.dumps(plan))
    (deb,) = ready.host.inside(POOL).glob("curl_*.deb")
    deb.unlink()
    row = ready.sees().row("system")
    assert row is not None
    (gone,) = [gap.what for gap in row.gaps if gap.lack is Lack.PACKAGE_GONE]
    installed = len(ready.host.must(["dpkg-query", "-f", "${Package}\\n", "-W"]).split())
    assert 100 < installed
    assert f"1 of {installed} packages" in gone
