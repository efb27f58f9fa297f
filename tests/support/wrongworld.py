"""A small healthy host without root: an SSH server, a file set in a directory backup; for plans that are wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyotp

from flows.back_up import back_up
from tests.support.labworld import merged, write_secret
from tests.support.sshservers import Server


@dataclass(frozen=True)
class SmallWorld:
    """A host that is a folder of this machine.

    Attributes:
        server: its SSH server.
        folder: the plan, its secrets and backups.
        files: the file set.
    """

    server: Server
    folder: Path
    files: Path

    @property
    def plan_file(self) -> Path:
        """The plan as it was last written."""
        return self.folder / "plan.yaml"

    def write_plan(self, changes: Mapping[str, Any] | None = None) -> Path:
        """Write the right plan, with changes merged in."""
        text = json.dumps(merged(self._plan(), changes or {}), indent=1)
        self.plan_file.write_text(text + "\n")
        return self.plan_file

    def back_up(self) -> None:
        """Back up by the plan as it is."""
        asyncio.run(back_up.fn(str(self.plan_file)))

    def _plan(self) -> dict[str, Any]:
        host = self.server.host.model_dump(mode="json") | {"key": "file:secrets/ssh-key"}
        return {
            "reinstate": 1,
            "name": "small",
            "version": "1",
            "service": {"name": "Files", "owner": "lena"},
            "people": {"lena": {"name": "Lena", "totp": "file:secrets/totp-lena"}},
            "roles": {"leading_group": ["lena"], "working_group": ["lena"]},
            "objectives": {"rto": "30m", "rpo": "1h"},
            "hosts": {"web": host},
            "backups": {"disk": {"kind": "directory", "path": "backups"}},
            "assets": {"files": {"kind": "files", "host": "web", "path": str(self.files), "backup": "disk"}},
            "checks": {"soak": 0, "interval": 0.1},
        }


def make_small_world(server: Server, folder: Path) -> SmallWorld:
    """A world with files, right plan and secrets; no backup yet."""
    files = folder / "host-files"
    (files / "below").mkdir(parents=True)
    (files / "a.txt").write_text("all is well\n")
    (files / "below" / "b.bin").write_bytes(bytes(range(256)) * 16)
    (folder / "backups").mkdir()
    world = SmallWorld(server, folder, files)
    write_secret(folder, "ssh-key", (server.folder / "client").read_text())
    write_secret(folder, "totp-lena", pyotp.random_base32())
    world.write_plan()
    return world
