"""One laboratory host: a clone of the base, booted with its own systemd, SSH server, keys and address."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab import cgroups, containers, network
from tests.lab.base import Base, LabError, run
from tests.lab.inside import resolve
from tests.lab.network import LabSession

PEOPLE = ("root", "ops")
BOOT_SECONDS = 60.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LabHost:
    """A real host that a test may damage and that leaves nothing behind.

    Use it as a context manager, or call `start` and `stop`. People who may log in with the key at `key_path`: `root`,
    `ops` (sudo without a password) and `nosudo` (an ordinary user).

    Attributes:
        name: Its host name.
        address: Its IPv4 address, reachable from this machine.
        port: Port of its SSH server.
        gateway: This machine's address as the host sees it.
        root: Its root directory, to look at and to damage from outside; prefer `inside` to join a path to it.
        key_path: Private key of its users.
        host_key: Public key line of its SSH server, to pin.
        machine_id: What its `/etc/machine-id` says.
        interface: Name of this machine's end of its network cable.
    """

    def __init__(
        self, base: Base, session: LabSession, name: str = "host", layers: Sequence[Path] = ()
    ) -> None:
        """Describe a host; nothing is done before `start`.

        Args:
            base: What it is a clone of.
            session: The network it is attached to.
            name: Its host name.
            layers: Further read-only layers over the base, topmost first (see `freeze`).
        """
        self._base = base
        self._session = session
        self._layers = [*layers, base.root]
        self._machine = f"lab{secrets.token_hex(4)}"
        self._directory = session.directory / self._machine
        self._supervisor: subprocess.Popen[bytes] | None = None
        self.name = name
        self.address = ""
        self.port = 22
        self.gateway = session.gateway
        self.root = self._directory / "root"
        self.key_path = self._directory / "client_ed25519"
        self.host_key = ""
        self.machine_id = uuid.uuid4().hex
        self.interface = f"vb-{self._machine}"

    def __enter__(self) -> Self:
        """Start the host."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the host and delete it."""
        self.stop()

    def start(self) -> None:
        """Clone the base, give the clone an identity of its own and boot it."""
        self.address = self._session.take_address()
        containers.mount_overlay(self._layers, self._directory / "upper", self._directory / "work", self.root)
        self._write_identity()
        self.boot()

    def boot(self) -> None:
        """Switch the host on and wait until its SSH server answers; under a second on an idle machine."""
        with (self._directory / "console.log").open("ab") as console:
            self._supervisor = subprocess.Popen(
                cgroups.joining(
                    [
                        *(
                            "systemd-nspawn",
                            "--boot",
                            "--quiet",
                            "--register=no",
                            "--keep-unit",
                            "--console=pipe",
                        ),
                        *("--resolv-conf=off", "--link-journal=no", "--kill-signal=SIGRTMIN+3"),
                        *(
                            f"--directory={self.root}",
                            f"--machine={self._machine}",
                            f"--hostname={self.name}",
                        ),
                        f"--network-bridge={self._session.bridge}",
                    ]
                ),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={"PATH": os.environ.get("PATH", _PATH), **cgroups.create(self._machine)},
                start_new_session=True,  # an interrupt typed at the test must not half-stop the host
            )
        containers.wait_until(self._listens, f"the SSH server of {self.name} to listen", BOOT_SECONDS)
        containers.wait_until(self._greets, f"the SSH server of {self.name} to answer", BOOT_SECONDS)

    def wait_running(self, seconds: float = 60) -> None:
        """Wait until the host has finished booting.

        Raises:
            LabError: It did not finish, or units failed; the message names them.
        """
        state = self.shell(["systemctl", "is-system-running", "--wait"], seconds=seconds).stdout.strip()
        if state != "running":
            failed = self.shell(["systemctl", "--failed", "--plain", "--no-legend"]).stdout
            raise LabError(f"{self.name} is {state or 'not answering'} after boot:\n{failed}")

    def shell(
        self, argv: Sequence[str], *, text: str | None = None, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside the host without SSH: the independent witness of what a test did.

        Args:
            argv: The program and its arguments; no shell reads them.
            text: What it gets on standard input.
            seconds: How long it may take.

        Returns:
            The finished process, whatever its exit status.
        """
        pid = containers.init_of(self.root)
        if pid is None:
            raise LabError(f"{self.name} is not running")
        enter = [
            "nsenter",
            f"--target={pid}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--root",
            "--wd",
        ]
        environment = {
            "PATH": _PATH,
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        standard_input = {"input": text} if text is not None else {"stdin": subprocess.DEVNULL}
        return subprocess.run(
            [*enter, "--", *argv],
            env=environment,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=seconds,
            check=False,
            **standard_input,
        )

    def must(self, argv: Sequence[str], *, text: str | None = None, seconds: float = 60) -> str:
        """Run a program inside the host that has to succeed, and return what it printed.

        Raises:
            LabError: It failed.
        """
        done = self.shell(argv, text=text, seconds=seconds)
        if done.returncode:
            raise LabError(
                f"{argv[0]} on {self.name}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def inside(self, path: str, *, follow: bool = True) -> Path:
        """Return where a path of the host is on this machine, never outside the host's root.

        Args:
            path: Absolute path as the host knows it.
            follow: Whether a symbolic link in the last place is followed, too.

        Raises:
            LabError: The links form a circle.
        """
        return resolve(self.root, path, follow=follow)

    def power_off(self) -> None:
        """Cut the power: every process ends at once, the disk stays; `boot` switches it on again."""
        containers.end(self.root)
        if self._supervisor:
            self._supervisor.wait(10)
            self._supervisor = None
        network.remove_link(self.interface)

    def stop(self) -> None:
        """End the host for certain and delete it; safe to call twice.

        Raises:
            LabError: A process, the mount or the network cable survived.
        """
        if not self._directory.exists():
            return
        if containers.is_mounted(self.root):
            self.power_off()
            containers.unmount(self.root)
        shutil.rmtree(self._directory)
        self._session.give_address(self.address)

    def freeze(self, layer: Path) -> None:
        """Shut the host down cleanly and keep what it wrote as a layer for further hosts.

        Args:
            layer: Directory to create; pass it in `layers` of a new host.
        """
        self.must(["systemctl", "poweroff", "--no-block"])
        containers.wait_until(
            lambda: containers.init_of(self.root) is None, f"{self.name} to shut down", BOOT_SECONDS
        )
        self.power_off()
        containers.unmount(self.root)
        (self._directory / "upper").rename(layer)
        self.stop()

    def _write_identity(self) -> None:
        for key in (self.root / "etc/ssh/ssh_host_ed25519_key", self.key_path):
            key.unlink(missing_ok=True)
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", key])
        self.host_key = " ".join((self.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2])
        public = self.key_path.with_suffix(".pub").read_text(encoding="utf-8")
        for home in ("root", "home/ops", "home/nosudo"):
            directory = self.root / home / ".ssh"
            keys = directory / "authorized_keys"
            keys.write_text(public, encoding="utf-8")
            keys.chmod(0o600)
            os.chown(keys, directory.stat().st_uid, directory.stat().st_gid)
        files = {
            "etc/hostname": f"{self.name}\n",
            "etc/hosts": f"127.0.0.1 localhost\n{self.address} {self.name}\n",
            "etc/machine-id": f"{self.machine_id}\n",
            "etc/systemd/network/10-host0.network": (
                f"[Match]\nName=host0\n\n[Network]\nAddress={self.address}/{self._session.network.prefixlen}\n"
                "LinkLocalAddressing=no\n"
            ),
        }
        for name, content in files.items():
            (self.root / name).write_text(content, encoding="utf-8")

    def _listens(self) -> bool:
        if self._supervisor is None or self._supervisor.poll() is not None:
            log = (self._directory / "console.log").read_text(encoding="utf-8", errors="replace")
            raise LabError(f"{self.name} did not boot:\n{log[-2000:]}")
        pid = containers.init_of(self.root)
        if pid is None:
            return False
        # A packet sent before the address is up would cost a whole second until the next address resolution.
        try:
            sockets = Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii")
            addresses = Path(f"/proc/{pid}/net/fib_trie").read_text(encoding="ascii")
        except OSError:
            return False
        return f":{self.port:04X} 00000000:0000 0A" in sockets and f"|-- {self.address}\n" in addresses

    def _greets(self) -> bool:
        try:
            with socket.create_connection((self.address, self.port), timeout=2) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False
