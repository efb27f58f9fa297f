"""The directory store on full, failing and read-only disks."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from blocks.journals.directory import DirectoryJournal
from blocks.journals.verify import verify_incident
from model.errors import PreconditionFailed

from .builders import ID, filled, noted


@pytest.mark.parametrize("call", ["write", "fsync", "link", "open", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("healthy", range(5))
def test_a_full_or_failing_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, healthy: int
) -> None:
    """Fault: journal disk full, from the n-th call on. An append that fails left nothing, one that did not is there."""
    store = DirectoryJournal(tmp_path)
    filled(store, 3)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    works = getattr(os, call)
    calls = 0

    def fails(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls > healthy:
            raise OSError(code, os.strerror(code))
        return works(*args, **kwargs)

    failure: PreconditionFailed | None = None
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        try:
            store.append(ID, noted())
        except PreconditionFailed as caught:
            failure = caught
    if failure is not None:
        assert failure.remedy
        assert os.strerror(code) in str(failure)
        assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert (3 if failure else 4) == len(DirectoryJournal(tmp_path).read(ID))
    assert (4 if failure else 5) == store.append(ID, noted()).seq
    assert [] == verify_incident(tmp_path, ID)


@pytest.mark.lab
def test_a_real_full_and_then_read_only_disk_is_survived(tmp_path: Path) -> None:
    """Fault: journal disk full, then read-only, on a real small file system."""
    mount = tmp_path / "mount"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(mount)], check=True)
    try:
        store = DirectoryJournal(mount / "store")
        filled(store, 3)
        acknowledged = 3
        for number in range(10_000):
            try:
                acknowledged = store.append(ID, noted(number)).seq
            except PreconditionFailed as full:
                assert "No space left" in str(full)  # noqa: PT017 - what is counted is how far it came
                break
        count = len(store.read(ID))
        assert 3 < acknowledged == count < 10_000
        assert count == len(DirectoryJournal(mount / "store").read(ID))
        subprocess.run(["mount", "-o", "remount,size=512k", str(mount)], check=True)
        assert count + 1 == store.append(ID, noted()).seq
        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
        with pytest.raises(PreconditionFailed, match="Read-only"):
            store.append(ID, noted())
        assert count + 1 == len(store.read(ID))
    finally:
        subprocess.run(["umount", str(mount)], check=True)
