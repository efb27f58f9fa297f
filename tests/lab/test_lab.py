"""The laboratory itself: hosts are real, faults are real, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import cgroups, containers, damage
from tests.lab.base import LabError
from tests.lab.damage import Damage
from tests.lab.facts import FileFacts
from tests.lab.fixtures import MakeLabHost
from tests.lab.host import LabHost
from tests.lab.network import LabSession, link_exists
from tests.lab.servers import FILES, NGINX_CONF, PAGE, PASSWORD, ROLE, ROWS, Shop, ShopState, psql

pytestmark = pytest.mark.lab


def ssh(
    host: LabHost, person: str, command: str, host_key: str | None = None
) -> subprocess.CompletedProcess[str]:
    known_hosts = host.key_path.with_name("known_hosts")
    known_hosts.write_text(f"{host.address} {host_key or host.host_key}\n", encoding="utf-8")
    options = {"UserKnownHostsFile": known_hosts, "StrictHostKeyChecking": "yes", "BatchMode": "yes"}
    words = [f"-o{name}={value}" for name, value in options.items()]
    return subprocess.run(
        ["ssh", "-F", "none", "-i", str(host.key_path), *words, f"{person}@{host.address}", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def verify(host: LabHost, package: str) -> list[str]:
    return host.shell(["dpkg", "--verify", package]).stdout.splitlines()


def reinstall(host: LabHost, package: str) -> None:
    host.must(["apt-get", "install", "--yes", "--reinstall", package])


class TestHost:
    def test_a_fresh_host_runs_with_an_identity_of_its_own(self, make_lab_host: MakeLabHost) -> None:
        first, second = make_lab_host("first"), make_lab_host("second")
        first.wait_running()
        for host in (first, second):
            assert host.name == host.must(["hostname"]).strip()
            assert host.machine_id == host.must(["cat", "/etc/machine-id"]).strip()
        assert first.machine_id != second.machine_id
        assert first.host_key != second.host_key
        assert first.address != second.address

    @pytest.mark.parametrize(("person", "becomes"), [("root", "0"), ("ops", "0"), ("nosudo", "")])
    def test_people_log_in_with_the_pinned_key_and_only_some_become_root(
        self, lab_host: LabHost, person: str, becomes: str
    ) -> None:
        assert person == ssh(lab_host, person, "whoami").stdout.strip()
        assert becomes == ssh(lab_host, person, "sudo -n id -u").stdout.strip()

    def test_another_hosts_key_is_refused(self, make_lab_host: MakeLabHost) -> None:
        host, other = make_lab_host(), make_lab_host("other")
        assert ssh(host, "root", "true", host_key=other.host_key).returncode == 255

    def test_links_of_the_host_never_lead_out_of_it(self, lab_host: LabHost) -> None:
        (lab_host.root / "srv/absolute").symlink_to("/etc/passwd")
        (lab_host.root / "srv/upward").symlink_to("../../../../../etc/passwd")
        (lab_host.root / "srv/circle").symlink_to("circle")
        expected = lab_host.root / "etc/passwd"
        assert expected == lab_host.inside("/srv/absolute")
        assert expected == lab_host.inside("/srv/upward")
        assert lab_host.root / "srv/absolute" == lab_host.inside("/srv/absolute", follow=False)
        with pytest.raises(LabError):
            lab_host.inside("/srv/circle")

    def test_a_power_cut_keeps_the_disk_and_the_identity(self, lab_host: LabHost) -> None:
        lab_host.must(["tee", "/srv/note"], text="kept")
        lab_host.power_off()
        with pytest.raises(LabError):
            lab_host.shell(["true"])
        lab_host.boot()
        assert lab_host.must(["cat", "/srv/note"]) == "kept"
        assert ssh(lab_host, "root", "whoami").stdout.strip() == "root"

    def test_packages_are_reinstalled_without_a_network(self, lab_host: LabHost) -> None:
        assert lab_host.must(["ip", "route", "show", "default"]) == ""
        for package in ("nginx-light", "nginx", "coreutils", "libgeoip1"):
            reinstall(lab_host, package)

    def test_the_pool_has_every_installed_package(self, lab_host: LabHost) -> None:
        installed = lab_host.must(["dpkg-query", "-W", "-f", "${Package}=${Version}\n"]).split()
        assert len(installed) > 100
        lab_host.must(["apt-get", "install", "--yes", "--reinstall", "--print-uris", *installed])

    def test_nothing_is_left_after_stop(self, lab_host: LabHost) -> None:
        kept = lab_host.shell(["systemd-run", "--quiet", "sleep", "600"])
        assert kept.returncode == 0
        root = lab_host.root
        assert containers.members(root)
        inode = Path(f"/proc/{containers.init_of(root)}/ns/pid").stat().st_ino
        lab_host.stop()
        assert [space for space in Path("/proc").glob("[0-9]*/ns/pid") if _inode(space) == inode] == []
        assert containers.supervisors(root) == []
        assert not containers.is_mounted(root)
        assert not link_exists(lab_host.interface)
        assert not root.parent.exists()
        assert cgroups.left(root.parent.name) == []

    def test_hosts_do_not_share_their_control_groups(self, make_lab_host: MakeLabHost) -> None:
        first, second = make_lab_host("first"), make_lab_host("second")
        groups = [
            Path(f"/proc/{containers.init_of(host.root)}/cgroup").read_text() for host in (first, second)
        ]
        assert groups[0] != groups[1]
        first.must(["systemctl", "start", "nginx.service"])
        second.must(["systemctl", "start", "nginx.service"])
        first.must(["systemctl", "stop", "nginx.service"])
        assert second.must(["systemctl", "is-active", "nginx.service"]).strip() == "active"

    def test_a_host_whose_supervisor_was_killed_is_ended_all_the_same(self, lab_host: LabHost) -> None:
        for pid in containers.supervisors(lab_host.root):
            os.kill(pid, signal.SIGKILL)
        lab_host.stop()
        assert not containers.is_mounted(lab_host.root)
        assert not link_exists(lab_host.interface)

    def test_a_living_session_is_left_alone_by_the_next(self, tmp_path: Path) -> None:
        first, second = LabSession(tmp_path), LabSession(tmp_path)
        assert link_exists(first.bridge)
        assert not first.network.overlaps(second.network)
        for session in (first, second):
            session.close()
            assert not link_exists(session.bridge)

    def test_what_a_killed_session_left_is_cleared_by_the_next(self, tmp_path: Path) -> None:
        script = (
            "import os, signal, sys; from pathlib import Path\n"
            "from tests.lab.base import ensure_base; from tests.lab.host import LabHost\n"
            "from tests.lab.network import LabSession\n"
            "session = LabSession(Path(sys.argv[1])); host = LabHost(ensure_base(), session); host.start()\n"
            "print(host.root, host.interface, session.bridge, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        killed = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        root, interface, bridge = killed.stdout.split()
        assert containers.is_mounted(Path(root))
        assert link_exists(interface)
        LabSession(tmp_path).close()
        assert containers.supervisors(Path(root)) == []
        assert not Path(root).exists()
        assert not link_exists(interface)
        assert not link_exists(bridge)


class TestShop:
    def test_it_answers_and_its_content_is_always_the_same(
        self, lab_shop: Shop, shop_state: ShopState
    ) -> None:
        assert lab_shop.fetch() == (200, PAGE)
        assert shop_state == lab_shop.state()
        assert {table: rows for table, (rows, _) in shop_state.tables.items()} == ROWS
        assert sum(facts.kind == "file" for facts in shop_state.files.values()) >= 40
        assert {"link", "directory", "file"} == {facts.kind for facts in shop_state.files.values()}

    def test_its_database_has_checksums_and_takes_the_password(self, lab_shop: Shop) -> None:
        assert lab_shop.sql("SHOW data_checksums").strip() == "on"
        question = [
            "psql",
            "-h",
            "127.0.0.1",
            "-U",
            ROLE,
            "-d",
            "shop",
            "-Atc",
            "SELECT rolsuper FROM pg_roles ",
        ]
        question[-1] += f"WHERE rolname = '{ROLE}'"
        assert lab_shop.host.must(["env", f"PGPASSWORD={PASSWORD}", *question]).strip() == "t"
        assert lab_shop.host.shell(["env", "PGPASSWORD=wrong", *question]).returncode == 2

    def test_two_shops_do_not_share_their_disks(self, make_lab_shop: Callable[[str], Shop]) -> None:
        first, second = make_lab_shop("first"), make_lab_shop("second")
        damage.delete_configuration(first.host)
        first.sql("DELETE FROM orders")
        assert second.fetch() == (200, PAGE)
        assert second.sql("SELECT count(*) FROM orders").strip() == "5000"


class TestDamage:
    @pytest.mark.parametrize(
        ("fault", "package"),
        [(damage.replace_binary, "nginx"), (damage.flip_library_bit, "libgeoip1")],
    )
    def test_a_damaged_package_file_stops_the_web_server_until_the_package_is_reinstalled(
        self, lab_shop: Shop, shop_state: ShopState, fault: Callable[[LabHost], Damage], package: str
    ) -> None:
        assert verify(lab_shop.host, package) == []
        done = fault(lab_shop.host)
        assert package == done.package
        assert lab_shop.fetch()[0] == 0
        assert any(done.path in line for line in verify(lab_shop.host, package))
        assert ssh(lab_shop.host, "root", "whoami").stdout.strip() == "root"
        reinstall(lab_shop.host, package)
        lab_shop.host.must(["systemctl", "restart", "nginx.service"])
        assert verify(lab_shop.host, package) == []
        assert shop_state == lab_shop.state()

    def test_a_flipped_bit_leaves_the_size_as_it_was(self, lab_shop: Shop) -> None:
        path = damage.private_library(lab_shop.host)
        size = lab_shop.host.inside(path).stat().st_size
        done = damage.flip_library_bit(lab_shop.host)
        assert path == done.path
        assert size == lab_shop.host.inside(path).stat().st_size

    def test_a_deleted_configuration_stops_the_web_server(self, lab_shop: Shop) -> None:
        done = damage.delete_configuration(lab_shop.host)
        assert (done.path, done.package, done.after) == (NGINX_CONF, "nginx-common", None)
        assert lab_shop.fetch()[0] == 0
        assert any("missing" in line and NGINX_CONF in line for line in verify(lab_shop.host, "nginx-common"))

    def test_a_corrupt_page_makes_the_table_unreadable_and_nothing_else(self, lab_shop: Shop) -> None:
        damage.corrupt_table_page(lab_shop.host)
        with pytest.raises(LabError, match="invalid page"):
            lab_shop.sql("SELECT sum(total_cents) FROM orders")
        assert lab_shop.sql("SELECT count(*) FROM customers").strip() == "200"
        assert lab_shop.fetch() == (200, PAGE)

    def test_a_truncated_file_has_half_its_length(self, lab_shop: Shop, shop_state: ShopState) -> None:
        done = damage.truncate_file(lab_shop.host)
        assert lab_shop.host.inside(done.path).stat().st_size == 150_000
        changed = {name for name, facts in lab_shop.state().files.items() if facts != shop_state.files[name]}
        assert {done.path.removeprefix(f"{FILES}/")} == changed

    @pytest.mark.parametrize("fault", [damage.change_mode, damage.change_owner])
    def test_changed_permissions_are_invisible_to_dpkg_and_mended_by_a_reinstall(
        self, lab_host: LabHost, fault: Callable[[LabHost], Damage]
    ) -> None:
        done = fault(lab_host)
        assert done.before != done.after
        assert verify(lab_host, "curl") == []
        reinstall(lab_host, "curl")
        assert done.before == FileFacts.of(lab_host.inside(done.path))

    def test_a_link_in_place_of_a_program_is_mended_without_touching_its_target(
        self, lab_host: LabHost
    ) -> None:
        target = FileFacts.of(lab_host.inside("/bin/true"))
        done = damage.replace_with_link(lab_host)
        assert any(done.path in line for line in verify(lab_host, "curl"))
        reinstall(lab_host, "curl")
        assert done.before == FileFacts.of(lab_host.inside(done.path))
        assert target == FileFacts.of(lab_host.inside("/bin/true"))

    def test_a_fault_without_effect_is_an_error(self, lab_host: LabHost) -> None:
        mode = lab_host.inside("/usr/bin/curl").stat().st_mode & 0o7777
        with pytest.raises(LabError, match="as before"):
            damage.change_mode(lab_host, mode=mode)


def test_psql_fails_when_the_database_is_down(lab_host: LabHost) -> None:
    with pytest.raises(LabError):
        psql(lab_host, "SELECT 1", "postgres")


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:  # ended meanwhile
        return 0
