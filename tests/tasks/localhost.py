"""A host that is a folder of this machine: commands and jobs run by subprocess, jobs exactly once."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from model.command import Command, Result
from tests.checks.local import LocalConnection


class JobHost(LocalConnection):
    """A connection with jobs. `jobs` keeps what ran, in order; `before_job` is called with each name before it runs."""

    def __init__(self, state_dir: Path, path: str = "") -> None:
        super().__init__("web-1", state_dir, path)
        self.jobs: dict[str, Result] = {}
        self.before_job: Callable[[str], None] | None = None

    def job(
        self, name: str, command: Command, token: int, on_wait: Callable[[float], None] | None = None
    ) -> Result:
        if name not in self.jobs:
            if self.before_job is not None:
                self.before_job(name)
            folder = Path(self.host.state_dir)
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "trace").open("a") as trace:
                trace.write(f"2026-01-01T00:00:00Z {token} {name}\n")
            self.jobs[name] = self.run(command)
        return self.jobs[name]


def fingerprint(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a folder: type, mode, owner, exact time, link, content, attributes, link group, folder times."""
    inodes: dict[int, str] = {}
    found: dict[str, tuple[object, ...]] = {}
    for folder, names, files in sorted(os.walk(os.fsencode(root))):
        for name in sorted([b".", *names, *files]):
            path = folder + b"/" + name
            status = os.lstat(path)
            content = ""
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:  # noqa: PTH123 - a name that is not UTF-8
                    content = hashlib.sha256(file.read()).hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                content = repr(Path(os.fsdecode(path)).readlink())
            attributes = tuple(
                (key, os.getxattr(path, key, follow_symlinks=False))
                for key in sorted(os.listxattr(path, follow_symlinks=False))
            )
            shared = inodes.setdefault(status.st_ino, repr(path))
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            found[repr(path)] = (
                status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, size, content, attributes, shared,
            )  # fmt: skip
    return found


def quiet(_done: int, _total: int) -> None:
    """A progress that tells nobody."""
