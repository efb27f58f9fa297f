"""The snapshot and the way back: P is restored bit for bit (N1), found damaged when it is (N5, G4)."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model.canonical import digest
from model.errors import Damaged, PreconditionFailed, ReinstateError, Transient
from model.manifest import FileType
from tasks.snapshot import SnapshotManifest, load_snapshot, take_snapshot, verify_snapshot
from tasks.undo import roll_back_files
from tests.tasks.localhost import JobHost, fingerprint, quiet

ODD = "odd \\n \\0134 \n'\"$(id)*?é"
ROOT = os.geteuid() == 0


@pytest.fixture
def host(tmp_path: Path) -> JobHost:
    return JobHost(tmp_path / "state")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A live tree with all kinds of files."""
    root = tmp_path / "live"
    for folder in ("etc", "bin", "lib/deep", "empty", "sticky"):
        (root / folder).mkdir(parents=True)
    (root / "etc/app.conf").write_text("port = 80\n")
    (root / "etc" / ODD).write_bytes(os.urandom(3000))
    (root / "etc/-rf").write_text("dash\n")
    Path(os.fsdecode(os.fsencode(root) + b"/etc/latin-\xe9")).write_text("not UTF-8\n")
    (root / "bin/app").write_bytes(os.urandom(700_001))
    (root / "bin/app").chmod(0o4755)
    (root / "bin/zero").touch()
    os.link(root / "bin/app", root / "bin/app-alias")
    (root / "lib/so").symlink_to("deep/missing target\n")
    (root / "lib/absolute").symlink_to("/etc/shadow")
    os.mkfifo(root / "lib/deep/pipe")
    (root / "sticky").chmod(0o1777)
    if ROOT:
        os.chown(root / "etc/app.conf", 1234, 4321)
        os.lchown(root / "lib/so", 77, 78)
    with contextlib.suppress(
        OSError
    ):  # a file system without extended attributes; the rest is still compared
        os.setxattr(root / "etc/app.conf", "user.note", b"\x00\xff\n=binary")
    old = 1_600_000_000_123_456_789
    for path in [*sorted(root.rglob("*"), reverse=True), root]:
        os.utime(path, ns=(old, old), follow_symlinks=False)
        old += 1_000_000_007
    return root


def paths_of(tree: Path) -> list[str]:
    return [str(tree), *map(str, tree.rglob("*"))]


def wreck(tree: Path) -> None:
    """What a repair, a failed repair and bad luck can do."""
    (tree / "etc/app.conf").write_text("port = 8080\n")
    (tree / "etc" / ODD).unlink()
    (tree / "etc/-rf").chmod(0o600)
    (tree / "bin/app").unlink()
    (tree / "bin/app").write_bytes(b"new")
    (tree / "bin/zero").unlink()
    (tree / "bin/zero").mkdir()
    (tree / "bin/zero/inside").write_text("kept")
    (tree / "lib/so").unlink()
    (tree / "lib/so").write_text("a file now")
    (tree / "lib/deep/pipe").unlink()
    (tree / "empty").rmdir()
    (tree / "empty").write_text("was a folder")
    (tree / "sticky").chmod(0o700)
    shutil.rmtree(tree / "lib/deep")


def test_roll_back_after_every_kind_of_change_restores_bit_for_bit(
    host: JobHost, tree: Path, tmp_path: Path
) -> None:
    """N1, the bar of "rollback": the independent fingerprint of the tree is the same."""
    before = fingerprint(tree)
    manifest = take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    assert before == fingerprint(tree)
    assert len(paths_of(tree)) == len(manifest.entries)
    wreck(tree)
    performed = roll_back_files(
        host, tmp_path / "snap", None, job_prefix="inc-1-undo-a01-1", token=3, progress=quiet
    )
    assert before == fingerprint(tree)
    assert ["inc-1-undo-a01-1-undo"] == list(host.jobs)
    assert "set-aside" in performed.sentence
    assert "kept" == (tmp_path / "state/set-aside/inc-1-undo-a01-1/1/inside").read_text()


def test_roll_back_without_tar_on_the_host_restores_bit_for_bit(
    host: JobHost, tree: Path, tmp_path: Path
) -> None:
    """A missing `tar` is one of the damages (lab.md): neither snapshot nor way back may need it."""
    (tree / "lib/deep/pipe").unlink()
    with contextlib.suppress(OSError):
        os.removexattr(tree / "etc/app.conf", "user.note")
    for folder in (tree / "lib/deep", tree / "etc"):
        os.utime(folder, ns=(7, 1_600_000_000_000_000_007))
    tools = tmp_path / "tools"
    tools.mkdir()
    for programs in ("/usr/bin", "/bin"):
        for tool in Path(programs).iterdir():
            if tool.name != "tar" and not (tools / tool.name).exists():
                (tools / tool.name).symlink_to(tool)
    bare = JobHost(tmp_path / "state", path=str(tools))
    before = fingerprint(tree)
    take_snapshot(bare, paths_of(tree), tmp_path / "snap", quiet)
    wreck_again = tree / "bin/app"
    wreck_again.unlink()
    (tree / "etc" / ODD).write_text("x")
    (tree / "lib/so").unlink()
    roll_back_files(bare, tmp_path / "snap", None, job_prefix="inc-1-undo-a01-1", token=3, progress=quiet)
    # Hard links are told apart by inode: that one of two was replaced is put right with tar only.
    assert {k: v[:-1] for k, v in before.items()} == {k: v[:-1] for k, v in fingerprint(tree).items()}


def test_roll_back_removes_what_was_absent_and_the_folders_made_for_it(
    host: JobHost, tree: Path, tmp_path: Path
) -> None:
    """Absent is a state too: new files, links and their new folders go, nothing else does."""
    before = fingerprint(tree)
    new = [str(tree / "new/deep/file"), str(tree / "etc/added"), str(tree / "bin/link")]
    manifest = take_snapshot(host, new, tmp_path / "snap", quiet)
    assert {FileType.ABSENT} == {entry.type for entry in manifest.entries}
    (tree / "new/deep").mkdir(parents=True)
    for path in new[:2]:
        Path(path).write_text("made by the repair")
    Path(new[2]).symlink_to("app")
    roll_back_files(host, tmp_path / "snap", None, job_prefix="inc-1-undo-a01-1", token=3, progress=quiet)
    assert before == fingerprint(tree)


def test_roll_back_of_some_paths_leaves_the_others(host: JobHost, tree: Path, tmp_path: Path) -> None:
    """An action is undone alone."""
    take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    (tree / "etc/app.conf").write_text("one")
    (tree / "bin/app").write_bytes(b"two")
    roll_back_files(
        host, tmp_path / "snap", [str(tree / "etc/app.conf")], job_prefix="i-undo-1", token=3, progress=quiet
    )
    assert "port = 80\n" == (tree / "etc/app.conf").read_text()
    assert b"two" == (tree / "bin/app").read_bytes()


def test_roll_back_twice_does_nothing_the_second_time(host: JobHost, tree: Path, tmp_path: Path) -> None:
    """G2: executing twice equals once."""
    take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    wreck(tree)
    roll_back_files(host, tmp_path / "snap", None, job_prefix="i-undo-a01-1", token=3, progress=quiet)
    again = roll_back_files(host, tmp_path / "snap", None, job_prefix="i-undo-a01-2", token=3, progress=quiet)
    pushed = again.bytes
    assert "port = 80\n" == (tree / "etc/app.conf").read_text()
    # A file with extended attributes is always sent again: nobody can see from outside whether it still has them.
    assert pushed <= len("port = 80\n")


def test_roll_back_moves_only_what_differs(host: JobHost, tree: Path, tmp_path: Path) -> None:
    """speed.md: bytes moved are the bytes damaged."""
    take_snapshot(host, [str(tree / "bin/app"), str(tree / "etc" / ODD)], tmp_path / "snap", quiet)
    (tree / "etc" / ODD).write_text("x")
    (tree / "bin/app").chmod(0o700)
    done = roll_back_files(host, tmp_path / "snap", None, job_prefix="i-undo-1", token=3, progress=quiet)
    assert 3000 == done.bytes
    assert 0o4755 == (tree / "bin/app").stat().st_mode & 0o7777


def test_roll_back_interrupted_in_the_middle_goes_on_with_a_new_job(
    host: JobHost, tree: Path, tmp_path: Path
) -> None:
    """A rollback that is killed is finished by the next (fault matrix)."""
    before = fingerprint(tree)
    take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    wreck(tree)
    (tree / "etc" / ODD).mkdir()
    real = tmp_path / "state/set-aside"
    (tree / "etc" / ODD / "inside").write_text("in the way")
    real.parent.mkdir(parents=True, exist_ok=True)
    real.write_text("a file where the folder must be made")
    with pytest.raises(ReinstateError, match="could not be put into place"):
        roll_back_files(host, tmp_path / "snap", None, job_prefix="i-undo-1", token=3, progress=quiet)
    real.unlink()
    roll_back_files(host, tmp_path / "snap", None, job_prefix="i-undo-2", token=3, progress=quiet)
    assert before == fingerprint(tree)


def test_roll_back_of_a_path_outside_the_snapshot_is_refused(
    host: JobHost, tree: Path, tmp_path: Path
) -> None:
    """Nothing that was not preserved is touched (G4)."""
    take_snapshot(host, [str(tree / "bin/app")], tmp_path / "snap", quiet)
    with pytest.raises(PreconditionFailed, match="not in the snapshot"):
        roll_back_files(host, tmp_path / "snap", ["/etc/passwd"], job_prefix="i-1", token=3, progress=quiet)
    assert {} == host.jobs


@pytest.mark.parametrize("place", [0.01, 0.3, 0.5, 0.7, 0.99])
def test_snapshot_with_one_byte_changed_is_found_and_not_used(
    host: JobHost, tree: Path, tmp_path: Path, place: float
) -> None:
    """Corruption is found before the swap (bars: 100 %)."""
    manifest = take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    archive = bytearray((tmp_path / "snap" / manifest.archive).read_bytes())
    archive[int(len(archive) * place)] ^= 1
    (tmp_path / "snap" / manifest.archive).write_bytes(archive)
    (tree / "etc/app.conf").write_text("now")
    with pytest.raises(Damaged):
        verify_snapshot(tmp_path / "snap")
    with pytest.raises(Damaged):
        roll_back_files(host, tmp_path / "snap", None, job_prefix="i-1", token=3, progress=quiet)
    assert {} == host.jobs


def test_snapshot_cut_off_or_missing_is_found(host: JobHost, tree: Path, tmp_path: Path) -> None:
    manifest = take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    archive = tmp_path / "snap" / manifest.archive
    for size in (archive.stat().st_size - 20_000, 512, 100, 0):
        os.truncate(archive, size)
        with pytest.raises(Damaged):
            verify_snapshot(tmp_path / "snap")
    archive.unlink()
    with pytest.raises(Damaged):
        verify_snapshot(tmp_path / "snap")
    (tmp_path / "snap/manifest.json").write_text("{}")
    with pytest.raises(Damaged):
        load_snapshot(tmp_path / "snap")


def test_snapshot_taken_again_of_the_same_host_is_the_same(host: JobHost, tree: Path, tmp_path: Path) -> None:
    """G2; and the manifest read back has the digest that is signed into the journal."""
    first = take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    again = take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    assert digest(first) == digest(again) == digest(load_snapshot(tmp_path / "snap"))


def test_snapshot_taken_again_after_a_change_keeps_the_first(
    host: JobHost, tree: Path, tmp_path: Path
) -> None:
    """A snapshot is never overwritten."""
    take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    (tree / "etc/app.conf").write_text("other")
    second = take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    assert second == verify_snapshot(tmp_path / "snap")
    assert 1 == len(list((tmp_path / "snap").glob("superseded-*.tar")))


def test_snapshot_of_a_file_that_changes_once_is_consistent(
    host: JobHost, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log written meanwhile is read again; the archive holds what the manifest says."""
    changes: list[Callable[[], object]] = [
        lambda: (tree / "etc/app.conf").write_text("changed during the copy")
    ]
    manifest = _take_while(host, tree, tmp_path, monkeypatch, changes)
    assert manifest == verify_snapshot(tmp_path / "snap")


def test_snapshot_of_a_file_that_never_rests_is_transient_and_names_it(
    host: JobHost, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grow() -> None:
        with (tree / "etc/app.conf").open("a") as log:
            log.write("line\n")

    with pytest.raises(Transient, match=r"app\.conf keeps changing"):
        _take_while(host, tree, tmp_path, monkeypatch, [grow] * 9)
    assert not (tmp_path / "snap/manifest.json").exists()


def _take_while(
    host: JobHost,
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: list[Callable[[], object]],
) -> SnapshotManifest:
    run = host.run

    def changing(command: object, **options: object) -> object:
        if "--create" in command.argv and changes:  # type: ignore[attr-defined]  # a Command
            changes.pop(0)()
        return run(command, **options)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(host, "run", changing)
    return take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)


def test_snapshot_of_nothing_but_absent_paths_verifies(host: JobHost, tmp_path: Path) -> None:
    take_snapshot(host, [str(tmp_path / "none")], tmp_path / "snap", quiet)
    assert FileType.ABSENT is verify_snapshot(tmp_path / "snap").entries[0].type
