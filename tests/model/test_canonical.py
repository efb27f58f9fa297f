"""Canonical JSON and digests: equal values give equal bytes, one difference gives another digest (G6)."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.canonical import canonical_json, digest, from_host, now, storable
from model.command import Command
from model.finding import Code, Finding
from model.manifest import Entry, FileType
from model.proposal import Proposal

from .builders import proposal

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_canonical_json_is_the_same_after_a_round_trip(value: object) -> None:
    raw = canonical_json(value)
    assert raw == canonical_json(json.loads(raw))
    assert value == json.loads(raw)


@given(st.dictionaries(st.text(max_size=5), st.integers(), min_size=2, max_size=6))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


def test_canonical_json_is_as_we_publish_it() -> None:
    assert b'{"a":[1,true,null,"\xc3\xbc"],"b":1.5}' == canonical_json({"b": 1.5, "a": [1, True, None, "ü"]})
    assert "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" == digest({})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_refused(value: float) -> None:
    with pytest.raises(ValueError):
        canonical_json([value])


def test_every_field_of_a_proposal_changes_its_digest() -> None:
    """One byte differs → new sign-off."""
    base = proposal()
    changed: list[Proposal] = [
        base.model_copy(update={name: value})
        for name, value in {
            "incident": "inc-x", "plan_digest": "1", "hosts": {"web-1": "1" * 32}, "actions": (),
            "created_at": base.created_at + timedelta(milliseconds=1),
            "expires_at": base.expires_at + timedelta(milliseconds=1),
        }.items()
    ]  # fmt: skip
    action = base.actions[0]
    changed += [
        base.model_copy(update={"actions": (action.model_copy(update={name: value}),)})
        for name, value in {"sha256": "1" * 64, "version": "2", "touches": ("/x",), "reason": "R"}.items()
    ]
    assert len(changed) + 1 == len({each.digest for each in [base, *changed]})


def test_a_proposal_survives_json_with_its_digest() -> None:
    again = Proposal.model_validate_json(canonical_json(proposal()))
    assert (proposal(), proposal().digest) == (again, again.digest)
    assert (10, 0.5) == (again.bytes, again.minutes)
    assert again.actions[0] == again.action("a01")
    with pytest.raises(KeyError):
        again.action("a02")


@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=2)), timezone(timedelta(hours=-9, minutes=-30))]
)
def test_moments_survive_json_in_any_zone(zone: timezone) -> None:
    moment = datetime(2025, 1, 1, 12, 0, 0, 123000, tzinfo=zone)
    made = proposal().model_copy(update={"created_at": moment})
    assert made.digest == Proposal.model_validate_json(canonical_json(made)).digest


def test_now_has_whole_milliseconds_and_a_zone() -> None:
    moment = now()
    assert 0 == moment.microsecond % 1000
    assert UTC == moment.tzinfo


@given(st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name))
def test_names_of_any_bytes_survive_json(name: bytes) -> None:
    """Attack: non-UTF-8, newline and RTL names. A name is never lost, and never breaks the journal."""
    path = os.fsdecode(name)
    entry = Entry(path=path, type=FileType.LINK, link=path)
    raw = canonical_json(entry)
    raw.decode()
    for again in (Entry.model_validate_json(raw), Entry.model_validate(json.loads(raw))):
        assert (entry, name, name) == (again, os.fsencode(again.path), os.fsencode(again.link))
    found = Finding(code=Code.FILE_MISSING, host="h", asset="a", subject=path)
    assert found == Finding.model_validate_json(canonical_json(found))
    assert found.id == Finding.model_validate_json(canonical_json(found)).id
    found.sentence.encode()
    assert path == from_host(storable(path))
    assert Command(("ls", "--", path)).shown().encode()


def test_an_empty_path_and_half_a_character_are_refused() -> None:
    for path in ("", "\ud800", 5):
        with pytest.raises(ValidationError):
            Entry.model_validate({"path": path, "type": "file"})
