"""The chain of records: every alteration is found; a record survives JSON exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.canonical import canonical_json
from model.errors import Damaged
from model.journal import Noted, Record, fold, verify_chain

from .builders import ID, chain, good_run

RECORDS = chain([payload for _, payload in good_run()])


def test_verify_chain_accepts_a_good_run() -> None:
    verify_chain(RECORDS)
    verify_chain([])


@pytest.mark.parametrize("place", range(len(RECORDS) - 1))
def test_verify_chain_finds_a_removed_record(place: int) -> None:
    """Any but the last: the tail is the head's to guard."""
    with pytest.raises(Damaged, match="missing or out of order"):
        verify_chain(RECORDS[:place] + RECORDS[place + 1 :])


@given(st.integers(0, len(RECORDS) - 1), st.integers(0, len(RECORDS) - 1))
def test_verify_chain_finds_two_swapped_records(first: int, second: int) -> None:
    records = list(RECORDS)
    records[first], records[second] = records[second], records[first]
    if first == second:
        verify_chain(records)
    else:
        with pytest.raises(Damaged):
            verify_chain(records)


@pytest.mark.parametrize("place", range(len(RECORDS) - 1))
def test_verify_chain_finds_an_altered_record(place: int) -> None:
    altered = RECORDS[place].model_copy(update={"payload": Noted(sentence="nothing happened")})
    with pytest.raises(Damaged, match=f"^journal record {place + 2}: does not follow"):
        verify_chain([*RECORDS[:place], altered, *RECORDS[place + 1 :]])


def test_verify_chain_finds_a_record_of_another_incident() -> None:
    stranger = RECORDS[1].model_copy(update={"incident": "inc-20250101-120000-ffff"})
    with pytest.raises(Damaged, match="belongs to"):
        verify_chain([RECORDS[0], stranger])


def test_the_signature_is_not_part_of_the_digest() -> None:
    assert RECORDS[0].digest == RECORDS[0].model_copy(update={"signature": "x"}).digest


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record.seq}-{record.payload.type}")
def test_a_record_survives_json_exactly(record: Record) -> None:
    raw = canonical_json(record)
    again = Record.model_validate_json(raw)
    assert record == again
    assert raw == canonical_json(again)
    assert record.digest == again.digest


def test_a_journal_without_a_report_says_so() -> None:
    with pytest.raises(Damaged, match="does not begin with a report"):
        fold([]).require_incident()


def test_all_records_name_the_incident() -> None:
    assert {ID} == {record.incident for record in RECORDS}
