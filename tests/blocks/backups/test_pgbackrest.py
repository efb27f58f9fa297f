"""What pgBackRest says, read without believing its exit codes; what people write about a mistake."""

from __future__ import annotations

import json
from typing import Any

import pytest

from blocks.backups.pgbackrest import read_info, read_verify
from model.errors import BadInput, Damaged, PreconditionFailed
from model.mistake import read_mistake
from tasks.restore_cluster import position

VALID = """stanza: main
status: ok
  archiveId: 15-1, total WAL checked: 2, total valid WAL: 2
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
  backup: 20261125-195432F, status: valid, total files checked: 1262, total valid files: 1262
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
"""
LABEL = "20261125-195432F"


def told(label: str, stop: int, error: bool = False) -> dict[str, Any]:
    return {
        "label": label, "timestamp": {"start": stop - 3, "stop": stop}, "type": "full", "error": error,
        "archive": {"start": "000000010000000000000002", "stop": "000000010000000000000002"},
        "lsn": {"start": "0/2000028", "stop": "0/2000100"}, "info": {"size": 32107377}, "database": {"id": 1},
    }  # fmt: skip


def info(*sets: dict[str, Any], name: str = "main") -> str:
    database = {"id": 1, "system-id": 7712198128083750968, "version": "15"}
    archive = {
        "database": {"id": 1},
        "id": "15-1",
        "max": "000000010000000000000005",
        "min": "000000010000000000000001",
    }
    whole = {
        "name": name,
        "db": [database],
        "archive": [archive],
        "backup": list(sets),
        "status": {"message": "ok"},
    }
    return json.dumps([whole])


def test_newest_set_is_one_without_damage_and_from_before() -> None:
    stanza = read_info(
        info(told(LABEL, 1795636475), told("20261125-195439F", 1795636480, True)), "main", "here"
    )
    assert ["20261125-195439F", LABEL] == [one.id for one in stanza.sets]
    newest = stanza.newest()
    assert newest is not None
    assert LABEL == newest.id
    assert stanza.newest(newest.taken_at.replace(year=2020)) is None


@pytest.mark.parametrize("text", ["", "[]", "[{}]", "{}", "null", info(name="other"), info({"label": "x"})])
def test_answer_that_is_none_is_said(text: str) -> None:
    with pytest.raises(PreconditionFailed):
        read_info(text, "main", "here")


def test_whole_set_is_verified() -> None:
    assert "1262" in read_verify(VALID, LABEL, "here")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (VALID, ""),
        (LABEL, "20200101-000000F"),
        ("status: valid,", "status: invalid,"),
        ("total valid files: 1262\n    missing: 0", "total valid files: 1261\n    missing: 1"),
        (
            "total valid WAL: 2\n    missing: 0, checksum invalid: 0",
            "total valid WAL: 1\n    missing: 0, checksum invalid: 1",
        ),
    ],
)
def test_verification_that_exits_with_0_and_found_something_is_damage(old: str, new: str) -> None:
    with pytest.raises(Damaged):
        read_verify(VALID.replace(old, new), LABEL, "here")


def test_mistake_is_read_as_people_write_it() -> None:
    mistake = read_mistake("ledger@2026-11-25T12:00:00+02:00", ("accounts", "audit.log"))
    assert ("2026-11-25 10:00:00 UTC", ("public.accounts", "audit.log")) == (mistake.when, mistake.tables)
    assert "recovery_target_time = '2026-11-25 10:00:00.000000+00'" == mistake.settings[0]
    assert ("recovery_target_name = 'before'",) == read_mistake("ledger@name:before").settings
    assert "recovery_target_xid = '77'" == read_mistake("ledger@xid:77").settings[0]


@pytest.mark.parametrize(
    "text",
    [
        "ledger",
        "ledger@",
        "ledger@yesterday",
        "ledger@2026-11-25T10:00:00",
        "ledger@name:a'b",
        "ledger@xid:-1",
        "-x@xid:1",
    ],
)
def test_mistake_that_says_no_moment_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="names no mistake"):
        read_mistake(text)


def test_places_in_the_wal_are_ordered() -> None:
    assert position("0/FFFFFFFF") < position("1/0")
    with pytest.raises(Damaged):
        position("nowhere")
