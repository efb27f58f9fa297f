"""The demo host from outside: its identity, its keys, and its SSH server, sandboxed where that is possible."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import asyncssh

from deployments.demo.facts import HostFacts
from deployments.demo.processes import clean_environment, free_port, listens, spawn, wait_until

DIRECTORIES = ("bin", "etc/shop", "opt/shop", "run", "srv", "tmp", "usr", "var/lib/reinstate", "var/log")


def make_root(root: Path, role: str) -> str:
    """Makes the directories of an empty host and its identity files; returns its new machine-id."""
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/reinstate").chmod(0o700)
    machine_id = secrets.token_hex(16)
    (root / "etc/machine-id").write_text(f"{machine_id}\n")
    (root / "etc/hostname").write_text("demo-shop\n")
    (root / "var/lib/reinstate/role").write_text(f"{role}\n")
    return machine_id


def make_keys(secret_dir: Path, server_dir: Path) -> None:
    """Makes the client's and the server's ed25519 keys (mode 600), unless they exist."""
    for path, comment in (
        (secret_dir / "ssh-client-key", "demo client"),
        (server_dir / "host-key", "demo host"),
    ):
        if not path.exists():
            make_key(path, comment)


def make_key(path: Path, comment: str) -> None:
    """Makes an ed25519 key (mode 600), and its public half beside it."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    write_secret(path, key.export_private_key().decode())
    path.with_name(f"{path.name}.pub").write_bytes(key.export_public_key())


def write_secret(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, from its first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)


def sandbox(folder: Path, *also_writable: Path) -> list[str]:
    """The bwrap command prefix that leaves only these directories writable; empty where bwrap cannot be used.

    There is no process namespace on purpose: jobs that the product detached must outlive the SSH server's sessions.
    `/proc` stays writable, its `sys` apart, because PostgreSQL's wrapper writes its user mapping there.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return []
    prefix = [bwrap, "--ro-bind", "/", "/", "--dev-bind", "/dev", "/dev", "--dev-bind", "/proc", "/proc"]
    prefix += ["--ro-bind", "/proc/sys", "/proc/sys"]
    for path in (folder, *also_writable):
        prefix += ["--bind", str(path), str(path)]
    try:
        works = (
            subprocess.run([*prefix, "true"], capture_output=True, timeout=10, check=False).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return prefix if works else []


def facts(
    folder: Path, root: Path, machine_id: str, role: str, *, prefix: Sequence[str], port: int | None
) -> HostFacts:
    """Describes the host; keeps the port of an earlier run if it is free, and writes the known_hosts file for it."""
    host_key = " ".join((folder / "sshd/host-key.pub").read_text().split()[:2])
    chosen = free_port(port)
    known_hosts = folder / "sshd/known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{chosen} {host_key}\n")
    return HostFacts.model_validate(
        {
            "root": root,
            "port": chosen,
            "user": getpass.getuser(),
            "host_key": host_key,
            "client_key": folder / "secrets/ssh-client-key",
            "known_hosts": known_hosts,
            "machine_id": machine_id,
            "machine_id_file": root / "etc/machine-id",
            "role": role,
            "role_file": root / "var/lib/reinstate/role",
            "state_dir": root / "var/lib/reinstate",
            "confined": bool(prefix),
        }
    )


def start_sshd(folder: Path, host: HostFacts, world_id: str, prefix: Sequence[str]) -> None:
    """Starts the SSH server and waits until it listens."""
    project = Path(__file__).resolve().parents[2]
    argv = [
        *prefix,
        *(sys.executable, "-P", "-m", "deployments.demo.sshd"),
        *("--root", str(host.root), "--port", str(host.port), "--user", host.user),
        *("--authorized-key", str(host.client_key.with_name(f"{host.client_key.name}.pub"))),
        *("--host-key", str(folder / "sshd/host-key")),
    ]
    # The project is found by PYTHONPATH, so that a copy that is not installed works as well.
    env = clean_environment(world_id, PYTHONPATH=str(project), HOME=str(host.root), LOGNAME=host.user)
    log = folder / "sshd/sshd.log"
    pid = spawn(argv, cwd=host.root, env=env, log=log)
    (folder / "sshd/sshd.pid").write_text(f"{pid}\n")
    if not wait_until(lambda: listens(host.port), timeout=20):
        raise RuntimeError(f"the demo's SSH server did not start: {log.read_text()[-800:]}")
