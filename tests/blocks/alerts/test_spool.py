"""The spool keeps what it acknowledged, once, over restarts and `kill -9` (N4)."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from blocks.alerts.spool import MOST_REFUSED, Spool, Taken
from model.alerts import Alert
from model.errors import PreconditionFailed

AT = datetime(2026, 11, 27, 10, 0, tzinfo=UTC)
FORK = multiprocessing.get_context("fork")


def taken(
    number: int = 1, status: str = "firing", host: str = "web", cause: str = "Down", since: datetime = AT
) -> Taken:
    alert = Alert.model_validate(
        {
            "fingerprint": f"f{number}",
            "status": status,
            "target": host,
            "cause": cause,
            "summary": "x",
            "since": since,
        }
    )
    return Taken("shop", "prometheus", host, alert)


def test_same_alert_is_kept_once_also_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert 2 == sum(spool.put([taken(1), taken(2), taken(1)], AT))
    spool.close()
    again = Spool(tmp_path)
    assert 0 == sum(again.put([taken(2), taken(1)], AT))
    assert 2 == sum(again.put([taken(1, "resolved"), taken(1, since=AT + timedelta(hours=1))], AT))
    assert 0o600 == again.path.stat().st_mode & 0o777


def test_alerts_are_grouped_by_host_and_cause_in_their_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put([taken(1), taken(2, host="db"), taken(3), taken(1, "resolved"), taken(4, cause="Full")], AT)
    groups = {(group.host, group.cause): group for group in spool.waiting()}
    assert [("web", "Down"), ("db", "Down"), ("web", "Full")] == list(groups)
    assert ["f1", "f3"] == [one.alert.fingerprint for one in groups["web", "Down"].firing]
    assert ["f1"] == [one.alert.fingerprint for one in groups["web", "Down"].resolved]
    spool.handled(groups["web", "Down"].ids)
    assert [("db", "Down"), ("web", "Full")] == [(group.host, group.cause) for group in spool.waiting()]
    assert 0 == sum(spool.put([taken(1)], AT)), "what was dealt with has no second effect"


def test_what_was_dealt_with_is_forgotten_after_a_while(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put([taken(1), taken(2)], AT)
    spool.handled(spool.waiting()[0].ids[:1])
    assert 0 == spool.forget(AT + timedelta(days=29))
    assert 1 == spool.forget(AT + timedelta(days=31))
    assert 1 == len(spool.waiting()[0].ids), "what nobody has dealt with is never forgotten"


def test_refusals_are_noted_and_bounded(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(MOST_REFUSED + 20):
        spool.refuse("shop", "prometheus", f"reason {number}", AT)
    found = spool.refusals()
    assert MOST_REFUSED == len(found)
    assert f"reason {MOST_REFUSED + 19}" == found[0][3]


def test_many_threads_and_a_second_process(tmp_path: Path) -> None:
    spool, new = Spool(tmp_path), list[int]()

    def work() -> None:
        for start in range(0, 200, 20):
            new.append(sum(spool.put([taken(number) for number in range(start, start + 20)], AT)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    other = FORK.Process(target=_put_all, args=(tmp_path,))
    other.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.join()
    assert 0 == other.exitcode
    assert 200 == sum(len(group.ids) for group in spool.waiting())
    assert 200 >= sum(new)


def _put_all(folder: Path) -> None:
    spool = Spool(folder)
    for number in range(200):
        spool.put([taken(number)], AT)


def _acknowledge(folder: Path, said: Connection) -> None:
    spool, number = Spool(folder), 0
    while True:
        spool.put([taken(number), taken(number + 1)], AT)
        said.send(number + 2)
        number += 2


def test_killed_at_any_moment_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    for turn in range(6):
        folder = tmp_path / str(turn)
        ours, theirs = FORK.Pipe(duplex=False)
        child = FORK.Process(target=_acknowledge, args=(folder, theirs))
        child.start()
        theirs.close()
        acknowledged = ours.recv()
        time.sleep(0.02 + turn * 0.013)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        while True:
            try:
                acknowledged = ours.recv()
            except EOFError:
                break
        kept = Counter(one.alert.fingerprint for group in Spool(folder).waiting() for one in group.firing)
        assert acknowledged <= len(kept)
        assert {1} == set(kept.values())


def test_disk_that_is_full_says_so_and_keeps_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    pages = spool._connection.execute("PRAGMA page_count").fetchone()[0]
    spool._connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(PreconditionFailed, match="alerts cannot be kept") as caught:
        spool.put([taken(number) for number in range(2000)], AT)
    assert "full" in caught.value.remedy
    assert [] == spool.waiting()
    spool._connection.execute("PRAGMA max_page_count=100000")
    assert 1 == sum(spool.put([taken(1)], AT))
