"""People are told through a whole recovery in Prefect, suspended and resumed at both gates (R-RESP-8, R-USE-1)."""

from __future__ import annotations

from collections import Counter

import pytest

from model.journal import GateOpened, Noted
from model.messages import Telling, Told
from model.outcome import Gate
from tasks.inform import something_due
from tests.support.installation import Installation
from tests.support.receivers import nobody, webhook
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

COMMUNICATION = """
communication:
  channels:
    room: {url: file:room-url}
    fax: {url: file:fax-url}
  fall_back: [room]
  audiences:
    staff: {members: [room], details: true}
    users: {members: [fax], language: zh, moments: [opened, recovered]}
"""


def test_people_are_told_through_a_whole_recovery(installation: Installation) -> None:
    """Must show 4: each moment once, whatever suspends and resumes; a channel that is down stops nothing."""
    before, folder = installation.plan.read_text(), installation.plan.parent
    with webhook() as hook, nobody() as port:
        for name, url in (("room", hook.url()), ("fax", f"json://127.0.0.1:{port}/")):
            (folder / f"{name}-url").write_text(url)
            (folder / f"{name}-url").chmod(0o600)
        installation.plan.write_text(before + COMMUNICATION)
        try:
            installation.damage("config")
            _, work = installation.recover()
            installation.sign(work, Gate.DECIDE, "lena")
            installation.sign(work, Gate.ACCEPT, "omar")
            installation.finish(work)
            wait_for("everybody was told", lambda: not something_due(work), 60)
        finally:
            installation.plan.write_text(before)
        records = [record.payload for record in installation.store.read(work.incident.id)]
        staff = ["opened/staff", "confirmed/staff", "decided/staff", "recovered/staff", "ended/staff"]
        users = ["opened/users", "recovered/users"]
        sent = [p.message for p in records if isinstance(p, Telling) and p.channel == "room"]
        assert Counter([*staff, *users]) == Counter(sent), "what the fax did not take went over the room"
        assert staff == [name for name in sent if name.endswith("staff")]
        assert len(sent) == len(hook.posts)
        told = {(p.channel, p.result) for p in records if isinstance(p, Told)}
        assert {("room", "delivered"), ("fax", "failed")} == told
        asked = next(n for n, p in enumerate(records) if isinstance(p, GateOpened))
        assert asked > next(
            n for n, p in enumerate(records) if isinstance(p, Told) and p.message == "confirmed/staff"
        )
        assert [] == [
            p.sentence for p in records if isinstance(p, Noted) and "could not be told" in p.sentence
        ]
        shown = installation.run("report", work.incident.id)
        assert "Messages" in shown.stdout
