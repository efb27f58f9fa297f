"""The directory store: crashes, full and read-only disks, damage, speed, modes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from blocks import durable
from blocks.home import home, open_store
from blocks.journals import sealed
from blocks.journals.directory import DirectoryJournal
from blocks.journals.verify import verify_incident
from model.canonical import canonical_json, digest
from model.errors import BadInput, Damaged, PreconditionFailed, Transient, Unsupported

from .builders import FORK, ID, filled, noted, opened


def _write_for_ever(root: Path, progress: str) -> None:
    store = DirectoryJournal(root)
    with Path(progress).open("ab", buffering=0) as acknowledged:
        number = 0
        while True:
            record = store.append(ID, noted(f"{os.getpid()}/{number}"))
            acknowledged.write(f"{record.seq} {record.digest}\n".encode())
            number += 1


def test_writer_killed_at_any_time_leaves_a_valid_journal(tmp_path: Path) -> None:
    """Kill -9 in a loop while another reads: always valid, and what was acknowledged is there (N3, N4)."""
    root, progress = tmp_path / "store", tmp_path / "progress"
    reader = filled(DirectoryJournal(root), 1)
    progress.touch()
    fresh = reader.read(ID)
    for round_ in range(40):
        writer = FORK.Process(target=_write_for_ever, args=(root, str(progress)))
        writer.start()
        until = time.monotonic() + 0.02 + 0.0037 * round_
        while time.monotonic() < until:
            reader.read(ID)
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        count = len(reader.read(ID))
        fresh = DirectoryJournal(root).read(ID)
        assert count == len(fresh)
    acknowledged = [line.split() for line in progress.read_text().splitlines()]
    digests = {record.seq: record.digest for record in fresh}
    assert len(acknowledged) > 4
    assert [] == [line for line in acknowledged if digests[int(line[0])] != line[1]]
    reader.append(ID, noted("last"))
    assert [] == verify_incident(root, ID)


def test_crash_between_record_and_head_is_repaired_by_the_next_read(tmp_path: Path) -> None:
    store = DirectoryJournal(tmp_path)
    filled(store, 3)
    before = (tmp_path / "heads" / f"{ID}.json").read_bytes()
    store.append(ID, noted("crash"))
    (tmp_path / "heads" / f"{ID}.json").write_bytes(before)
    assert [] == verify_incident(tmp_path, ID)
    assert 4 == len(DirectoryJournal(tmp_path).read(ID))
    (tmp_path / "journal" / ID / "000004.json").unlink()
    with pytest.raises(Damaged, match="tail was cut"):
        store.read(ID)


def test_crash_between_first_record_and_head_goes_on(tmp_path: Path) -> None:
    filled(DirectoryJournal(tmp_path), 1)
    (tmp_path / "heads" / f"{ID}.json").unlink()
    assert 2 == DirectoryJournal(tmp_path).append(ID, noted()).seq
    assert [] == verify_incident(tmp_path, ID)


def test_head_removed_or_put_back_is_damaged(tmp_path: Path) -> None:
    store = DirectoryJournal(tmp_path)
    filled(store, 2)
    head = tmp_path / "heads" / f"{ID}.json"
    old = head.read_bytes()
    store.append(ID, noted())
    store.append(ID, noted())
    head.write_bytes(old)
    with pytest.raises(Damaged, match="head was put back"):
        store.read(ID)
    head.unlink()
    with pytest.raises(Damaged, match="head was put back"):
        store.append(ID, noted())


def test_journal_folder_removed_is_damaged_and_still_listed(tmp_path: Path) -> None:
    store = DirectoryJournal(tmp_path)
    filled(store, 3)
    shutil.rmtree(tmp_path / "journal" / ID)
    assert [ID] == store.incidents()
    with pytest.raises(Damaged, match="tail was cut"):
        store.read(ID)


def test_a_byte_changed_after_a_read_is_found_by_the_next_read(tmp_path: Path) -> None:
    """What is remembered between reads hides nothing, not even with size and time stamps put back."""
    store = DirectoryJournal(tmp_path)
    filled(store, 5)
    store.read(ID)
    file = tmp_path / "journal" / ID / "000003.json"
    times, raw = file.stat(), file.read_bytes()
    file.write_bytes(raw.replace(b"Note 3", b"Note 4"))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(Damaged, match="signature"):
        store.read(ID)
    file.write_bytes(raw)
    assert 5 == len(store.read(ID))


def test_a_foreign_file_among_the_records_is_damaged(tmp_path: Path) -> None:
    store = DirectoryJournal(tmp_path)
    filled(store, 2)
    (tmp_path / "journal" / ID / "000009.json").write_text("{}")
    with pytest.raises(Damaged, match="record 3 is missing"):
        store.read(ID)


def test_a_record_of_a_newer_version_is_unsupported_not_damaged(tmp_path: Path) -> None:
    store = DirectoryJournal(tmp_path)
    filled(store, 2)
    file = tmp_path / "journal" / ID / "000002.json"
    data = json.loads(file.read_bytes())
    data["payload"]["extra"] = "unknown to us"
    del data["signature"]
    sealed_digest = digest(data)
    file.write_bytes(canonical_json(data | {"signature": store.key.sign(sealed_digest.encode())}))
    head = {"digest": sealed_digest, "incident": ID, "seq": 2}
    (tmp_path / "heads" / f"{ID}.json").write_bytes(
        canonical_json(head | {"signature": store.key.sign(canonical_json(head))})
    )
    with pytest.raises(Unsupported, match="cannot read"):
        DirectoryJournal(tmp_path).read(ID)
    assert [] == verify_incident(tmp_path, ID)


def test_every_file_is_private(tmp_path: Path) -> None:
    """All modes 700 and 600, whatever the umask."""
    root = tmp_path / "store"
    before = os.umask(0)
    try:
        store = DirectoryJournal(root)
        filled(store, 2)
        store.lease("host", ID, "me", 60)
        store.use_code("ann", 1, "claim")
        store.put("plans/a", b"x")
        store.folder("evidence/a")
    finally:
        os.umask(before)
    wrong = [
        (path, oct(path.stat().st_mode & 0o777))
        for path in [root, *root.rglob("*")]
        if path.stat().st_mode & 0o777 != (0o700 if path.is_dir() else 0o600) and path.parent.name != "public"
    ]
    assert [] == wrong


def test_a_link_out_of_the_store_is_refused(tmp_path: Path) -> None:
    store = DirectoryJournal(tmp_path / "store")
    (tmp_path / "store" / "documents" / "out").symlink_to(tmp_path)
    with pytest.raises(BadInput, match="leads out"):
        store.put("out/x", b"x")
    assert not (tmp_path / "x").exists()


def test_a_document_below_a_document_is_refused(tmp_path: Path) -> None:
    store = DirectoryJournal(tmp_path)
    store.put("a", b"x")
    store.put("b/c", b"x")
    with pytest.raises(PreconditionFailed):
        store.put("a/b", b"x")
    with pytest.raises(BadInput):
        store.put("b", b"x")


def test_leftovers_of_killed_writers_are_swept(tmp_path: Path) -> None:
    DirectoryJournal(tmp_path)
    old, young = tmp_path / "spool" / "old", tmp_path / "spool" / "young"
    for file in (old, young):
        file.touch()
    os.utime(old, (0, 0))
    DirectoryJournal(tmp_path)
    assert (False, True) == (old.exists(), young.exists())


def test_a_damaged_lease_stops_and_never_lets_the_token_fall(tmp_path: Path) -> None:
    store = DirectoryJournal(tmp_path)
    store.lease("host", ID, "me", 60)
    (tmp_path / "leases" / "host" / "00000001.json").write_text("{}")
    with pytest.raises(Damaged, match="not a lease"):
        store.lease("host", ID, "me", 60)


def test_a_lock_held_for_long_is_transient(tmp_path: Path) -> None:
    with (
        durable.locked(tmp_path / "lock"),
        pytest.raises(Transient, match="another process holds it"),
        durable.locked(tmp_path / "lock", patience=0.05),
    ):
        pass


def test_reading_500_records_stays_cheap(tmp_path: Path) -> None:
    """Processor time, best of five: other work on the machine is not the store's."""
    store = DirectoryJournal(tmp_path)
    filled(store, 1)
    last = sealed.unseal_record(
        (tmp_path / "journal" / ID / "000001.json").read_bytes(), store.key.verify, "first"
    )
    for number in range(2, 501):
        raw, last = sealed.seal_record(store.key, ID, noted(number), last)
        (tmp_path / "journal" / ID / f"{number:06d}.json").write_bytes(raw)
    (tmp_path / "heads" / f"{ID}.json").write_bytes(sealed.seal_head(store.key, last))
    known: list[float] = []
    fresh: list[float] = []
    for _ in range(5):
        for kind, reader in ((known, store), (fresh, DirectoryJournal(tmp_path))):
            begin = time.process_time()
            assert 500 == len(reader.read(ID))
            kind.append(time.process_time() - begin)
    assert min(known) < 0.6
    assert min(fresh) < 0.6


def test_home_is_the_environments_else_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "here"))
    assert tmp_path / "here" == home()
    store = open_store()
    store.append(ID, opened())
    assert [ID] == open_store(tmp_path / "here").incidents()
    monkeypatch.setenv("REINSTATE_HOME", "relative")
    with pytest.raises(BadInput, match="absolute"):
        home()
    monkeypatch.delenv("REINSTATE_HOME")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path / ".local" / "share" / "reinstate" == home()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Path("/var/lib/reinstate") == home()
