"""What every journal store promises (base.JournalStore)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from blocks.journals.base import JournalStore
from model.errors import BadInput, Refused
from model.journal import GENESIS, Noted, fold, verify_chain

from .builders import ID, OTHER, Factory, filled, noted, opened, run_all


def test_read_unknown_incident_is_empty(store: JournalStore) -> None:
    assert [] == store.read(ID)
    assert [] == store.incidents()


def test_append_then_read_returns_the_same_records(store: JournalStore) -> None:
    """R-REV-1: what happened is kept."""
    written = [store.append(ID, opened())] + [store.append(ID, noted(n)) for n in range(5)]
    assert written == store.read(ID)
    assert [1, 2, 3, 4, 5, 6] == [record.seq for record in written]
    assert GENESIS == written[0].previous
    assert [r.digest for r in written[:-1]] == [r.previous for r in written[1:]]
    assert all(record.signature for record in written)
    verify_chain(written)


def test_records_survive_the_process(factory: Factory, tmp_path: Path) -> None:
    filled(factory(tmp_path), 4)
    again = factory(tmp_path)
    assert 4 == len(again.read(ID))
    assert 5 == again.append(ID, noted()).seq
    assert fold(again.read(ID)).incident == opened().incident


def test_incidents_are_listed_oldest_first(store: JournalStore) -> None:
    filled(store, 1, OTHER)
    filled(store, 1, ID)
    assert [ID, OTHER] == store.incidents()


def test_incidents_do_not_mix(store: JournalStore) -> None:
    filled(store, 2, ID)
    filled(store, 3, OTHER)
    assert (2, 3) == (len(store.read(ID)), len(store.read(OTHER)))


def test_append_expecting_the_last_number_succeeds(store: JournalStore) -> None:
    assert 1 == store.append(ID, opened(), expect=0).seq
    assert 2 == store.append(ID, noted(), expect=1).seq


@pytest.mark.parametrize("expect", [0, 1, 3])
def test_append_expecting_another_number_is_refused(store: JournalStore, expect: int) -> None:
    filled(store, 2)
    with pytest.raises(Refused, match="another writer was first"):
        store.append(ID, noted(), expect=expect)
    assert 2 == len(store.read(ID))


def test_append_without_a_report_first_is_refused(store: JournalStore) -> None:
    with pytest.raises(BadInput, match="first record"):
        store.append(ID, noted())
    assert [] == store.incidents()


def test_append_a_second_report_is_refused(store: JournalStore) -> None:
    filled(store, 1)
    with pytest.raises(Refused, match="open already"):
        store.append(ID, opened())


def test_append_the_report_of_another_incident_is_refused(store: JournalStore) -> None:
    with pytest.raises(BadInput, match="does not belong"):
        store.append(ID, opened(OTHER))


BAD_IDS = [
    "",
    "x",
    "../etc",
    ID + "\n",
    "/" + ID,
    ID + "/..",
    ID.upper(),
    ID + "\0",
    "inc-\uff120250101-120000-00aa",
]


@pytest.mark.parametrize("incident", BAD_IDS)
def test_a_wrong_incident_id_is_refused(store: JournalStore, incident: str) -> None:
    """G10: an id never leaves the store."""
    with pytest.raises(BadInput):
        store.read(incident)
    with pytest.raises(BadInput):
        store.append(incident, noted())
    with pytest.raises(BadInput):
        store.lease("host", incident, "me", 10)


def test_a_document_is_put_and_got(store: JournalStore) -> None:
    data = bytes(range(256)) * 10
    assert hashlib.sha256(data).hexdigest() == store.put("plans/a/b.yaml", data)
    assert data == store.get("plans/a/b.yaml")
    store.put("plans/a/b.yaml", b"newer")
    assert b"newer" == store.get("plans/a/b.yaml")


def test_a_missing_document_is_none(store: JournalStore) -> None:
    store.put("plans/a", b"1")
    assert store.get("plans/b") is None
    assert store.get("plans") is None
    assert store.get("plans/a/deeper") is None


BAD_PATHS = [
    "", "/", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "a/./b", "a//b", "a/", ".hidden", "-rf", "a/-rf",
    "a\0b", "a\nb", "a b", "ä", "a\\b", "x" * 200, "/".join("a" * 20), "~/x",
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_could_leave_the_store_is_refused(store: JournalStore, path: str) -> None:
    """G10."""
    with pytest.raises(BadInput):
        store.put(path, b"x")
    with pytest.raises(BadInput):
        store.get(path)
    with pytest.raises(BadInput):
        store.folder(path)


def test_a_bulk_folder_is_private_and_stays(store: JournalStore) -> None:
    folder = store.folder(f"evidence/{ID}")
    (folder / "file").write_bytes(b"x")
    assert 0o700 == folder.stat().st_mode & 0o777
    assert b"x" == (store.folder(f"evidence/{ID}") / "file").read_bytes()


def test_a_code_is_used_once_and_the_same_claim_may_read_it_again(store: JournalStore) -> None:
    """Attack: code used twice."""
    assert store.use_code("ann", 7, "claim one")
    assert store.use_code("ann", 7, "claim one")
    assert not store.use_code("ann", 7, "claim two")
    assert store.use_code("ann", 8, "claim two")
    assert store.use_code("bob", 7, "claim two")
    assert ("claim one", "claim two", None) == (
        store.claim_of("ann", 7), store.claim_of("bob", 7), store.claim_of("bob", 8),
    )  # fmt: skip


@pytest.mark.parametrize("person", ["", "..", "a/b", "-x", "a\n"])
def test_a_wrong_person_of_a_code_is_refused(store: JournalStore, person: str) -> None:
    with pytest.raises(BadInput):
        store.use_code(person, 1, "claim")
    with pytest.raises(BadInput):
        store.claim_of(person, 1)


def _append(factory: Factory, root: Path, name: int, count: int) -> None:
    store = factory(root)
    for number in range(count):
        store.append(ID, noted(f"{name}/{number}"))


@pytest.mark.parametrize("writers", [2, 8])
def test_concurrent_writers_lose_nothing(factory: Factory, tmp_path: Path, writers: int) -> None:
    """Every acknowledged record of every process is there once, and there is no gap."""
    filled(factory(tmp_path), 1)
    run_all(_append, [(factory, tmp_path, name, 50) for name in range(writers)])
    records = factory(tmp_path).read(ID)
    sentences = [record.payload.sentence for record in records if isinstance(record.payload, Noted)]
    expected = {noted(f"{name}/{number}").sentence for name in range(writers) for number in range(50)}
    assert expected == set(sentences)
    assert 50 * writers == len(sentences)
    for name in range(writers):  # each writer's own order is kept
        own = [text for text in sentences if text.startswith(f"Note {name}/")]
        assert [noted(f"{name}/{number}").sentence for number in range(50)] == own


def _open(factory: Factory, root: Path, name: int) -> None:
    store = factory(root)
    try:
        store.append(ID, opened(), expect=0)
        store.put(f"winners/{name}", b"")
    except Refused:
        store.put(f"losers/{name}", b"")


def test_of_racing_writers_that_expect_one_wins(factory: Factory, tmp_path: Path) -> None:
    run_all(_open, [(factory, tmp_path, name) for name in range(8)])
    store = factory(tmp_path)
    assert 1 == sum(store.get(f"winners/{name}") is not None for name in range(8))
    assert 7 == sum(store.get(f"losers/{name}") is not None for name in range(8))
    assert 1 == len(store.read(ID))


def _use(factory: Factory, root: Path, name: int) -> None:
    store = factory(root)
    for step in range(30):
        if store.use_code("ann", step, f"claim {name}"):
            store.put(f"used/{step}-{name}", b"")


def test_of_racing_claims_for_a_code_one_wins(factory: Factory, tmp_path: Path) -> None:
    run_all(_use, [(factory, tmp_path, name) for name in range(4)])
    store = factory(tmp_path)
    winners = [sum(store.get(f"used/{s}-{n}") is not None for n in range(4)) for s in range(30)]
    assert [1] * 30 == winners
