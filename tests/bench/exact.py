"""Restoring one damaged file in a hundred: against a full pull, `rsync -c` and `restic restore`, on one host in turns.

`REINSTATE_BENCH_MIB` says how large the tree is (2048), `REINSTATE_BENCH_ROUNDS` how often each is measured (2).
"""

from __future__ import annotations

import os
import shlex
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from blocks.backups import open_backup_store
from blocks.backups.base import BackupStore
from blocks.backups.s3client import open_client
from blocks.hosts.ssh import SSHHost
from blocks.keys import SigningKey
from blocks.secrets import Secrets
from checks import files, stat
from checks.stat import Screen
from model.assets import FilesAsset
from model.backup_sources import S3Source
from model.canonical import canonical_json
from model.draft import Draft
from model.finding import Verdict
from model.host import Host
from model.manifest import Manifest, RecoveryPoint
from model.proposal import RestoreFiles
from model.rungs import files as propose
from model.supplies import PointSupply, Supplies
from tasks import restore_files
from tasks.backup_files import back_up_files
from tests.bench.examining import plan_host
from tests.bench.lab import Row, by_hand, seconds
from tests.lab.base import DATA, ensure_base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.model import builders
from tests.support.s3server import ACCESS_KEY, SECRET_KEY, start_s3
from tests.support.stores import FixedSecrets

MIB = int(os.environ.get("REINSTATE_BENCH_MIB", "2048"))
ROUNDS = int(os.environ.get("REINSTATE_BENCH_ROUNDS", "2"))
COUNT = 4096
DAMAGED = COUNT // 100
TREE = "/srv/tree"
ASSET = FilesAsset(kind="files", host="bench", path=TREE, backup="offsite", digest="xxh128", screen="ctime")
SECURE = ASSET.model_copy(update={"digest": "sha256"})
OURS = "every byte by SHA-256", "every byte by XXH3, as rsync", "ctime screen"
RESTIC = "/root/restic.env"


def _as_root(host: LabHost) -> Host:
    """Logged in as root, as the others are: each `sudo` costs some 15 ms."""
    return plan_host(host).model_copy(update={"user": "root", "sudo": False})


def _quiet(_done: int, _total: int) -> None:
    """Nobody watches."""


@dataclass
class _Bench:
    """The host whose files are damaged, the one that has them whole, and where the backups are."""

    host: LabHost
    source: LabHost
    store: BackupStore
    folder: Path
    point: RecoveryPoint
    manifest: Manifest
    moved: list[int] = field(default_factory=list)
    damaged: int = 0
    number: int = 0

    def block(self) -> SSHHost:
        """Our way to the host."""
        return SSHHost.from_plan("bench", _as_root(self.host), Secrets(self.folder))

    def damage(self) -> None:
        """A few bytes in the middle of every hundredth file; as a file system error does, size and time stay."""
        wanted = [e for e in self.manifest.entries if e.size][:: COUNT // DAMAGED][:DAMAGED]
        self.damaged = sum(entry.size for entry in wanted)
        for entry in wanted:
            path = self.host.inside(f"{TREE}/{entry.path}")
            with path.open("r+b") as file:
                file.seek(entry.size // 2)
                file.write(os.urandom(64))
            os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))

    def restore(self, screen: Screen | None = None, asset: FilesAsset = ASSET) -> None:
        """What Reinstate does: find, propose, restore what is damaged, with the connection it takes."""
        self.number += 1
        with self.block().connect() as connection:
            result = files.check(connection, "tree", asset, self.manifest, screen, _quiet)
            supply = PointSupply(asset="tree", point=self.point, manifest=self.manifest)
            machine = self.manifest.machine_id
            plan, machines = builders.plan_for("bench", machine), {"bench": machine}
            draft = Draft(plan, machines, Supplies(points=(supply,)), {}, self.point.taken_at)
            propose(draft, "tree", asset, result.findings, ())
            (action,) = draft.actions
            assert isinstance(action, RestoreFiles)
            assert len(action.files) == DAMAGED, f"{len(action.files)} of {DAMAGED} found"
            performed = restore_files.perform(
                connection, asset, action, self.store, job_prefix=f"bench-a01-{self.number}", token=1, progress=_quiet
            )  # fmt: skip
        self.moved.append(performed.bytes)

    def look(self) -> Screen:
        """Read everything; it must be whole."""
        screen = Screen()
        with self.block().connect() as connection:
            result = files.check(connection, "tree", ASSET, self.manifest, screen, _quiet)
        if result.verdict is not Verdict.PASSED:
            raise RuntimeError(f"not restored: {result.sentence}")
        return Screen(screen.whole)

    def received(self) -> int:
        """Bytes that came to the host over its network cable, SSH and all."""
        return int(Path(f"/sys/class/net/{self.host.interface}/statistics/tx_bytes").read_text())


def measure(folder: Path) -> Iterator[Row]:
    """Everybody gets the same damage; whoever was there, the tree is whole afterwards."""
    folder = folder / "exact"
    folder.mkdir()
    with ExitStack() as stack:
        bench = _set_up(stack, folder)
        yield _hashing(bench)
        laps: dict[str, list[float]] = {}
        wire: dict[str, int] = {}
        for _ in range(ROUNDS):
            for name, act, screened in _contenders(bench):
                bench.damage()
                screen = screened(bench) if screened else None
                before = bench.received()
                laps.setdefault(name, []).append(seconds(lambda act=act, screen=screen: act(screen)))  # type: ignore[misc]
                wire[name] = bench.received() - before
                bench.look()
        took = {name: statistics.median(values) for name, values in laps.items()}
        mib = 1 << 20
        note = f"{MIB} MiB in {COUNT} files, {DAMAGED} damaged; × = as fast"
        for name in ("rsync -a -c", "full pull", "restic restore"):
            for ours in OURS:
                times = f"{took[name] / took[ours]:.1f} ×"
                yield Row(f"restore, {ours} ÷ {name}", took[ours], took[name], f"{times}; {note}")
        yield Row("bytes fetched ÷ bytes damaged (MiB)", max(bench.moved) / mib, bench.damaged / mib)
        size = len(canonical_json(bench.manifest)) / mib
        said = ", ".join(f"{name} {count / mib:.1f}" for name, count in wire.items())
        yield Row(
            "bytes on the wire to the host ÷ bytes damaged (MiB)", wire[OURS[0]] / mib, bench.damaged / mib,
            f"all: {said}; the manifest is {size:.1f}",
        )  # fmt: skip


def _contenders(
    bench: _Bench,
) -> Iterator[tuple[str, Callable[[Screen | None], None], Callable[[_Bench], Screen] | None]]:
    host, source, folder = bench.host, bench.source, bench.folder
    ssh = f"ssh -i /root/source.key -o StrictHostKeyChecking=no root@{source.address}"
    rsync = f"rsync -a -c -e {shlex.quote(ssh.rpartition(' ')[0])} root@{source.address}:{TREE}/ {TREE}/"
    url = bench.store.presign(bench.point.key, 7200)

    def hand(script: str) -> Callable[[Screen | None], None]:
        return lambda _screen: by_hand(host, folder, script, stdout=subprocess.DEVNULL)

    secure, fast, screened = OURS
    yield secure, lambda _screen: bench.restore(asset=SECURE), None
    yield fast, lambda _screen: bench.restore(), None
    yield "rsync -a -c", hand(rsync), None
    yield screened, bench.restore, _screen_before_damage
    yield "full pull", hand(f"curl -sSf {shlex.quote(url or '')} | tar -xf - -C /"), None
    yield "restic restore", hand(f". {RESTIC}; restic restore latest --target /"), None


def _screen_before_damage(bench: _Bench) -> Screen:
    """A look while the tree was whole, which is what a screen is: the files are mended, then damaged again."""
    bench.restore()
    bench.moved.pop()
    time.sleep(2.1)
    screen = bench.look()
    bench.damage()
    return screen


def _hashing(bench: _Bench) -> Row:
    """Reading and hashing alone, over SSH both."""
    paths = [f"{TREE}/{entry.path}" for entry in bench.manifest.entries]
    openssl = f"find {TREE} -type f -print0 | xargs -0 -n 64 -P $(nproc) openssl dgst -sha256 -r"

    def ours() -> None:
        with bench.block().connect() as connection:
            stat.collect(connection, paths, more=True)

    pairs = [
        (
            seconds(ours),
            seconds(lambda: by_hand(bench.host, bench.folder, openssl, stdout=subprocess.DEVNULL)),
        )
        for _ in range(max(2, ROUNDS))
    ]
    mine, theirs = (statistics.median(pair[n] for pair in pairs) for n in (0, 1))
    rate = f"{MIB / mine:.0f} MiB/s; × = {theirs / mine:.2f} as fast"
    return Row("hashing all, mode, owner, attributes ÷ openssl, all cores", mine, theirs, rate)


def _set_up(stack: ExitStack, folder: Path) -> _Bench:
    """The same tree on two hosts, and its backups: ours, and restic's, in one object store."""
    base, session = ensure_base(recipe=DATA), LabSession()
    stack.callback(session.close)
    layer = session.directory / "tree-layer"
    with LabHost(base, session, "tree") as first:
        root = first.inside(TREE)
        for number in range(COUNT):
            path = root / f"d{number % 64:02d}" / f"f{number:04d}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(MIB * (1 << 20) // COUNT))
        first.freeze(layer)
    host, source = (
        stack.enter_context(LabHost(base, session, name, (layer,))) for name in ("ours", "source")
    )
    server = start_s3(folder / "s3", session.gateway, workers=os.cpu_count() or 1)
    stack.callback(server.stop)
    client = open_client(server.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY, compatible=True)
    for bucket in ("ours", "restic"):
        client.create_bucket(Bucket=bucket)
    place = S3Source.model_validate(
        {
            "kind": "s3", "bucket": "ours", "endpoint": server.endpoint, "access_key": "env:S3_ACCESS",
            "secret_key": "env:S3_SECRET",
        }
    )  # fmt: skip
    key = SigningKey.load_or_create(folder / "keys")
    store = open_backup_store("offsite", place, FixedSecrets(), key, folder)
    with SSHHost.from_plan("bench", _as_root(host), Secrets(folder)).connect() as connection:
        point = back_up_files(connection, "tree", ASSET, "bench", store, _quiet)
    host.inside("/root/source.key").write_bytes(source.key_path.read_bytes())
    host.inside("/root/source.key").chmod(0o600)
    host.inside(RESTIC).write_text(
        f"export AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY} RESTIC_PASSWORD=bench "
        f"RESTIC_REPOSITORY=s3:{server.endpoint}/restic\n"
    )
    host.must(["sh", "-c", f". {RESTIC}; restic init -q && restic backup -q {TREE}"], seconds=1800)
    return _Bench(host, source, store, folder, point, store.manifest(point))
