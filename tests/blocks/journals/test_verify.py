"""The offline verifier finds every alteration (bar: journal altered, 100 % found), and the store refuses to read on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.journals.directory import DirectoryJournal
from blocks.journals.verify import verify_incident
from blocks.keys import SigningKey
from model.canonical import canonical_json
from model.errors import BadInput, Damaged

from .builders import ID, OTHER, filled, noted

RECORDS = 6


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("original") / "store"
    filled(DirectoryJournal(root), RECORDS)
    filled(DirectoryJournal(root), 3, OTHER)
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "store")
    return tmp_path / "store"


def record(root: Path, number: int, incident: str = ID) -> Path:
    return root / "journal" / incident / f"{number:06d}.json"


def assert_found(root: Path, by_store: bool = True) -> list[str]:
    problems = verify_incident(root, ID)
    assert problems
    if by_store:
        with pytest.raises(Damaged):
            DirectoryJournal(root).read(ID)
    return problems


def test_an_untouched_journal_has_no_problem(root: Path) -> None:
    assert [] == verify_incident(root, ID)
    assert [] == verify_incident(root, OTHER)


def test_an_unknown_incident_is_a_problem_and_a_wrong_id_is_refused(root: Path) -> None:
    """G11: nothing to verify is not a pass."""
    assert verify_incident(root, "inc-20250101-120000-ffff")
    with pytest.raises(BadInput):
        verify_incident(root, "../journal")


@pytest.mark.parametrize("number", range(1, RECORDS + 1))
def test_each_flipped_byte_is_found_and_the_file_named(root: Path, number: int) -> None:
    """Every byte of every record, one bit each."""
    file = record(root, number)
    raw = file.read_bytes()
    missed = []
    for place in range(len(raw)):
        file.write_bytes(raw[:place] + bytes([raw[place] ^ (1 << place % 8)]) + raw[place + 1 :])
        if not any(str(file) in problem for problem in verify_incident(root, ID)):
            missed.append(place)
    assert [] == missed
    assert_found(root)


def test_each_flipped_byte_of_the_head_is_found(root: Path) -> None:
    file = root / "heads" / f"{ID}.json"
    raw = file.read_bytes()
    missed = []
    for place in range(len(raw)):
        file.write_bytes(raw[:place] + bytes([raw[place] ^ (1 << place % 8)]) + raw[place + 1 :])
        if not verify_incident(root, ID):
            missed.append(place)
    assert [] == missed
    assert_found(root)


def test_each_flipped_byte_of_the_public_key_is_found(root: Path) -> None:
    (file,) = (root / "keys" / "public").iterdir()
    raw = file.read_bytes()
    missed = []
    for place in range(len(raw)):
        file.write_bytes(raw[:place] + bytes([raw[place] ^ (1 << place % 8)]) + raw[place + 1 :])
        if not verify_incident(root, ID):
            missed.append(place)
    assert [] == missed


@pytest.mark.parametrize("number", range(1, RECORDS + 1))
def test_a_removed_record_is_found(root: Path, number: int) -> None:
    record(root, number).unlink()
    assert_found(root)


@pytest.mark.parametrize("number", range(1, RECORDS + 1))
def test_a_removed_record_with_the_rest_moved_up_is_found(root: Path, number: int) -> None:
    record(root, number).unlink()
    for later in range(number + 1, RECORDS + 1):
        record(root, later).rename(record(root, later - 1))
    assert_found(root)


@pytest.mark.parametrize("keep", range(RECORDS))
def test_a_cut_tail_is_found_with_or_without_its_head(root: Path, keep: int) -> None:
    for number in range(keep + 1, RECORDS + 1):
        record(root, number).unlink()
    assert_found(root)
    (root / "heads" / f"{ID}.json").unlink()
    if keep > 1:
        assert_found(root)


@pytest.mark.parametrize("first", range(1, RECORDS + 1))
@pytest.mark.parametrize("second", range(1, RECORDS + 1))
def test_two_swapped_records_are_found(root: Path, first: int, second: int) -> None:
    if first == second:
        assert [] == verify_incident(root, ID)
        return
    one, two = record(root, first).read_bytes(), record(root, second).read_bytes()
    record(root, first).write_bytes(two)
    record(root, second).write_bytes(one)
    assert_found(root)


@pytest.mark.parametrize("number", range(1, RECORDS + 1))
@pytest.mark.parametrize(
    "name", [f"{RECORDS + 1:06d}.json", "0000001.json", "000000.json", "x.json", "000001.json~"]
)
def test_a_duplicated_record_is_found(root: Path, number: int, name: str) -> None:
    (record(root, number).parent / name).write_bytes(record(root, number).read_bytes())
    assert_found(root)


@pytest.mark.parametrize("number", range(1, 4))
def test_a_record_of_another_incident_is_found(root: Path, number: int) -> None:
    record(root, number).write_bytes(record(root, number, OTHER).read_bytes())
    assert_found(root)


def test_the_head_of_another_incident_is_found(root: Path) -> None:
    (root / "heads" / f"{ID}.json").write_bytes((root / "heads" / f"{OTHER}.json").read_bytes())
    assert_found(root)


def rechain(root: Path, number: int, sign: Callable[[bytes], str] | None) -> None:
    """Change a record's words, then make every later record and the head follow, as one who knows the format would."""
    previous, last = "0" * 64, ""
    for position in range(1, RECORDS + 1):
        data = json.loads(record(root, position).read_bytes())
        signature = data.pop("signature")
        if position == number:
            if position == 1:
                data["payload"]["incident"]["summary"] = "nothing happened"
            else:
                data["payload"]["sentence"] = "nothing happened"
        data["previous"] = previous
        previous = last = hashlib.sha256(canonical_json(data)).hexdigest()
        data["signature"] = sign(previous.encode()) if sign else signature
        record(root, position).write_bytes(canonical_json(data))
    head = {"incident": ID, "seq": RECORDS, "digest": last}
    signature = sign(canonical_json(head)) if sign else "A" * 86 + "=="
    (root / "heads" / f"{ID}.json").write_bytes(canonical_json(head | {"signature": signature}))


@pytest.mark.parametrize("number", range(1, RECORDS + 1))
def test_a_rechained_journal_without_the_key_is_found(root: Path, number: int) -> None:
    rechain(root, number, None)
    assert_found(root)


@pytest.mark.parametrize("number", range(1, RECORDS + 1))
def test_a_rechained_journal_with_another_key_is_found(root: Path, tmp_path: Path, number: int) -> None:
    rechain(root, number, SigningKey.load_or_create(tmp_path / "forger").sign)
    assert_found(root)


def test_a_key_planted_beside_the_journal_is_found_with_a_copy_of_ours(root: Path, tmp_path: Path) -> None:
    """Trust no key that lies beside what it proves: `--key` names a copy kept elsewhere."""
    (ours,) = (root / "keys" / "public").iterdir()
    kept = shutil.copy(ours, tmp_path / "kept.pem")
    rechain(root, 3, SigningKey.load_or_create(tmp_path / "forger").sign)
    for planted in (tmp_path / "forger" / "public").iterdir():
        shutil.copy(planted, root / "keys" / "public")
    assert verify_incident(root, ID, key=Path(kept))


def test_an_added_record_without_the_key_is_found(root: Path) -> None:
    data = json.loads(record(root, RECORDS).read_bytes())
    data |= {"seq": RECORDS + 1, "previous": "0" * 64}
    record(root, RECORDS + 1).write_bytes(canonical_json(data))
    assert_found(root)


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"{}", b"{", b"\xff", b"[" * 100_000, b'{"a":1,"a":1}', b"NaN"]
)
def test_a_record_that_is_no_record_is_found(root: Path, content: bytes) -> None:
    record(root, 2).write_bytes(content)
    assert_found(root)


def test_all_problems_are_named_not_only_the_first(root: Path) -> None:
    record(root, 2).unlink()
    record(root, 5).write_bytes(b"{}")
    text = "\n".join(assert_found(root))
    assert "000002.json" in text
    assert "000005.json" in text


def test_records_of_an_earlier_key_stay_valid(root: Path) -> None:
    (root / "keys" / "signing-key.pem").unlink()
    store = DirectoryJournal(root)
    store.append(ID, noted("with the new key"))
    assert RECORDS + 1 == len(DirectoryJournal(root).read(ID))
    assert 2 == len(list((root / "keys" / "public").iterdir()))
    assert [] == verify_incident(root, ID)
