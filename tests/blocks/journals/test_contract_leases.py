"""What every journal store promises about leases of hosts (G3, N6)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from blocks.journals.base import JournalStore
from model.errors import BadInput, Refused

from .builders import ID, OTHER, Factory, run_all


def test_lease_tokens_rise_for_ever(store: JournalStore) -> None:
    """G3, N6."""
    first = store.lease("host", ID, "worker 1", 60)
    store.release("host", first.token)
    second = store.lease("host", OTHER, "worker 2", 60)
    assert (1, 2) == (first.token, second.token)
    assert 1 == store.lease("host-2", ID, "worker 1", 60).token


def test_lease_held_by_another_incident_is_refused_and_names_it(store: JournalStore) -> None:
    store.lease("host", ID, "worker 1", 60)
    with pytest.raises(Refused, match=ID):
        store.lease("host", OTHER, "worker 2", 60)


def test_lease_by_the_same_incident_fences_out_its_past(store: JournalStore) -> None:
    first = store.lease("host", ID, "worker 1", 60)
    second = store.lease("host", ID, "worker 2", 60)
    assert second.token == first.token + 1
    with pytest.raises(Refused, match="out of date"):
        store.renew(first, 60)
    assert store.renew(second, 60).token == second.token


def test_lease_after_expiry_goes_to_another(store: JournalStore) -> None:
    first = store.lease("host", ID, "worker 1", 0.05)
    time.sleep(0.06)
    assert 2 == store.lease("host", OTHER, "worker 2", 60).token
    with pytest.raises(Refused, match=OTHER):
        store.renew(first, 60)


def test_renew_makes_it_longer_also_when_expired_and_untaken(store: JournalStore) -> None:
    first = store.lease("host", ID, "worker 1", 0.01)
    time.sleep(0.02)
    assert store.renew(first, 60).expires_at > time.time() + 50
    with pytest.raises(Refused):
        store.lease("host", OTHER, "worker 2", 60)


def test_release_of_an_old_token_does_nothing(store: JournalStore) -> None:
    first = store.lease("host", ID, "worker 1", 60)
    store.lease("host", ID, "worker 1", 60)
    store.release("host", first.token)
    store.release("unknown-host", 1)
    with pytest.raises(Refused):
        store.lease("host", OTHER, "worker 2", 60)


def test_renew_after_release_is_refused(store: JournalStore) -> None:
    lease = store.lease("host", ID, "worker 1", 60)
    store.release("host", lease.token)
    with pytest.raises(Refused, match="given back"):
        store.renew(lease, 60)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_lease_for_no_time_is_refused(store: JournalStore, seconds: float) -> None:
    with pytest.raises(BadInput):
        store.lease("host", ID, "worker", seconds)


def _race_for_host(factory: Factory, root: Path, trace: Path, name: int, until: float) -> None:
    """Take, write begin and end into a trace opened for appending, give back."""
    store = factory(root)
    incident = f"inc-20250101-120000-{name:04x}"
    with trace.open("ab", buffering=0) as log:
        while time.time() < until:
            try:
                lease = store.lease("host", incident, str(name), 60)
            except Refused:
                continue
            log.write(f"begin {lease.token} {name}\n".encode())
            log.write(f"end {lease.token} {name}\n".encode())
            store.release("host", lease.token)


def test_racing_incidents_never_hold_one_host_together(factory: Factory, tmp_path: Path) -> None:
    """Bar: start races for one host, 0 overlaps; tokens strictly rise (G3, N6)."""
    trace = tmp_path / "trace"
    run_all(_race_for_host, [(factory, tmp_path / "s", trace, name, time.time() + 2) for name in range(6)])
    lines = [line.split() for line in trace.read_text().splitlines()]
    assert len(lines) >= 20
    assert all(
        begin == ["begin", *end[1:]] and end[0] == "end"
        for begin, end in zip(lines[::2], lines[1::2], strict=True)
    )
    tokens = [int(line[1]) for line in lines[::2]]
    assert sorted(set(tokens)) == tokens
