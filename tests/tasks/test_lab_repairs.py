"""Repairs over SSH on a real Debian host with its own systemd: nginx damaged as the laboratory can, and back."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

import pytest

from blocks.hosts.base import Connection
from blocks.hosts.ssh import SSHHost
from blocks.secrets import Secrets
from model.assets import DpkgAsset, ServiceAsset
from model.errors import ReinstateError
from model.finding import Code, Finding
from model.host import Host
from model.outcome import Stage
from model.plan import Objectives, Person, Plan, Roles, Service
from model.proposal import ReinstallPackage, RestartService, Rung
from tasks import reinstall_package, restart_service
from tasks.evidence import collect_evidence, verify_evidence
from tasks.performed import Performed
from tasks.snapshot import take_snapshot
from tasks.undo import roll_back_files
from tests.lab import damage
from tests.lab.damage import Damage
from tests.lab.facts import FileFacts
from tests.lab.host import LabHost
from tests.lab.servers import Shop
from tests.tasks.localhost import quiet

pytestmark = pytest.mark.lab

SYSTEM = DpkgAsset(kind="dpkg", host="web-1")
NGINX = ServiceAsset(kind="service", host="web-1", unit="nginx.service")
RESTART = RestartService(
    id="a09", host="web-1", asset="web", stage=Stage.REPAIR, rung=Rung.SERVICE, reason="r", undo="u", service="nginx"
)  # fmt: skip


def plan_host(host: LabHost) -> Host:
    """The host as a plan names it: an ordinary login with sudo."""
    return Host(
        address=host.address, port=host.port, user="ops", sudo=True, key=f"file:{host.key_path}",
        host_key=host.host_key, machine_id=host.machine_id,
    )  # fmt: skip


@pytest.fixture
def connection(lab_shop: Shop) -> Iterator[Connection]:
    host = lab_shop.host
    with SSHHost.from_plan("web-1", plan_host(host), Secrets(host.key_path.parent)).connect() as connection:
        yield connection


def action_of(host: LabHost, package: str) -> ReinstallPackage:
    """The same version of a package, as the host's own apt index describes it."""
    installed = host.must(
        ["dpkg-query", "--show", "--showformat=${Version} ${Architecture}", package]
    ).split()
    index = host.must(["apt-cache", "show", f"{package}={installed[0]}"])
    fields = dict(re.findall(r"^(SHA256|Filename): (.+)$", index, re.MULTILINE))
    return ReinstallPackage(
        id="a01", host="web-1", asset="system", stage=Stage.REPAIR, rung=Rung.PACKAGE, reason="r", undo="u",
        package=package, version=installed[0], architecture=installed[1], source="mirror",
        filename=fields["Filename"].rpartition("/")[2], sha256=fields["SHA256"],
    )  # fmt: skip


def repair(connection: Connection, action: ReinstallPackage, prefix: str = "inc-a01-1") -> Performed:
    return reinstall_package.perform(
        connection, SYSTEM, action, {}, job_prefix=prefix, token=2, progress=quiet
    )  # fmt: skip


def restart(connection: Connection) -> str:
    return restart_service.perform(
        connection, NGINX, RESTART, job_prefix="inc-a09-1", token=2, progress=quiet
    ).sentence  # fmt: skip


def touches_of(host: LabHost, package: str, path: str) -> list[str]:
    """What installing the package changes, as far as these tests look."""
    listed = host.must(["dpkg-query", "--listfiles", package]).split("\n")
    records = ["status", "status-old", "lock", "lock-frontend", "triggers/Lock", "triggers/Unincorp"]
    paths = {line for line in listed if line.startswith("/") and line != "/."} | {path}
    return sorted(paths | {f"/var/lib/dpkg/{name}" for name in records} | {"/etc/ld.so.cache"})


@pytest.mark.parametrize("kind", ["binary", "library", "configuration"])
def test_damaged_nginx_is_reinstalled_restarted_and_rolled_back(
    lab_shop: Shop, connection: Connection, kind: str
) -> None:
    """R-RESP-5 and N1, over SSH through sudo."""
    host = lab_shop.host
    faults: dict[str, Callable[[LabHost], Damage]] = {
        "binary": damage.replace_binary,
        "library": damage.flip_library_bit,
        "configuration": damage.delete_configuration,
    }
    found = faults[kind](host)
    folder = host.key_path.parent / "snapshot"
    touches = touches_of(host, found.package, found.path)
    take_snapshot(connection, touches, folder, quiet)
    before = {path: facts_of(host, path) for path in touches}
    performed = repair(connection, action_of(host, found.package))
    assert "was installed again" in performed.sentence
    # The package's own configuration file comes back, not the edited one of before: that is a backup's work.
    if kind != "configuration":
        assert found.before == facts_of(host, found.path)
    assert "nginx was restarted and runs" in restart(connection)
    roll_back_files(connection, folder, None, job_prefix="inc-undo-a01-1", token=2, progress=quiet)
    assert before == {path: facts_of(host, path) for path in touches}


def facts_of(host: LabHost, path: str) -> FileFacts | None:
    """What is there, seen from outside the host."""
    place = host.inside(path, follow=False)
    return FileFacts.of(place) if os.path.lexists(place) else None


def test_missing_tar_comes_back_before_its_package(lab_shop: Shop, connection: Connection) -> None:
    """lab.md: without tar dpkg refuses to install even the package that brings tar."""
    host = lab_shop.host
    action, whole = action_of(host, "tar"), facts_of(host, "/usr/bin/tar")
    host.inside("/usr/bin/tar").unlink()
    folder = host.key_path.parent / "snapshot"
    take_snapshot(connection, ["/usr/bin/tar", "/etc/nginx/nginx.conf"], folder, quiet)
    repair(connection, action)
    assert whole == facts_of(host, "/usr/bin/tar")
    assert [] == host.must(["dpkg", "--verify", "tar"]).splitlines()
    roll_back_files(connection, folder, None, job_prefix="inc-undo-a01-1", token=2, progress=quiet)
    assert facts_of(host, "/usr/bin/tar") is None


def test_lock_held_by_apt_is_waited_for(lab_shop: Shop, connection: Connection) -> None:
    """Another package manager at work is no failure."""
    host = lab_shop.host
    script = (
        "import fcntl, time; lock = open('/var/lib/dpkg/lock-frontend', 'r+'); fcntl.lockf(lock, fcntl.LOCK_EX); "
        "print('held', flush=True); time.sleep(4)"
    )
    host.must(["sh", "-c", 'python3 -c "$1" >/dev/null 2>&1 & sleep 1', "hold", script])
    assert "was installed again" in repair(connection, action_of(host, "nginx-light")).sentence
    tried = re.findall(
        r"inc-a01-1-install-\d+$", host.must(["cat", "/var/lib/reinstate/trace"]), re.MULTILINE
    )
    assert len(tried) >= 2


def test_service_that_cannot_run_says_why(lab_shop: Shop, connection: Connection) -> None:
    host = lab_shop.host
    host.inside("/etc/nginx/nginx.conf").write_text("nonsense;\n", encoding="utf-8")
    with pytest.raises(ReinstateError, match=r"does not run(.|\n)*nonsense"):
        restart(connection)


def test_evidence_of_a_damaged_host_is_complete_and_verifies(lab_shop: Shop, connection: Connection) -> None:
    """G4, N5 on a real host: nothing that a Debian server has is missing."""
    host = lab_shop.host
    found = damage.replace_binary(host)
    plan = Plan(
        name="shop", version="1", service=Service(name="Shop", owner="ann"), people={"ann": Person(name="Ann")},
        roles=Roles(leading_group=("ann",), working_group=("ann",)), objectives=Objectives(rto=60, rpo=60),
        hosts={"web-1": plan_host(host)}, assets={"system": SYSTEM, "web": NGINX},
    )  # fmt: skip
    finding = Finding(code=Code.FILE_CONTENT_DIFFERS, host="web-1", asset="system", subject=found.path)
    folder = host.key_path.parent / "evidence"
    manifest = collect_evidence(connection, plan, [finding], folder, quiet)
    assert manifest == verify_evidence(folder)
    assert {"users", "kernel"} >= {item.name for item in manifest.items if not item.file}
    log = next(item for item in manifest.items if item.name == "log-nginx.service")
    assert b"nginx" in (folder / log.file).read_bytes()
