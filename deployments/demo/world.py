"""The throw-away world: one folder that holds a host and everything around it, built, started, stopped and removed."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import httpx

from deployments.demo import database, host, packages, people, processes, s3, shop, template
from deployments.demo.facts import Facts, ServiceFacts, WorldFacts

MARKER = ".reinstate-demo"
"""File that makes a folder ours to rebuild and to remove; holds the world's id."""

ADDRESSES = "world.json"


class Health(Facts):
    """What the shop's own health check says: each check with `ok` or what is wrong."""

    ok: bool
    checks: dict[str, str]


class World:
    """One demo world.

    Args:
        facts: what it looks like; also in the folder's `world.json`.
    """

    def __init__(self, facts: WorldFacts) -> None:
        self.facts = facts

    @classmethod
    def build(
        cls, folder: Path, *, role: Literal["production", "staging"] = "production", with_s3: bool = True
    ) -> World:
        """Builds a fresh, healthy, running world; one that is in the folder already is stopped and replaced.

        Passwords, keys and the people's secrets stay the same, and so do the ports if they are free.

        Args:
            folder: an empty or missing folder, or one of an earlier demo.
            role: the role the host claims to have.
            with_s3: whether to run the S3 server, where the system can.

        Raises:
            ValueError: the folder has something else in it.
            RuntimeError: a part did not start or the shop is not healthy; all processes are ended.
        """
        folder = folder.absolute()
        world_id = _claim(folder)
        with _only_one(folder):
            before = _facts_of(folder)
            _end_everything(folder, world_id, before)
            facts = _prepare(folder, world_id, role, with_s3, before)
            world = cls(facts)
            try:
                world.start()
                health = world.health()
                if not health.ok:
                    raise RuntimeError(f"the new demo shop is not healthy: {health.checks}")
            except BaseException:
                world.stop()
                raise
        return world

    @classmethod
    def load(cls, folder: Path) -> World:
        """The world that was built in this folder, running or not.

        Raises:
            FileNotFoundError: there is none.
        """
        facts = _facts_of(folder.absolute())
        if facts is None:
            raise FileNotFoundError(f"there is no demo in {folder}: build one with `make demo`")
        return cls(facts)

    @staticmethod
    def remove(folder: Path) -> bool:
        """Ends every process of the folder's world and deletes the folder; False if there was nothing.

        Raises:
            ValueError: the folder is not a demo's; it is left alone.
        """
        folder = folder.absolute()
        if not folder.exists():
            return False
        marker = folder / MARKER
        if not marker.is_file():
            raise ValueError(f"{folder} was not made by the demo (no {MARKER} in it): remove it yourself")
        facts = _facts_of(folder)
        _end_everything(folder, marker.read_text().strip(), facts)
        _forget_sockets(folder, facts)
        shutil.rmtree(folder)
        return True

    def start(self) -> None:
        """Starts what does not run: database, shop, SSH server and S3 server."""
        facts = self.facts
        with ThreadPoolExecutor(2) as pool:
            others = [pool.submit(self._start_sshd), pool.submit(self._start_s3)]
            for service in (facts.database.service, facts.shop.service):
                processes.run(service.start, env=processes.clean_environment(facts.id))
            for other in others:
                other.result()

    def stop(self) -> None:
        """Ends every process of the world, also the jobs that were detached on the host."""
        _end_everything(self.facts.folder, self.facts.id, self.facts)

    def status(self) -> dict[str, bool]:
        """Which parts run."""
        facts = self.facts
        found = {
            "ssh": processes.listens(facts.host.port),
            "database": _runs(facts.database.service, facts.id),
            "shop": _runs(facts.shop.service, facts.id),
        }
        if facts.s3 is not None:
            found["s3"] = processes.listens(_port(facts.s3.endpoint))
        return found

    def health(self) -> Health:
        """Asks the shop; one that does not answer is not healthy."""
        try:
            answer = httpx.get(f"{self.facts.shop.url}/health", timeout=15, trust_env=False)
            return Health(ok=answer.status_code == 200, checks=answer.json()["checks"])
        except (httpx.HTTPError, ValueError, KeyError) as error:
            return Health(ok=False, checks={"shop": f"no answer: {error}"})

    def processes(self) -> list[int]:
        """The pids of the world's processes, as far as this system can list them by their mark (Linux)."""
        return processes.marked(self.facts.id)

    def _start_sshd(self) -> None:
        facts = self.facts
        if not processes.listens(facts.host.port):
            prefix = _sandbox(facts.folder, facts.host.root, facts.database.socket_dir)
            host.start_sshd(facts.folder, facts.host, facts.id, prefix)

    def _start_s3(self) -> None:
        facts = self.facts
        if facts.s3 is not None and not processes.listens(_port(facts.s3.endpoint)):
            s3.start(facts.folder / "s3", facts.s3, facts.id)


def _prepare(
    folder: Path,
    world_id: str,
    role: Literal["production", "staging"],
    with_s3: bool,
    before: WorldFacts | None,
) -> WorldFacts:
    root = folder / "host"
    _forget_sockets(folder, before)
    for name in ("backups", "s3"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("backups", "cache", "s3", "secrets", "sshd"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    secret_dir = folder / "secrets"
    for name in ("database-password", "shop-password"):
        if not (secret_dir / name).exists():
            host.write_secret(secret_dir / name, f"{secrets.token_hex(16)}\n")
            (folder / "cache" / template.KEY).unlink(missing_ok=True)  # the template has the old one
    host.make_keys(secret_dir, folder / "sshd")
    template.prepare(folder, root, role, world_id)

    sockets = database.socket_dir(root)
    machine_id = (root / "etc/machine-id").read_text().strip()
    runs_s3 = with_s3 and s3.available(folder)
    s3_port = _port(before.s3.endpoint) if before and before.s3 else None
    shop_facts = shop.facts(
        root, folder / "store/wheels", processes.free_port(before.shop.port if before else None)
    )
    database_facts = database.facts(root, secret_dir, sockets, before.database.port if before else None)
    facts = WorldFacts(
        id=world_id,
        folder=folder,
        host=host.facts(
            folder,
            root,
            machine_id,
            role,
            prefix=_sandbox(folder, root, sockets),
            port=before.host.port if before else None,
        ),
        shop=shop_facts,
        database=database_facts,
        packages=packages.facts(root, folder / "store/debs"),
        s3=s3.facts(secret_dir, s3_port) if runs_s3 else None,
        people=people.create(secret_dir),
        backups=folder / "backups",
    )
    database.configure(root, database_facts)
    shop.configure(root, shop_facts, database_facts, (secret_dir / "shop-password").read_text().strip())
    (folder / ADDRESSES).write_text(facts.model_dump_json(indent=2) + "\n")
    return facts


def _claim(folder: Path) -> str:
    marker = folder / MARKER
    if folder.exists() and not marker.is_file() and any(folder.iterdir()):
        raise ValueError(f"{folder} has something else in it: give the demo an empty folder")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not marker.is_file() or not marker.read_text().strip():
        marker.write_text(f"{secrets.token_hex(16)}\n")
    return marker.read_text().strip()


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    with (folder / MARKER).open("r+") as marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(f"another demo is being built in {folder}") from error
        yield


def _facts_of(folder: Path) -> WorldFacts | None:
    path = folder / ADDRESSES
    try:
        return WorldFacts.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None  # never finished, or written by another version: the marker's id is enough to clean up


def _end_everything(folder: Path, world_id: str, facts: WorldFacts | None) -> None:
    """Stops the services as one does, then ends by pid whatever is left, known by pid file or by its mark."""
    if facts is not None:
        for service in (facts.shop.service, facts.database.service):
            # A damaged host may have nothing left to stop a service with: its pid is enough.
            with contextlib.suppress(RuntimeError, OSError):
                processes.run(service.stop, env=processes.clean_environment(world_id))
    names = (
        *("sshd/sshd.pid", "s3/swift.pid", "host/run/shop-supervisor.pid", "host/run/shop.pid"),
        "host/var/lib/postgresql/data/postmaster.pid",
    )
    noted = (processes.read_pid(folder / name) for name in names)
    processes.end(pid for pid in noted if pid is not None and processes.is_ours(pid, world_id, folder))
    for _ in range(5):  # a process that ends may have started another one
        left = processes.marked(world_id)
        if not left:
            return
        processes.end(left)
    raise RuntimeError(f"processes of the demo in {folder} keep coming back: {processes.marked(world_id)}")


def _forget_sockets(folder: Path, facts: WorldFacts | None) -> None:
    if facts is not None and not facts.database.socket_dir.is_relative_to(folder):
        shutil.rmtree(facts.database.socket_dir, ignore_errors=True)


def _sandbox(folder: Path, root: Path, sockets: Path) -> list[str]:
    also = () if sockets.is_relative_to(root) else (sockets,)
    return host.sandbox(folder, *also)


def _runs(service: ServiceFacts, world_id: str) -> bool:
    try:
        processes.run(service.status, env=processes.clean_environment(world_id))
    except (RuntimeError, OSError):
        return False
    return True


def _port(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])
