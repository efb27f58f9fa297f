"""Faults done for real on a laboratory host.

Each function says what it did, and fails when it had no effect: a test of a repair must not pass on a fault that never
was. Files are damaged from outside the host, so nothing of the host has to work for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.lab.base import LabError
from tests.lab.facts import FileFacts, filler
from tests.lab.host import LabHost
from tests.lab.servers import FILES, NGINX_CONF, psql

NGINX = "/usr/sbin/nginx"
PAGE_BYTES = 8192
# What a repair itself depends on; a library that one of these uses is never damaged by `flip_library_bit`.
_VITAL = (
    *(
        "/usr/sbin/sshd",
        "/usr/bin/python3",
        "/usr/bin/dpkg",
        "/usr/bin/apt-get",
        "/usr/bin/tar",
        "/usr/bin/bash",
    ),
    *("/usr/bin/sudo", "/usr/bin/curl", "/usr/bin/systemctl", "/usr/lib/systemd/systemd", "/usr/bin/ls"),
)


@dataclass(frozen=True, slots=True)
class Damage:
    """What was done to one file.

    Attributes:
        path: The file, as the host knows it.
        package: Package that owns it; empty when none does.
        sentence: What was done, in words.
        before: The file as it was.
        after: The file as it is now; None when it is gone.
    """

    path: str
    package: str
    sentence: str
    before: FileFacts
    after: FileFacts | None


def replace_binary(host: LabHost, path: str = NGINX, unit: str = "nginx.service") -> Damage:
    """Replace a service's program by garbage of the same size and mode; the service is down afterwards."""

    def act(file: Path) -> None:
        size, status = file.stat().st_size, file.stat()
        file.unlink()  # a running program cannot be overwritten in place
        file.write_bytes(filler(path, size))
        file.chmod(status.st_mode & 0o7777)
        os.chown(file, status.st_uid, status.st_gid)

    host.must(["systemctl", "stop", unit])
    damage = _do(host, path, "replaced the program by garbage of the same size", act)
    _restart_in_vain(host, unit)
    return damage


def flip_library_bit(host: LabHost, program: str = NGINX, unit: str = "nginx.service") -> Damage:
    """Flip one bit in a shared library that a service uses and nothing vital does; the service is down afterwards.

    The bit is in the file's first bytes: a bit of the code would be damaged just as much, but might never be run.
    """
    path = private_library(host, program)

    def act(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[1] ^= 1
        file.write_bytes(content)

    damage = _do(host, path, "flipped one bit of the shared library", act)
    _restart_in_vain(host, unit)
    return damage


def delete_configuration(host: LabHost, path: str = NGINX_CONF, unit: str = "nginx.service") -> Damage:
    """Delete a service's configuration file; the service is down afterwards."""
    damage = _do(host, path, "deleted the configuration file", Path.unlink)
    _restart_in_vain(host, unit)
    return damage


def corrupt_table_page(host: LabHost, table: str = "orders") -> Damage:
    """Overwrite one page in the middle of a table's file; the database runs afterwards and cannot read the table."""
    locate = "SELECT current_setting('data_directory') || '/' || pg_relation_filepath(:'table')"
    path = psql(host, locate, table=table).strip()

    def act(file: Path) -> None:
        page = file.stat().st_size // PAGE_BYTES // 2
        with file.open("r+b") as handle:
            handle.seek(page * PAGE_BYTES)
            handle.write(filler(table, PAGE_BYTES))

    host.must(["systemctl", "stop", "postgresql.service"])  # else its memory would go on answering
    damage = _do(host, path, f"overwrote the middle page of table {table}", act)
    host.must(["systemctl", "start", "postgresql.service"])
    try:
        psql(host, f"SELECT count(t::text) FROM {table} AS t")
    except LabError as refused:
        if "invalid page" not in str(refused):
            raise
        return damage
    raise LabError(f"table {table} can still be read after its page was overwritten")


def truncate_file(host: LabHost, path: str = f"{FILES}/invoices/archive.bin") -> Damage:
    """Cut a file to half its length."""
    return _do(
        host,
        path,
        "cut the file to half its length",
        lambda file: os.truncate(file, file.stat().st_size // 2),
    )


def change_mode(host: LabHost, path: str = "/usr/bin/curl", mode: int = 0) -> Damage:
    """Change a file's permission bits, which `dpkg --verify` does not see."""
    return _do(host, path, f"changed the mode to {mode:04o}", lambda file: file.chmod(mode))


def change_owner(host: LabHost, path: str = "/usr/bin/curl", uid: int = 65534, gid: int = 65534) -> Damage:
    """Change a file's owner and group, which `dpkg --verify` does not see."""
    return _do(host, path, f"changed the owner to {uid}:{gid}", lambda file: os.chown(file, uid, gid))


def replace_with_link(host: LabHost, path: str = "/usr/bin/curl", target: str = "/bin/true") -> Damage:
    """Replace a file by a symbolic link; a repair that writes through it would damage the target."""

    def act(file: Path) -> None:
        file.unlink()
        file.symlink_to(target)

    return _do(host, path, f"replaced the file by a link to {target}", act)


def private_library(host: LabHost, program: str = NGINX) -> str:
    """Return a shared library that a program or one of its modules uses, and nothing that a repair depends on.

    Raises:
        LabError: There is none.
    """
    modules = host.inside("/usr/lib/nginx/modules").glob("*.so") if program == NGINX else []
    own = [program, *(f"/{module.relative_to(host.root)}" for module in modules)]
    servers = [
        f"/{path.relative_to(host.root)}" for path in host.inside("/usr/lib/postgresql").glob("*/bin/p[os]*")
    ]
    candidates = _libraries(host, own) - _libraries(host, [*_VITAL, *servers])
    if not candidates:
        raise LabError(f"{program} shares all its libraries with programs that have to go on working")
    # The file itself, not the versioned link to it: only the file is in the package's checksums.
    return f"/{host.inside(min(candidates)).relative_to(host.root)}"


def owner_of(host: LabHost, path: str) -> str:
    """Return the package that ships a file, or an empty string."""
    # Packages from before the merge of /usr recorded the short path.
    for name in (path, path.removeprefix("/usr")):
        found = host.shell(["dpkg-query", "--search", name])
        if found.returncode == 0:
            return re.split(r"[:,]", found.stdout, maxsplit=1)[0]
    return ""


def _libraries(host: LabHost, programs: list[str]) -> set[str]:
    # ldd fails as a whole when one of the files is a script; what it printed for the others still counts.
    listing = host.shell(["ldd", *programs]).stdout
    return set(re.findall(r"=> (/\S+)", listing))


def _do(host: LabHost, path: str, sentence: str, act: Callable[[Path], object]) -> Damage:
    package = owner_of(host, path)
    file = host.inside(path, follow=False)
    before = FileFacts.of(file)
    act(file)
    after = FileFacts.of(file) if os.path.lexists(file) else None
    if after == before:
        raise LabError(f"{path} is as before, although the fault says: {sentence}")
    return Damage(path, package, sentence, before, after)


def _restart_in_vain(host: LabHost, unit: str) -> None:
    host.shell(["systemctl", "restart", unit])
    state = host.shell(["systemctl", "is-active", unit]).stdout.strip()
    if state != "failed":
        raise LabError(f"{unit} is {state} on {host.name} although it was damaged")
