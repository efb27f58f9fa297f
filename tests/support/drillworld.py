"""A small organisation with a production host and the staging host that stands in for it; both are real SSH servers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from blocks.home import open_store
from model.drill_journal import Drill
from tasks.drilling import drill_of
from tests.support.labworld import write_secret
from tests.support.site import Site
from tests.support.sshservers import Server, asyncssh_server
from tests.support.wrongworld import make_small_world

STAGING_ID = "fedcba9876543210fedcba9876543210"


class DrillSite(Site):
    """A site whose host `web` is production, with a stand-in. Both see the same files: only one of them is used."""

    def __init__(self, production: Server, staging: Server, folder: Path) -> None:
        self.production, self.staging = production, staging
        production.folder.joinpath("state").mkdir(exist_ok=True)
        mark(production, "production")
        mark(staging, "staging")
        super().__init__(make_small_world(production, folder))
        write_secret(folder, "ssh-key-staging", (staging.folder / "client").read_text())
        documents = self.world.files
        for name in ("letters", "plans"):
            (documents / name).mkdir()
            for number in range(3):
                (documents / name / f"{number}.txt").write_text(f"{name} {number}\n" * 20)
        host = staging.host.model_dump(mode="json") | {"key": "file:secrets/ssh-key-staging"}
        self.write(
            hosts={"web": {"role": "production"}},
            drill={"staging": {"web": host}, "count": 1, "sign_off": "simulated", "lease": "1h"},
        )  # fmt: skip

    def drill_rule(self, **changes: Any) -> None:  # noqa: ANN401 - any key of the section
        """Change the section `drill`."""
        self.write(drill=self.changes["drill"] | changes)

    def stand_in(self, **changes: Any) -> None:  # noqa: ANN401 - any key of a host
        """Change the stand-in of `web`."""
        self.drill_rule(staging={"web": self.changes["drill"]["staging"]["web"] | changes})

    def drills(self) -> list[Drill]:
        """Every drill there was."""
        store = open_store()
        return [drill_of(store, ident) for ident in store.drills()]

    def content(self) -> dict[str, tuple[int, bytes]]:
        """Mode and content of every file."""
        return {
            str(path.relative_to(self.world.files)): (path.stat().st_mode, path.read_bytes())
            for path in sorted(self.world.files.rglob("*"))
            if path.is_file()
        }


def mark(server: Server, role: str) -> None:
    """Write the marker file of a host; empty: there is none."""
    file = server.folder / "state/role"
    file.parent.mkdir(exist_ok=True)
    file.unlink(missing_ok=True)
    if role:
        file.write_text(f"{role}\n")


@contextmanager
def staging_server(folder: Path) -> Iterator[Server]:
    """Another server than production: another machine-id, other keys."""
    with asyncssh_server(folder) as server:
        (folder / "machine-id").write_text(f"{STAGING_ID}\n")
        host = server.host.model_copy(update={"machine_id": STAGING_ID})
        yield dataclasses.replace(server, host=host)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    with (
        asyncssh_server(tmp_path / "production") as production,
        staging_server(tmp_path / "staging") as staging,
    ):
        yield production, staging


@pytest.fixture
def site(servers: tuple[Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DrillSite:
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    (tmp_path / "world").mkdir()
    site = DrillSite(*servers, tmp_path / "world")
    site.world.back_up()
    return site
