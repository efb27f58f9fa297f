"""Files come back bit for bit from a verified backup, only what is damaged moves, and nothing hostile lands."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest

from blocks.backups.base import BackupStore
from blocks.hosts import elevate
from blocks.hosts.base import OUTPUT_LIMIT, Connection
from blocks.hosts.connection import SSHConnection
from blocks.keys import SigningKey
from checks import files
from checks.stat import collect, list_tree
from model.assets import FilesAsset, ServiceAsset
from model.command import Arg, Command, Result, raw
from model.errors import Damaged, PreconditionFailed, Refused, ReinstateError, Transient
from model.finding import Verdict
from model.host import Host
from model.manifest import Entry, FileType, Manifest, RecoveryPoint
from model.outcome import Stage
from model.proposal import RestoreFiles, Rung
from tasks import landing, placing, pull, restore_files
from tasks.backup_files import back_up_files
from tasks.performed import Performed
from tests.support.stores import make_directory_store, make_s3_store, overwrite, stored

_ATTEMPT = itertools.count(1)
ODD_NAMES = (
    "-rf",
    "a b",
    "tab\there",
    "line\nbreak",
    "back\\slash",
    "quote'\"",
    "ünï",
    "*",
    "$(id)",
    ".hidden",
    "x" * 200,
)


def quiet(_done: int, _total: int) -> None:
    """Nobody watches."""


def asset_of(root: Path, *exclude: str) -> FilesAsset:
    return FilesAsset(kind="files", host="web", path=str(root), backup="offsite", exclude=exclude)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with every kind of trouble a real one has."""
    root = tmp_path / "srv"
    (root / "deep" / "er").mkdir(parents=True)
    for name in ODD_NAMES:
        (root / "deep" / name).write_bytes(os.urandom(700) + name.encode())
    (root / os.fsdecode(b"not-utf8-\xff")).write_bytes(b"odd")
    (root / "empty").write_bytes(b"")
    (root / "large").write_bytes(os.urandom((3 << 20) + 17))
    (root / "deep" / "er" / ("long" * 50)).write_bytes(b"a long path")
    (root / "tool").write_bytes(b"#!/bin/sh\n")
    (root / "tool").chmod(0o4755)
    (root / "link").symlink_to("deep/a b")
    (root / "dangling").symlink_to("/nowhere/at all")
    os.link(root / "large", root / "second-name")
    os.utime(root / "large", ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    (root / "cache").mkdir()
    (root / "cache" / "x").write_text("left out")
    os.mkfifo(root / "pipe")
    return root


def back_up(host: SSHConnection, root: Path, store: BackupStore) -> RecoveryPoint:
    return back_up_files(host, "site", asset_of(root, "cache"), "web", store, quiet)


def action_for(point: RecoveryPoint, manifest: Manifest, root: Path, *paths: str) -> RestoreFiles:
    """What the ladder proposes: damaged paths and the directories above them."""
    wanted = {*paths} or {entry.path for entry in manifest.entries}
    above = {str(parent) for path in wanted for parent in Path(path).parents if str(parent) != "."}
    entries = tuple(entry for entry in manifest.entries if entry.path in wanted | above)
    return RestoreFiles(
        id="a01", host="web", asset="site", stage=Stage.RESTORE, rung=Rung.DATA_SET, reason="r", undo="u",
        point=point, root=str(root), files=entries,
    )  # fmt: skip


def restore(
    host: Connection, root: Path, store: BackupStore, action: RestoreFiles, prefix: str = "",
    services: Mapping[str, ServiceAsset] | None = None,
) -> Performed:  # fmt: skip
    return restore_files.perform(
        host, asset_of(root), action, store, job_prefix=prefix or f"inc-20261101-000000-0000-a01-{next(_ATTEMPT)}",
        token=1, progress=quiet, services=services,
    )  # fmt: skip


def state_of(host: Connection, root: Path, *, times: bool = False) -> dict[str, tuple[object, ...]]:
    """Everything below a root that must come back."""
    return {
        path: (f.type, f.mode, f.uid, f.gid, f.size if f.type is FileType.FILE else 0, f.link, f.sha256)
        + ((f.mtime_ns,) if times or f.type is FileType.FILE else ())
        for path, f in collect(host, list_tree(host, str(root), ("cache",))).items()
        if f.type is not FileType.OTHER
    }


def flip(path: Path, offset: int = 0) -> None:
    """Damage one bit and leave size and time as they were."""
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_backup_manifest_says_what_is_there(host: SSHConnection, tree: Path, store: BackupStore) -> None:
    point = back_up(host, tree, store)
    manifest = store.manifest(point)
    entries = {entry.path: entry for entry in manifest.entries}
    assert {".", "deep/-rf", "deep/line\nbreak", os.fsdecode(b"not-utf8-\xff"), "link"} < set(entries)
    assert not {"cache", "cache/x", "pipe"} & set(entries)
    for entry in entries.values():
        if entry.type is FileType.FILE:
            live = (tree / entry.path).read_bytes()
            assert live == b"".join(store.read(point.key, entry.offset, entry.size))
    assert [point] == store.points("site")


def test_backup_is_a_tar_that_tar_reads(
    host: SSHConnection, tree: Path, store: BackupStore, tmp_path: Path
) -> None:
    """The operator's way out: plain tools restore it without us."""
    point = back_up(host, tree, store)
    (tmp_path / "out").mkdir()
    archive = stored(store, point.key)
    subprocess.run(["tar", "-xf", "-", "-C", str(tmp_path / "out")], input=archive, check=True)
    assert (tree / "large").read_bytes() == (tmp_path / "out" / str(tree)[1:] / "large").read_bytes()


def test_whole_tree_comes_back_bit_for_bit(host: SSHConnection, tree: Path, store: BackupStore) -> None:
    before = state_of(host, tree, times=True)
    point = back_up(host, tree, store)
    action = action_for(point, store.manifest(point), tree)
    shutil.rmtree(tree)
    performed = restore(host, tree, store, action)
    after = state_of(host, tree, times=True)
    assert before == after
    assert performed.bytes >= 3 << 20
    assert (tree / "large").samefile(tree / "second-name")


def test_single_file_asset_comes_back(host: SSHConnection, tmp_path: Path, store: BackupStore) -> None:
    file = tmp_path / "etc" / "app.conf"
    file.parent.mkdir()
    file.write_text("listen = 80\n")
    point = back_up(host, file, store)
    action = action_for(point, store.manifest(point), file)
    file.write_text("listen = 80000\n")
    assert "1 path of site" in restore(host, file, store, action).sentence
    assert file.read_text() == "listen = 80\n"
    file.unlink()
    restore(host, file, store, action)
    assert file.read_text() == "listen = 80\n"


def test_every_kind_of_damage_is_cured(host: SSHConnection, tree: Path, store: BackupStore) -> None:
    before = state_of(host, tree)
    point = back_up(host, tree, store)
    flip(tree / "large", 1_000_000)
    (tree / "empty").write_text("no longer")
    (tree / "tool").chmod(0o600)
    os.chown(tree / "tool", 12, 34)
    (tree / "deep" / "*").unlink()
    shutil.rmtree(tree / "deep" / "er")
    (tree / "deep" / "er").symlink_to("/etc")
    (tree / "link").unlink()
    (tree / "link").write_text("was a link")
    (tree / "dangling").unlink()
    (tree / "deep" / "a b").unlink()
    (tree / "deep" / "a b").mkdir()
    (tree / "deep" / "a b" / "kept").write_text("someone's work")
    manifest = store.manifest(point)
    action = action_for(
        point, manifest, tree, "large", "second-name", "empty", "tool", "deep/*", "deep/er", f"deep/er/{'long' * 50}",
        "link", "dangling", "deep/a b",
    )  # fmt: skip
    restore(host, tree, store, action)
    assert before == state_of(host, tree)
    kept = list((Path(host.host.state_dir) / "set-aside").rglob("kept"))
    assert ["someone's work"] == [path.read_text() for path in kept]
    assert not list(Path("/etc").glob("long*"))


def test_metadata_alone_moves_no_bytes(host: SSHConnection, tree: Path, store: BackupStore) -> None:
    before = state_of(host, tree)
    point = back_up(host, tree, store)
    (tree / "large").chmod(0o777)
    performed = restore(host, tree, store, action_for(point, store.manifest(point), tree, "large"))
    assert performed.bytes == 0
    assert before == state_of(host, tree)


def test_second_run_changes_nothing(host: SSHConnection, tree: Path, store: BackupStore) -> None:
    """G2: executing twice equals once, by the same name or another."""
    point = back_up(host, tree, store)
    action = action_for(point, store.manifest(point), tree, "large")
    flip(tree / "large")
    first = restore(host, tree, store, action, "inc-20261101-000000-0000-a01-1")
    inode = (tree / "large").stat().st_ino
    again = restore(host, tree, store, action, "inc-20261101-000000-0000-a01-1")
    other = restore(host, tree, store, action, "inc-20261101-000000-0000-a01-2")
    assert (first.bytes, again.bytes, other.bytes) == ((3 << 20) + 17, 0, 0)
    assert inode == (tree / "large").stat().st_ino
    assert not (Path(host.host.state_dir) / "staging" / "inc-20261101-000000-0000-a01-1-1").exists()


def test_services_stand_still_while_files_change_places_and_run_again(
    host: SSHConnection, tree: Path, store: BackupStore, tmp_path: Path
) -> None:
    """N2: nobody reads a half-restored data set. What did not run before is not started, and staging stops nobody."""
    point = back_up(host, tree, store)
    action = action_for(point, store.manifest(point), tree, "tool")
    (tree / "tool").write_text("damaged")
    shop, idle = (
        service(tmp_path / name, tree / "tool", running=name == "shop") for name in ("shop", "idle")
    )
    restore(host, tree, store, action, services={"shop": shop, "idle": idle})
    assert ["stop damaged", "start #!/bin/sh"] == (tmp_path / "shop").read_text().splitlines()
    assert "" == (tmp_path / "idle").read_text()


def test_service_that_does_not_stop_keeps_the_files_as_they_are(
    host: SSHConnection, tree: Path, store: BackupStore, tmp_path: Path
) -> None:
    point = back_up(host, tree, store)
    action = action_for(point, store.manifest(point), tree, "tool")
    (tree / "tool").write_text("damaged")
    stubborn = service(tmp_path / "trace", tree / "tool", running=True).model_copy(
        update={"status": ("true",)}
    )
    with pytest.raises(PreconditionFailed, match="shop does not stop"):
        restore(host, tree, store, action, services={"shop": stubborn})
    assert "damaged" == (tree / "tool").read_text()
    assert "start" in (tmp_path / "trace").read_text()


def service(trace: Path, seen: Path, *, running: bool) -> ServiceAsset:
    """A service that writes down when it is stopped and started, and the first line of a file at that moment."""
    trace.write_text("")
    say = f'echo "%s $(head -n 1 {seen})" >>{trace}'
    status = f'case "$(tail -n 1 {trace})" in stop*) exit 1;; esac; exit {0 if running else 1}'
    return ServiceAsset(
        kind="service", host="web", start=("sh", "-c", say % "start"), stop=("sh", "-c", say % "stop"),
        status=("sh", "-c", status),
    )  # fmt: skip


def test_fast_digest_is_recorded_with_sha256_and_finds_what_is_restored(
    host: SSHConnection, tree: Path, store: BackupStore
) -> None:
    """`digest: xxh128`: every byte is read, and the restored bytes are proven by SHA-256 as ever."""
    asset = asset_of(tree, "cache").model_copy(update={"digest": "xxh128"})
    manifest = store.manifest(point := back_up_files(host, "site", asset, "web", store, quiet))
    hashed = {(len(e.sha256), len(e.xxh128)) for e in manifest.entries if e.type is FileType.FILE}
    assert {(64, 32)} == hashed
    assert Verdict.PASSED is files.check(host, "site", asset, manifest, None, quiet).verdict
    flip(tree / "large", 70_000)
    found = files.check(host, "site", asset, manifest, None, quiet).findings
    assert {str(tree / "large"), str(tree / "second-name")} == {finding.subject for finding in found}
    restore(host, tree, store, action_for(point, manifest, tree, "large", "second-name"))
    assert Verdict.PASSED is files.check(host, "site", asset, manifest, None, quiet).verdict


def test_each_file_system_is_flushed_once(
    host: SSHConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path with a newline has no line of its own: then everything is flushed."""
    said = tmp_path / "said"
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "sync").write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{said}\nexec /bin/sync "$@"\n')
    (tools / "sync").chmod(0o755)
    monkeypatch.setattr(placing, "PLAIN", {"LC_ALL": "C", "PATH": f"{tools}:/usr/bin:/bin"})
    folders = [tmp_path / "a  b *", tmp_path / "c", tmp_path / "line\nbreak", Path("/dev/shm")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    steps = placing.flushes(f"{folder}/file" for folder in folders)
    placing.place(host, "inc-20261101-000000-0000-a01-1-flush", steps, 1, aside=f"{tmp_path}/aside")
    assert [f"-f -- {folders[0]}", f"-f -- {folders[3]}", ""] == said.read_text().splitlines()


def test_one_percent_damage_moves_at_most_a_tenth_more(
    host: SSHConnection, tmp_path: Path, store: BackupStore
) -> None:
    """speed.md: bytes moved ÷ bytes damaged ≤ 1.1."""
    root = tmp_path / "many"
    for number in range(400):
        path = root / str(number % 7) / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(8192))
    point = back_up(host, root, store)
    hurt = [f"{number % 7}/f{number}" for number in (3, 77, 200, 399)]
    for name in hurt:
        flip(root / name, 4000)
    performed = restore(host, root, store, action_for(point, store.manifest(point), root, *hurt))
    assert 4 * 8192 <= performed.bytes <= 1.1 * 4 * 8192


def test_flipped_byte_of_the_archive_is_found_before_the_swap(
    host: SSHConnection, tree: Path, store: BackupStore
) -> None:
    point = back_up(host, tree, store)
    manifest = store.manifest(point)
    action = action_for(point, manifest, tree)
    good = stored(store, point.key)
    shutil.rmtree(tree / "deep")
    before = state_of(host, tree)
    content = [e for e in manifest.entries if e.size]
    for entry in (content[0], content[len(content) // 2], content[-1]):
        bad = bytearray(good)
        bad[entry.offset + entry.size // 2] ^= 4
        overwrite(store, point.key, bytes(bad))
        hurt = action_for(point, manifest, tree, entry.path)
        (tree / entry.path).parent.mkdir(exist_ok=True, parents=True)
        (tree / entry.path).write_text("damaged")
        with pytest.raises(Damaged, match=r"archive\.tar") as caught:
            restore(host, tree, store, hurt)
        assert entry.path.encode("unicode_escape").decode()[:20] in caught.value.what.replace(
            "\n", "\\n"
        ) + repr(entry.path)
        assert (tree / entry.path).read_text() == "damaged"
    overwrite(store, point.key, good)
    restore(host, tree, store, action)
    assert before.items() <= (before | state_of(host, tree)).items()
    assert [] == [e.path for e in manifest.entries if not os.path.lexists(tree / e.path)]


@pytest.mark.parametrize("what", ["truncated", "deleted", "empty"])
def test_broken_archive_is_found_before_the_swap(
    host: SSHConnection, tree: Path, store: BackupStore, what: str
) -> None:
    point = back_up(host, tree, store)
    action = action_for(point, store.manifest(point), tree)
    shutil.rmtree(tree / "deep")
    before = state_of(host, tree, times=True)
    good = stored(store, point.key)
    overwrite(store, point.key, {"truncated": good[: len(good) // 3], "deleted": None, "empty": b""}[what])
    with pytest.raises(Damaged, match=r"archive\.tar"):
        restore(host, tree, store, action)
    assert before == state_of(host, tree, times=True)


def test_backup_of_another_host_is_refused(host: SSHConnection, tree: Path, store: BackupStore) -> None:
    """G7: a backup's recorded source must match its target, unless a cross-restore was signed."""
    point = back_up(host, tree, store)
    other = store.manifest(point).model_copy(update={"machine_id": "f" * 32, "point": "20200101T000000Z"})
    other = other.model_copy(update={"object_key": "site/20200101T000000Z/archive.tar"})
    store.put(other.object_key, store.read(point.key))
    foreign = store.publish(other)
    flip(tree / "large")
    action = action_for(foreign, other, tree, "large")
    before = state_of(host, tree)
    with pytest.raises(Refused, match="machine " + "f" * 32):
        restore(host, tree, store, action)
    assert before == state_of(host, tree)
    restore_files.perform(
        host, asset_of(tree), action, store, job_prefix="inc-20261101-000000-0000-a01-99", token=1, progress=quiet,
        machine_id="f" * 32,
    )  # fmt: skip
    assert before != state_of(host, tree)


def test_backup_of_another_root_is_refused(
    host: SSHConnection, tree: Path, store: BackupStore, tmp_path: Path
) -> None:
    point = back_up(host, tree, store)
    with pytest.raises(Refused, match="not of"):
        restore(host, tmp_path, store, action_for(point, store.manifest(point), tree, "large"))


Change = Callable[[Manifest], Manifest]


def _with(
    path: str, kind: FileType = FileType.FILE, link: str = "", offset: int = 512, same_as: str = ""
) -> Change:
    size = 1 if kind is FileType.FILE else 0
    extra = Entry(path=path, type=kind, link=link, offset=offset, size=size, same_as=same_as)
    return lambda manifest: manifest.model_copy(update={"entries": (*manifest.entries, extra)})


@pytest.mark.parametrize(
    "change",
    [
        _with("../escape"), _with("/etc/passwd"), _with("a/../../escape"), _with("a//b"), _with("./x"), _with("x/."),
        _with("deep"), _with("link/through"), _with("dangling/x"), _with("tool/below"),
        _with("device", FileType.OTHER), _with("beyond", offset=1 << 40), _with("before", offset=-1),
        _with("zz", same_as="../../etc/shadow"), _with("zz", same_as="/etc/shadow"), _with("zz", same_as="link"),
        _with("zz", same_as="deep"), _with("zz", same_as="second-name"), _with("zz", same_as="large"),
        _with("0", same_as="large"), _with("zz", same_as="zz"), _with("link/../../x", FileType.LINK, "/"),
        _with("link/x", FileType.LINK, "/etc"), _with("dangling/deeper/x", FileType.LINK, "/etc"),
        lambda manifest: _bomb(manifest, 3), lambda manifest: _crowd(manifest, 2_000_001),
    ],
    ids=[
        "up", "absolute", "up within", "empty part", "dot", "dot at the end", "twice", "through a link",
        "through a dangling link", "below a file", "device", "beyond the archive", "before the archive",
        "hard link up", "hard link out", "hard link to a link", "hard link to a folder", "chain of hard links",
        "hard link to another content", "hard link to what comes later", "hard link to itself", "link up",
        "link below a link", "link deep below a link", "bomb", "two million tiny files",
    ],
)  # fmt: skip
def test_hostile_manifest_is_refused_before_anything_lands(
    host: SSHConnection, tree: Path, signing: SigningKey, tmp_path: Path, change: Change
) -> None:
    """Even with our signature (a host that lied when it was backed up) no path leaves the root."""
    store = make_directory_store(signing, tmp_path)
    point = back_up(host, tree, store)
    hostile = change(store.manifest(point)).model_copy(
        update={"point": "20200101T000000Z", "object_key": "site/20200101T000000Z/archive.tar"}
    )
    store.put(hostile.object_key, store.read(point.key))
    if len(hostile.entries) > 1_000_000:
        with pytest.raises(Damaged, match=r"2,000,001 paths"):
            landing.judge(hostile, "local")
        return
    bad = store.publish(hostile)
    flip(tree / "large")
    before = state_of(host, tree, times=True)
    action = action_for(bad, hostile, tree, "large")
    action = action.model_copy(update={"files": (*action.files, hostile.entries[-1])})
    with pytest.raises(Damaged) as caught:
        restore(host, tree, store, action)
    assert "recovery point" in caught.value.remedy
    assert before == state_of(host, tree, times=True)
    assert not (tmp_path / "escape").exists()
    assert not (Path(host.host.state_dir) / "trace").exists()


def _bomb(manifest: Manifest, times: int) -> Manifest:
    """The same bytes of the archive under many names: a small archive that becomes a large tree."""
    large = next(entry for entry in manifest.entries if entry.path == "large")
    more = (large.model_copy(update={"path": f"z{number}"}) for number in range(times))
    return manifest.model_copy(update={"entries": (*manifest.entries, *more)})


def _crowd(manifest: Manifest, count: int) -> Manifest:
    """More paths than anybody keeps in memory; the same object again and again, so that the test need not either."""
    tiny = Entry(path="tiny", type=FileType.FILE, offset=0)
    return manifest.model_copy(update={"entries": (tiny,) * count})


def test_live_parent_that_became_a_link_is_refused(
    host: SSHConnection, tree: Path, store: BackupStore, tmp_path: Path
) -> None:
    point = back_up(host, tree, store)
    action = action_for(point, store.manifest(point), tree, "deep/*")
    action = action.model_copy(update={"files": tuple(e for e in action.files if e.path != "deep")})
    (tmp_path / "outside").mkdir()
    shutil.rmtree(tree / "deep")
    (tree / "deep").symlink_to(tmp_path / "outside")
    with pytest.raises(Damaged, match="leave"):
        restore(host, tree, store, action)
    assert [] == list((tmp_path / "outside").iterdir())


def test_file_that_was_not_signed_for_as_it_is_in_the_manifest_is_refused(
    host: SSHConnection, tree: Path, store: BackupStore
) -> None:
    """G6: what was shown is executed or the run stops."""
    point = back_up(host, tree, store)
    action = action_for(point, store.manifest(point), tree, "large")
    changed = action.files[0].model_copy(update={"mode": 0o777})
    with pytest.raises(Damaged, match="proposal"):
        restore(host, tree, store, action.model_copy(update={"files": (changed,)}))


def test_empty_tree_gives_no_backup(host: SSHConnection, tmp_path: Path, store: BackupStore) -> None:
    """G11: empty is not healthy."""
    (tmp_path / "nothing" / "sub").mkdir(parents=True)
    for root in (tmp_path / "nothing", tmp_path / "absent"):
        with pytest.raises(PreconditionFailed):
            back_up(host, root, store)
    assert [] == store.points("site")


class _Meddling:
    """A connection on which something happens before, and something else after, each reading of the tree by tar."""

    def __init__(
        self, connection: SSHConnection, before: Callable[[], object], after: Callable[[], object]
    ) -> None:
        self._connection, self._before, self._after = connection, before, after

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def run(
        self, command: Command, limit: int = OUTPUT_LIMIT, on_stdout: Callable[[bytes], None] | None = None
    ) -> Result:
        if command.argv[0] == "tar":
            self._before()
        result = self._connection.run(command, limit=limit, on_stdout=on_stdout)
        if command.argv[0] == "tar":
            self._after()
        return result


def nothing() -> None:
    """Do not meddle."""


def test_file_that_changes_during_the_backup_is_read_again(
    host: SSHConnection, tree: Path, store: BackupStore
) -> None:
    contents = iter([b"second", b"third"])

    def write() -> None:
        (tree / "tool").write_bytes(next(contents, b"third"))
        (tree / "deep" / "*").write_bytes(b"settled")
        (tree / "empty").unlink(missing_ok=True)

    point = back_up(cast("SSHConnection", _Meddling(host, write, write)), tree, store)
    entries = {entry.path: entry for entry in store.manifest(point).entries}
    assert "empty" not in entries
    for path, content in (("tool", b"third"), ("deep/*", b"settled")):
        assert content == b"".join(store.read(point.key, entries[path].offset, entries[path].size))
    with tarfile.open(fileobj=io.BytesIO(stored(store, point.key))) as archive:
        last = {member.name: member for member in archive.getmembers()}[f".{tree}/tool"]
        extracted = archive.extractfile(last)
        assert extracted is not None
        assert extracted.read() == b"third"


def test_file_that_never_rests_gives_no_backup_and_is_named(
    host: SSHConnection, tree: Path, store: BackupStore
) -> None:
    count = itertools.count()

    def write() -> None:
        (tree / "tool").write_text(f"{next(count)}")

    with pytest.raises(Transient, match="tool keeps changing"):
        back_up(cast("SSHConnection", _Meddling(host, write, write)), tree, store)
    assert [] == store.points("site")


def test_store_that_fails_in_mid_backup_ends_it_with_its_own_error(
    host: SSHConnection, tree: Path, signing: SigningKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_directory_store(signing, tmp_path)

    def failing(key: str, chunks: Iterator[bytes], progress: object = None) -> tuple[str, int]:
        next(iter(chunks))
        raise PreconditionFailed("the disk is full.", key, "free space")

    monkeypatch.setattr(store, "put", failing)
    with pytest.raises(PreconditionFailed, match="disk is full"):
        back_up(host, tree, store)


@pytest.mark.parametrize("way", ["pull", "no curl", "unreachable", "plan says stream", "spoilt"])
def test_bytes_arrive_whichever_way_is_open(
    host: SSHConnection, tree: Path, signing: SigningKey, s3_endpoint: str, tmp_path: Path, way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Host pull, and the same pieces through the connection where it is not possible."""
    store = make_s3_store(
        s3_endpoint, signing, tmp_path, pull="stream" if way == "plan says stream" else "auto"
    )
    before = state_of(host, tree)
    point = back_up(host, tree, store)
    wanted = ("large", "second-name", "tool", "deep/-rf", "empty")
    action = action_for(point, store.manifest(point), tree, *wanted)
    for name in wanted:
        (tree / name).write_text("damaged")
    read: list[str] = []
    genuine = store.read

    def reading(key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        read.append(key)
        return genuine(key, offset, length)

    monkeypatch.setattr(store, "read", reading)
    if way == "no curl":
        monkeypatch.setattr("blocks.backups.transfer._CURL", "exit 127")
    elif way == "unreachable":
        monkeypatch.setattr(store, "presign", lambda *_: "http://127.0.0.1:9/nothing")
    elif way == "spoilt":
        genuine_url = store.presign(point.key, 600)
        assert genuine_url is not None
        other = store.presign("site/other/dump", 600)
        monkeypatch.setattr(store, "presign", lambda *_: other)
    performed = restore(host, tree, store, action)
    assert before == state_of(host, tree)
    assert performed.bytes >= (3 << 20) + 17
    assert (way == "pull") == (read.count(point.key) == 1)  # one byte, to know its length


@pytest.mark.parametrize("batch", [1 << 30, 1])
def test_small_neighbours_share_a_request(
    host: SSHConnection, signing: SigningKey, s3_endpoint: str, tmp_path: Path, batch: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """speed.md: one packed object instead of thousands of requests; the host still pulls all of it."""
    root = tmp_path / "small"
    root.mkdir()
    for number in range(60):
        (root / f"f{number:02d}").write_bytes(os.urandom(number * 37))
    (root / "m").write_bytes(os.urandom(2 << 20))
    store = make_s3_store(s3_endpoint, signing, tmp_path)
    point = back_up(host, root, store)
    before = state_of(host, root)
    for file in root.iterdir():
        file.write_bytes(b"damaged")
    monkeypatch.setattr("tasks.pull.BATCH", batch)
    monkeypatch.setattr("tasks.pull.SHARED", 50_000)
    ranges: list[str] = []
    genuine = pull._section

    def section(url: str, wanted: pull._Asked, object_bytes: int) -> str:
        ranges.append(wanted.output)
        return genuine(url, wanted, object_bytes)

    monkeypatch.setattr(pull, "_section", section)
    monkeypatch.setattr(store, "read", _only_lengths_and_empties(store))
    restore(host, root, store, action_for(point, store.manifest(point), root))
    assert before == state_of(host, root)
    assert 3 <= len(ranges) <= 5
    assert not list(Path(host.host.state_dir).rglob("*.range"))


def _only_lengths_and_empties(store: BackupStore) -> Callable[..., Iterator[bytes]]:
    """A `read` that serves manifests and single bytes, so that content can only have been pulled."""
    genuine = store.read

    def reading(key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        assert key.endswith("manifest.json") or length == 1
        return genuine(key, offset, length)

    return reading


def test_presigned_url_never_stands_in_argv(
    host: SSHConnection, tree: Path, signing: SigningKey, s3_endpoint: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """G9: no secret in argv, on the host or in its journal of jobs."""
    store = make_s3_store(s3_endpoint, signing, tmp_path)
    point = back_up(host, tree, store)
    flip(tree / "large")
    seen: list[str] = []
    genuine = elevate.words

    def listening(on: Host, command: Command, acting: str, tools: str = "") -> tuple[Arg, ...]:
        words = genuine(on, command, acting, tools)
        seen.append(" ".join(raw(word) for word in words))
        return words

    monkeypatch.setattr(elevate, "words", listening)
    restore(host, tree, store, action_for(point, store.manifest(point), tree, "large"))
    assert any("curl" in line for line in seen)
    assert not [line for line in seen if "Signature" in line or "http:" in line]


def test_full_staging_disk_leaves_the_live_tree_alone(
    host: SSHConnection, tree: Path, store: BackupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = back_up(host, tree, store)
    action = action_for(point, store.manifest(point), tree, "large")
    flip(tree / "large")
    before = state_of(host, tree)
    monkeypatch.setattr(
        "blocks.backups.transfer._UNPACK", "cat >/dev/null; echo 'No space left on device' >&2; exit 2"
    )
    monkeypatch.setattr(store, "presign", lambda *_: None)
    with pytest.raises(ReinstateError, match="No space left"):
        restore(host, tree, store, action)
    assert before == state_of(host, tree)
