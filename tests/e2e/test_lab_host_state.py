"""The state of a real host: damaged, brought back, rolled back; what its tools cannot tell is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from blocks.hosts.base import Connection
from blocks.hosts.ssh import SSHHost
from blocks.secrets import Secrets
from checks import system
from checks.system_supplies import mend_of
from model.assets import SystemAsset
from model.errors import PreconditionFailed, Refused
from model.finding import CheckResult, Code, Verdict
from model.outcome import RunVerdict, Stage
from model.proposal import FreeSpace, MendAccounts, RestartTimeDaemon, RestoreUnits, Rung
from model.signoff import Decision
from model.supplies import Mend
from tasks import host_repairs, mend_accounts, restore_units
from tasks.filestate import entries
from tests.corpus.worlds import Laboratory
from tests.corpus.worlds import system as system_world
from tests.lab.base import Base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.lab.servers import Shop
from tests.support.labworld import LabWorld
from tests.support.locally import back_up_locally, recover_locally
from tests.support.witness import look_at
from tests.tasks.localhost import quiet
from tests.tasks.test_lab_repairs import plan_host

pytestmark = pytest.mark.lab

CACHE, JOURNAL = "/var/cache/apt/archives", "/var/log/journal/lab/system@0001-0002.journal"
MASK, DROP_IN = "/etc/systemd/system/postgresql.service", "/etc/systemd/system/nginx.service.d/zz.conf"
WATCHED = [MASK, DROP_IN, "/etc/passwd", "/etc/group", JOURNAL, f"{CACHE}/own_1_all.deb"]


@pytest.fixture
def world(
    lab_base: Base, lab_session: LabSession, make_lab_shop: Callable[[str], Shop], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> LabWorld:  # fmt: skip
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    (tmp_path / "lab").mkdir()
    return system_world(Laboratory(lab_base, lab_session, make_lab_shop, tmp_path / "lab"))


@pytest.fixture
def connection(lab_host: LabHost) -> Iterator[Connection]:
    lab_host.wait_running()
    secrets = Secrets(lab_host.key_path.parent)
    with SSHHost.from_plan("web-1", plan_host(lab_host), secrets).connect() as connection:
        yield connection


def asset(**keys: object) -> SystemAsset:
    return SystemAsset.model_validate({"kind": "system", "host": "web-1", **keys})


def examined(connection: Connection, wanted: SystemAsset) -> CheckResult:
    return system.judge("host-state", wanted, system.collect(connection, wanted))


def damage(host: LabHost) -> str:
    """Two disks full of what can go, a mask, a drop-in, a broken line; returns the name of the cached package."""
    host.must(["systemctl", "mask", "--now", "postgresql.service"])
    host.inside(DROP_IN).parent.mkdir(parents=True)
    host.inside(DROP_IN).write_text("[Service]\nExecStartPre=/bin/false\n")
    host.must(["systemctl", "daemon-reload"])
    host.must(["sed", "-i", "s|^games:.*|games|", "/etc/passwd"])
    full = r"""
set -e
cd /tmp && apt-get download -qq hello-lab 2>/dev/null || apt-get download -qq nginx-light
mount -t tmpfs -o size=1m lab-cache "$1"; mount -t tmpfs -o size=3m lab-log /var/log/journal
mkdir "${2%/*}"; head -c 2000000 /dev/urandom >"$2"; head -c 1100000 /dev/urandom >"${2%/*}/system.journal"
mv /tmp/*.deb "$1"; echo "not of any index" >"$1/own_1_all.deb"; cd "$1"; ls *.deb | grep -v own_
"""
    name = host.must(["sh", "-c", full, "full", CACHE, JOURNAL]).strip()
    left = host.must(["stat", "-f", "-c", "%a", CACHE]).strip()
    host.must(["sh", "-c", 'head -c "$(($2 * 4096))" /dev/urandom >"$1/partial" || :', "fill", CACHE, left])
    return name


@pytest.mark.timeout(300)
def test_damaged_host_state_is_rolled_back_bit_for_bit_and_then_brought_back(world: LabWorld) -> None:
    """R-RESP-5, N1: a denial puts masks, drop-ins, accounts and journals back as they were found."""
    host = world.host
    back_up_locally(world)
    healthy = look_at(host, WATCHED)
    package = damage(host)
    damaged = look_at(host, WATCHED)
    journal = host.must(["sha256sum", JOURNAL])
    denied = recover_locally(world, Decision.DENY).state()
    assert denied.ended is not None
    assert RunVerdict.ROLLED_BACK is denied.ended.verdict, denied.ended.sentence
    assert denied.proposal is not None
    kinds = [action.kind for action in denied.proposal.actions]
    assert ["free_space", "free_space", "restore_units", "mend_accounts"] == kinds[:4], denied.proposal.unmet
    assert damaged == look_at(host, WATCHED)
    assert journal == host.must(["sha256sum", JOURNAL])
    assert "masked" in host.shell(["systemctl", "is-enabled", "postgresql.service"]).stdout
    host.must(["sh", "-c", 'head -c 1048576 /dev/urandom >"$1/partial" || :', "fill", CACHE])

    state = recover_locally(world).state()
    assert state.ended is not None
    assert RunVerdict.RECOVERED is state.ended.verdict, state.ended.sentence
    assert {MASK: None, DROP_IN: None} == {path: look_at(host, [path])[path] for path in (MASK, DROP_IN)}
    assert healthy["/etc/passwd"] is not None
    now = look_at(host, ["/etc/passwd"])["/etc/passwd"]
    assert now is not None
    assert healthy["/etc/passwd"].facts == now.facts
    assert "active" == host.must(["systemctl", "is-active", "postgresql.service"]).strip()
    assert "not of any index" in host.must(["cat", f"{CACHE}/own_1_all.deb"]), "only what apt has may go"
    assert host.shell(["test", "-e", JOURNAL]).returncode
    assert package


def test_healthy_host_has_no_findings_and_says_what_it_cannot_know(connection: Connection) -> None:
    """Must show 2: zero findings, with and without a baseline; in one command of well under a second."""
    result = examined(connection, asset())
    assert (Verdict.PASSED, ()) == (result.verdict, result.findings)
    assert "container" in " ".join(result.not_checked)
    recorded = system.record_baseline(connection, asset())
    again = system.judge("host-state", asset(), system.collect(connection, asset()), recorded)
    assert (Verdict.PASSED, ()) == (again.verdict, again.findings)


def test_host_without_its_tools_says_what_was_not_checked(connection: Connection, lab_host: LabHost) -> None:
    """G11: a tool that is missing makes no check pass."""
    for tool in ("find", "stat", "systemctl", "dmesg", "grep", "sed", "tr"):
        lab_host.inside(f"/usr/bin/{tool}").chmod(0)
    result = examined(connection, asset())
    assert () == result.findings
    said = " ".join(result.not_checked)
    for part in (
        "room on disks",
        "unit files",
        "systemd does not answer",
        "/etc/shadow",
        "certificates in files",
    ):
        assert part in said


def test_expired_certificate_of_a_server_is_seen_from_the_host(
    connection: Connection, lab_host: LabHost
) -> None:
    """R-PREV-2: also where the file was replaced and the server never told."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=9)).not_valid_after(now - timedelta(days=1))
    )  # fmt: skip
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    pem += key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    lab_host.inside("/root/server.pem").write_bytes(pem)
    serve = (
        "import ssl, socket; c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain('/root/server.pem')\n"
        "s = c.wrap_socket(socket.create_server(('127.0.0.1', 4443)), server_side=True)\n"
        "while True:\n  try: s.accept()[0].close()\n  except OSError: pass\n"
    )
    lab_host.must(["systemd-run", "--quiet", "--unit=tls-lab", "python3", "-c", serve])
    lab_host.must(
        ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do ss -tln | grep -q 4443 && exit 0; sleep .3; done"]
    )
    result = examined(
        connection, asset(watch=["certificates"], endpoints=["127.0.0.1:4443", "127.0.0.1:4444"])
    )
    (finding,) = result.findings
    assert (Code.CERTIFICATE_EXPIRED, "127.0.0.1:4443") == (finding.code, finding.subject)
    assert "127.0.0.1:4444" in result.not_checked[0]


def test_clock_and_room_are_repaired_by_named_jobs(connection: Connection, lab_host: LabHost) -> None:
    """G2: executed twice equals once; what changed since the sign-off is not removed."""
    clock = RestartTimeDaemon(
        id="a01", host="web-1", asset="host-state", stage=Stage.REPAIR, rung=Rung.SERVICE, reason="r", undo="u",
        unit="systemd-logind.service",
    )  # fmt: skip
    done = host_repairs.restart_time_daemon(
        connection, asset(), clock, job_prefix="inc-a01-1", token=1, progress=quiet
    )
    assert "the clock is right to 5 s" in done.sentence
    lab_host.inside("/srv").joinpath("one").write_text("content")
    found = entries(connection, ["/srv/one"])["/srv/one"]
    room = FreeSpace(
        id="a02", host="web-1", asset="host-state", stage=Stage.REPAIR, rung=Rung.FILE, reason="r", undo="u",
        mount="/", files=(found,), frees=7,
    )  # fmt: skip
    lab_host.inside("/srv").joinpath("one").write_text("another content")
    with pytest.raises(PreconditionFailed, match="signed for"):
        host_repairs.free_space(connection, room, job_prefix="inc-a02-1", token=1, progress=quiet)
    lab_host.inside("/srv").joinpath("one").write_text("content")
    for _ in range(2):
        host_repairs.free_space(connection, room, job_prefix="inc-a02-2", token=1, progress=quiet)
    assert not lab_host.inside("/srv").joinpath("one").exists()


def test_room_is_made_where_not_even_a_job_has_room(connection: Connection, lab_host: LabHost) -> None:
    """The commonest emergency: the disk is full to the last byte, and the state directory lies on it."""
    state = "/var/lib/reinstate"
    fill = 'mkdir -p "$1" && mount -t tmpfs -o size=1m x "$1" && echo 3 >"$1/fence" && ! head -c 9m /dev/zero >"$1/x"'
    lab_host.must(["sh", "-c", fill, "fill", state])
    found = entries(connection, [f"{state}/x"])[f"{state}/x"]
    room = FreeSpace(
        id="a01", host="web-1", asset="host-state", stage=Stage.REPAIR, rung=Rung.FILE, reason="r", undo="u",
        mount=state, files=(found,), frees=found.size,
    )  # fmt: skip
    with pytest.raises(Refused, match="newer recovery"):
        host_repairs.free_space(connection, room, job_prefix="inc-a01-1", token=2, progress=quiet)
    assert lab_host.shell(["test", "-e", f"{state}/x"]).returncode == 0
    host_repairs.free_space(connection, room, job_prefix="inc-a01-2", token=3, progress=quiet)
    assert lab_host.shell(["test", "-e", f"{state}/x"]).returncode
    assert "inc-a01-2-room" in lab_host.must(["cat", f"{host_repairs.MEMORY_STATE}/trace"])


def test_what_changed_since_the_sign_off_is_refused(connection: Connection, lab_host: LabHost) -> None:
    """G6, G2: another file than the signed one is left alone; the signed one is mended once."""
    passwd = lab_host.inside("/etc/passwd")
    whole = passwd.read_text()
    broken = whole.replace("games:x:5:60:", "games:x:5")
    passwd.write_text(broken)
    made = mend_of(connection, "/etc/passwd", {})
    assert isinstance(made, Mend)
    action = MendAccounts(
        id="a01", host="web-1", asset="host-state", stage=Stage.REPAIR, rung=Rung.CONFIGURATION, reason="r", undo="u",
        **made.model_dump(),
    )  # fmt: skip
    passwd.write_text(f"{broken}late:x:4000:4000::/:/bin/sh\n")
    with pytest.raises(PreconditionFailed, match="signed for"):
        mend_accounts.perform(connection, action, job_prefix="inc-a01-1", token=1, progress=quiet)
    passwd.write_text(broken)
    for attempt in (2, 3):
        mend_accounts.perform(connection, action, job_prefix=f"inc-a01-{attempt}", token=1, progress=quiet)
    assert whole == passwd.read_text()
    lab_host.must(["systemctl", "mask", "--now", "e2scrub_reap.service"])
    mask = entries(connection, ["/etc/systemd/system/e2scrub_reap.service"])
    units = RestoreUnits(
        id="a02", host="web-1", asset="host-state", stage=Stage.REPAIR, rung=Rung.CONFIGURATION, reason="r", undo="u",
        gone=tuple(entry.model_copy(update={"link": "/elsewhere"}) for entry in mask.values()),
    )  # fmt: skip
    with pytest.raises(PreconditionFailed, match="signed for"):
        restore_units.perform(connection, units, {}, job_prefix="inc-a02-1", token=1, progress=quiet)
