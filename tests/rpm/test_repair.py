"""Repair of a real RPM host: the least invasive measure, from every source, undone again; and what is refused."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from blocks.hosts.base import Connection
from checks import rpm_baseline
from model.assets import RpmAsset
from model.errors import BadInput, Damaged, PreconditionFailed
from model.finding import Code, Finding
from model.outcome import Stage
from model.proposal import Proposal, ReinstallRpm, Rung
from tasks import reinstall_rpm
from tasks.snapshot import take_snapshot
from tasks.undo import roll_back_files
from tests.lab.facts import FileFacts
from tests.lab.host import LabHost
from tests.rpm.test_detection import DAMAGE, damage
from tests.support.packages import shelf
from tests.support.rounds import HOST, Round
from tests.support.witness import Seen, look
from tests.tasks.localhost import quiet

pytestmark = pytest.mark.lab

ASSET = RpmAsset(kind="rpm", host=HOST)
TREES = (
    "/etc", "/srv/tally", "/var/lib/tallyd", "/var/lib/tally-tools", "/var/spool/tally", "/usr/libexec", "/usr/lib64",
    "/usr/lib/systemd/system", "/usr/share/tally", "/usr/share/tallyd", "/usr/share/doc/tally-docs",
    *(f"/usr/bin/tally-{name}" for name in ("id", "page", "ping", "who")),
)  # fmt: skip
TALLYD = "tallyd-2.1.0-3.x86_64.rpm"
OFFLINE = "/etc/yum.repos.d/lab.repo"


@pytest.fixture
def pool(rpm_host: LabHost, tmp_path: Path) -> Path:
    """A package store with what the host's vendor delivers."""
    folder = tmp_path / "pool"
    folder.mkdir()
    for path in rpm_host.inside("/srv/repo").glob("*.rpm"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def make_round(rpm_host: LabHost, connection: Connection) -> Callable[..., Round]:
    """A round on the host, its baseline recorded while it was healthy: `make_round(pool=None, **changes)`."""

    def make(pool: Path | None = None, **changes: object) -> Round:
        stores = {"pool": shelf(pool)} if pool else {}
        named = {"store": "pool"} if pool else {}
        return Round(
            rpm_host, stores, {"kind": "rpm", **named, **changes},
            baselines={"system": rpm_baseline.record(connection, ASSET)},
        )  # fmt: skip

    return make


def content(seen: Mapping[str, Seen]) -> dict[str, FileFacts]:
    return {path: one.facts for path, one in seen.items() if "ld.so.cache" not in path}


def kinds(proposal: Proposal) -> list[str]:
    return sorted(
        f"{a.kind} {a.package}" if isinstance(a, ReinstallRpm) else a.kind for a in proposal.actions
    )


@pytest.mark.parametrize("source", ["mirror", "store:pool"])
def test_everything_that_was_damaged_comes_back_and_edits_stay(
    rpm_host: LabHost, connection: Connection, make_round: Callable[..., Round], pool: Path, source: str
) -> None:
    """R-RESP-5 and must show 4: from the host's own repository, and offline from the plan's store."""
    if source != "mirror":
        rpm_host.inside(OFFLINE).unlink()
    healthy = content(look(rpm_host, TREES))
    one = make_round(pool if source != "mirror" else None)
    for op, _, _ in DAMAGE:
        damage(rpm_host, op)
    kept = {path for _, code, path in DAMAGE if code is None}
    edited = {path: f for path, f in content(look(rpm_host, TREES)).items() if path in kept}
    findings = one.look(connection)
    proposal = one.propose(connection, findings)
    assert () == proposal.unmet
    assert {source} == {a.source for a in proposal.actions if isinstance(a, ReinstallRpm)}
    assert [
        *(f"reinstall_rpm tally-{name}" for name in ("config", "data", "docs", "libs", "tools")),
        "reinstall_rpm tallyd", "set_aside", "set_metadata",
    ] == kinds(proposal)  # fmt: skip
    one.perform(connection, proposal)
    assert [] == [finding.sentence for finding in one.look(connection)]
    after = content(look(rpm_host, TREES))
    assert edited == {path: f for path, f in after.items() if path in kept}
    assert {p: f for p, f in healthy.items() if p not in kept} == {
        p: f for p, f in after.items() if p not in kept
    }
    # Version 2.2.0 is in both sources.
    assert "tallyd-2.1.0-3.x86_64" == rpm_host.must(["rpm", "-q", "tallyd"]).strip()


def test_repair_is_undone_bit_for_bit_and_from_the_hosts_cache(
    rpm_host: LabHost, connection: Connection, make_round: Callable[..., Round], tmp_path: Path
) -> None:
    """N1: the package's paths and rpm's own records go back to the snapshot. The cache is taken first."""
    cache = rpm_host.inside("/var/cache/dnf/lab-1/packages")
    cache.mkdir(parents=True)
    shutil.copy(rpm_host.inside(f"/srv/repo/{TALLYD}"), cache)
    one = make_round()
    damage(rpm_host, {"garble": "/usr/libexec/tallyd"}, {"delete": "/usr/share/tallyd/page.html"})
    (action,) = one.propose(connection, one.look(connection)).actions
    assert isinstance(action, ReinstallRpm)
    assert ("host-cache", f"/var/cache/dnf/lab-1/packages/{TALLYD}") == (action.source, action.filename)
    take_snapshot(connection, action.touches, tmp_path / "snapshot", quiet)
    trees = (*TREES, "/var/lib/rpm")
    before = look(rpm_host, trees)
    performed = reinstall_rpm.perform(
        connection, ASSET, action, {}, job_prefix="inc-a01-1", token=2, progress=quiet
    )
    assert ("tallyd 1:2.1.0-3 (x86_64) was installed again.", 0) == (performed.sentence, performed.bytes)
    assert before != look(rpm_host, trees)
    roll_back_files(
        connection, tmp_path / "snapshot", None, job_prefix="inc-undo-a01-1", token=2, progress=quiet
    )
    assert before == look(rpm_host, trees)


def test_interrupted_upgrade_is_finished(
    rpm_host: LabHost, connection: Connection, make_round: Callable[..., Round]
) -> None:
    """Two versions in the database, as a killed rpm leaves them: the newer is installed whole, the older leaves."""
    one = make_round()
    newer = "/srv/repo/tallyd-2.2.0-3.x86_64.rpm"
    rpm_host.must(["rpm", "-i", "--nodeps", "--noscripts", "--force", newer])
    found, proposal = one.cure(connection)
    assert (Code.PACKAGE_STATE_BROKEN, "tallyd") in found
    (action,) = (a for a in proposal.actions if isinstance(a, ReinstallRpm))
    assert ("1:2.2.0-3", ("1:2.1.0-3",)) == (action.version, action.replaces)
    assert "tallyd-2.2.0-3.x86_64" == rpm_host.must(["rpm", "-q", "tallyd"]).strip()


def test_package_that_was_removed_comes_back_from_the_store(
    rpm_host: LabHost, connection: Connection, make_round: Callable[..., Round], pool: Path
) -> None:
    one = make_round(pool, packages=("tallyd", "tally-libs"))
    rpm_host.must(["rpm", "-e", "--nodeps", "tally-libs"])
    findings = one.look(connection)
    proposal = one.propose(connection, findings)
    (action,) = proposal.actions
    assert isinstance(action, ReinstallRpm)
    assert "/usr/lib64/libtally.so.1.4.2" in action.touches
    one.perform(connection, proposal)
    assert [] == one.look(connection)


# --- what must be refused: nothing is installed ---------------------------------------------------------------------


def rpm_state(host: LabHost) -> tuple[str, dict[str, FileFacts]]:
    return host.must(["rpm", "-qa", "--last"]), content(look(host, TREES))


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("/srv/hostile/unsigned/tallyd-2.1.0-3.x86_64.rpm", "it is not signed"),
        ("/srv/hostile/stranger/tallyd-2.1.0-3.x86_64.rpm", "no key that the host trusts signed it"),
        ("/srv/older/tallyd-2.0.9-3.x86_64.rpm", "says it is 'tallyd 1:2.0.9-3 x86_64'"),
        ("/srv/repo/tally-docs-2.1-3.noarch.rpm", "says it is 'tally-docs"),
    ],
)
def test_hostile_package_under_a_signed_hash_is_refused(
    rpm_host: LabHost, connection: Connection, tmp_path: Path, bad: str, why: str
) -> None:
    """Must show 5: even where index and proposal name it, rpm never sees what its vendor did not sign."""
    folder = tmp_path / "pool"
    folder.mkdir()
    shutil.copy(rpm_host.inside(bad), folder / TALLYD)
    store = shelf(folder)
    (listed,) = store.index().packages
    before = rpm_state(rpm_host)
    action = signed_for(listed.filename, listed.sha256, listed.bytes)
    with pytest.raises(Damaged, match=why):
        reinstall_rpm.perform(
            connection, ASSET, action, {"pool": store}, job_prefix="inc-a01-1", token=2, progress=quiet
        )  # fmt: skip
    assert before == rpm_state(rpm_host)
    assert not rpm_host.inside("/var/lib/reinstate/jobs/inc-a01-1-install").exists()


def signed_for(filename: str, sha256: str, size: int, source: str = "store:pool") -> ReinstallRpm:
    return ReinstallRpm(
        id="a01",
        host=HOST,
        asset="system",
        stage=Stage.REPAIR, rung=Rung.PACKAGE,
        reason="r",
        undo="u",
        package="tallyd",
        version="1:2.1.0-3",
        architecture="x86_64",
        source=source,
        filename=filename,
        sha256=sha256,
        bytes=size,
    )  # fmt: skip


@pytest.mark.parametrize("offset", [0, 200, 3000, -1])
def test_tampered_package_in_the_store_is_not_even_proposed(
    rpm_host: LabHost, connection: Connection, make_round: Callable[..., Round], pool: Path, offset: int
) -> None:
    """Must show 5: one bit anywhere, and the store's file is refused by its signed hash; nothing else is taken."""
    one = make_round(pool)
    rpm_host.inside(OFFLINE).unlink()
    data = bytearray((pool / TALLYD).read_bytes())
    data[offset] ^= 1
    (pool / TALLYD).write_bytes(data)
    damage(rpm_host, {"garble": "/usr/libexec/tallyd"})
    findings = one.look(connection)
    proposal = one.propose(connection, findings)
    assert () == proposal.actions
    (unmet,) = proposal.unmet
    assert "is in no cache, store or repository" in unmet.sentence
    assert "SHA-256" in unmet.sentence


def test_cached_file_nobody_vouches_for_is_refused_and_named(
    rpm_host: LabHost, connection: Connection, make_round: Callable[..., Round]
) -> None:
    rpm_host.inside(OFFLINE).unlink()
    cache = rpm_host.inside("/var/cache/dnf/lab-1/packages")
    cache.mkdir(parents=True)
    shutil.copy(rpm_host.inside(f"/srv/hostile/stranger/{TALLYD}"), cache)
    one = make_round()
    damage(rpm_host, {"garble": "/usr/libexec/tallyd"})
    (unmet,) = one.propose(connection, one.look(connection)).unmet
    assert "no key that the host trusts signed it" in unmet.sentence


def test_keys_of_the_plan_count_alone(rpm_host: LabHost, connection: Connection, tmp_path: Path) -> None:
    """A key somebody added to the host does not decide once the plan names its own."""
    store = tmp_path / "pool"
    store.mkdir()
    shutil.copy(rpm_host.inside(f"/srv/hostile/stranger/{TALLYD}"), store)
    rpm_host.must(["rpmkeys", "--import", "/srv/hostile/RPM-GPG-KEY-stranger"])
    vendor = rpm_host.inside("/etc/pki/rpm-gpg/RPM-GPG-KEY-vendor").read_text()
    asset = RpmAsset(kind="rpm", host=HOST, keys=(vendor,))
    shelved = shelf(store)
    (listed,) = shelved.index().packages
    action = signed_for(listed.filename, listed.sha256, listed.bytes)
    with pytest.raises(Damaged, match="no key that the plan trusts signed it"):
        reinstall_rpm.perform(
            connection, asset, action, {"pool": shelved}, job_prefix="inc-a01-1", token=2, progress=quiet
        )  # fmt: skip
    shutil.copy(rpm_host.inside(f"/srv/repo/{TALLYD}"), store)
    shelved = shelf(store, serial=2)
    (listed,) = shelved.index().packages
    action = signed_for(listed.filename, listed.sha256, listed.bytes)
    reinstall_rpm.perform(
        connection, asset, action, {"pool": shelved}, job_prefix="inc-a01-2", token=2, progress=quiet
    )  # fmt: skip


def test_another_version_installed_by_now_and_odd_names_are_refused(
    rpm_host: LabHost, connection: Connection
) -> None:
    """The proposal is about the version it was signed for (G10 for the names)."""
    for name in ("-i.rpm", "/etc/passwd", "/var/cache/dnf/../../etc/x.rpm", "a\nb.rpm"):
        with pytest.raises(BadInput):
            reinstall_rpm.perform(
                connection, ASSET, signed_for(name, "0" * 64, 1, "host-cache"), {}, job_prefix="inc-a01-1", token=2,
                progress=quiet,
            )  # fmt: skip
    rpm_host.must(["rpm", "-U", "--nodeps", "/srv/repo/tallyd-2.2.0-3.x86_64.rpm"])
    with pytest.raises(PreconditionFailed, match=r"is at 1:2\.2\.0-3 by now"):
        reinstall_rpm.perform(
            connection, ASSET, signed_for(TALLYD, "0" * 64, 1), {}, job_prefix="inc-a01-1", token=2, progress=quiet
        )  # fmt: skip


# --- the database ----------------------------------------------------------------------------------------------------


DATABASE = "/var/lib/rpm/rpmdb.sqlite"


def _index(path: Path) -> None:
    """Garbage in the table that says which package owns a file."""
    with sqlite3.connect(path) as database:
        (page,) = database.execute("select rootpage from sqlite_master where name = 'Basenames'").fetchone()
    with path.open("r+b") as file:
        file.seek(4096 * (page - 1))
        file.write(b"\xa5" * 4096)


def _record(path: Path) -> None:
    """One byte of one package's record."""
    place = path.read_bytes().index(b"Counts what it is sent")
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"X")


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 3)


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


HURT: tuple[tuple[Callable[[Path], None], set[str]], ...] = (
    (_index, set()),
    (_record, {"tallyd-1:2.1.0-3.x86_64"}),
    (_cut, {"all"}),
    (_emptied, {"all"}),
    (Path.unlink, {"all"}),
)


@pytest.mark.parametrize(("hurt", "lost"), HURT, ids=["index", "record", "cut", "emptied", "deleted"])
def test_damaged_database_is_made_anew_with_every_record(
    rpm_host: LabHost, connection: Connection, make_round: Callable[..., Round], pool: Path,
    hurt: Callable[[Path], None], lost: set[str],
) -> None:  # fmt: skip
    """`rpm -qa` answers with 0 all the same; rebuilding drops what it cannot read; both are caught."""
    one = make_round(pool)
    before = sorted(rpm_host.must(["rpm", "-qa", "--qf", "%{NEVRA} %{SHA256HEADER}\\n"]).splitlines())
    hurt(rpm_host.inside(DATABASE))
    findings = one.look(connection)
    assert {Code.PACKAGE_DATABASE_DAMAGED} == {finding.code for finding in findings}
    gone = {finding.subject for finding in findings if finding.package}
    assert (len(gone) == 8) if lost == {"all"} else (gone == lost)
    proposal = one.propose(connection, findings)
    assert () == proposal.unmet, [unmet.sentence for unmet in proposal.unmet]
    assert ["rebuild_rpm_database"] == kinds(proposal)
    one.perform(connection, proposal)
    assert before == sorted(rpm_host.must(["rpm", "-qa", "--qf", "%{NEVRA} %{SHA256HEADER}\\n"]).splitlines())
    assert "" == rpm_host.must(["rpm", "--verify", "--all"])
    rpm_host.must(["rpmdb", "--verifydb"])
    assert [] == one.look(connection)


def test_lost_record_without_any_source_is_said_and_left(
    rpm_host: LabHost, connection: Connection, make_round: Callable[..., Round]
) -> None:
    one = make_round()
    rpm_host.inside(OFFLINE).unlink()
    _record(rpm_host.inside(DATABASE))
    findings: list[Finding] = one.look(connection)
    proposal = one.propose(connection, findings)
    assert () == proposal.actions
    assert all("tallyd-1:2.1.0-3.x86_64" in unmet.sentence for unmet in proposal.unmet)
    assert {f.id for f in findings} == {unmet.finding for unmet in proposal.unmet}
