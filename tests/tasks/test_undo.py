"""The way back: P is restored bit for bit (N1), and only what was preserved is touched (G4)."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from model.assets import ServiceAsset
from model.errors import PreconditionFailed, ReinstateError
from model.manifest import FileType
from tasks.snapshot import take_snapshot
from tasks.undo import roll_back_files
from tests.tasks.livetree import ODD, make_tree, paths_of
from tests.tasks.localhost import JobHost, fingerprint, quiet


@pytest.fixture
def host(tmp_path: Path) -> JobHost:
    return JobHost(tmp_path / "state")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "live")


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


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="needs a second mount to stage on")
def test_roll_back_with_the_staging_on_another_mount_restores_bit_for_bit(tree: Path, tmp_path: Path) -> None:
    """The state directory may lie on another file system: each path still changes in one rename (N2)."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        host = JobHost(Path(elsewhere))
        with contextlib.suppress(OSError):  # memory has no extended attributes of users: they are tried above
            os.removexattr(tree / "etc/app.conf", "user.note")
        before = fingerprint(tree)
        take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
        wreck(tree)
        roll_back_files(host, tmp_path / "snap", None, job_prefix="i-undo-a01-1", token=3, progress=quiet)
        assert before == fingerprint(tree)


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


def test_roll_back_stops_what_stood_still_at_the_restore(host: JobHost, tree: Path, tmp_path: Path) -> None:
    """N2 holds on the way back, too; a second time nothing changes, so nothing is stopped."""
    take_snapshot(host, paths_of(tree), tmp_path / "snap", quiet)
    wreck(tree)
    shop = ServiceAsset(
        kind="service", host="web-1", start=("true",), stop=("rm", str(tmp_path / "runs")),
        status=("test", "-e", str(tmp_path / "runs")),
    )  # fmt: skip
    (tmp_path / "runs").touch()
    for attempt in (1, 2):
        roll_back_files(
            host, tmp_path / "snap", None, job_prefix=f"i-undo-a01-{attempt}", token=3, progress=quiet,
            services={"shop": shop},
        )  # fmt: skip
    assert ["was-shop-0", "stop-shop-0", "undo", "start-shop-0"] == [
        name.removeprefix("i-undo-a01-1-") for name in host.jobs
    ]


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
