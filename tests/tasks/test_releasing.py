"""Messages that the plan holds back until somebody approves their text (R-RESP-8, R-ORG-2)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyotp
import pytest

from model.canonical import now
from model.errors import BadInput, Refused
from model.journal import Noted, StageStarted
from model.messages import MessageHeld, MessageReleased, Told
from model.outcome import Stage
from tasks import inform
from tasks.inform import something_due, tell
from tasks.releasing import release, waiting
from tasks.report import build_report
from tasks.report_pages import report_markdown
from tasks.work import PlanFile, Work, load_plan
from tests.support.receivers import SmtpServer, Webhook, hook, mail
from tests.tasks.test_inform import begin, plan, whole_run

__all__ = ["hook", "mail", "plan"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(inform, "WAIT", 0.01)
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))


@pytest.fixture
def careful(plan: PlanFile) -> PlanFile:
    """What users are told is approved by Ann, who has the information role."""
    text = plan.text.replace(
        "users: {members: [room], language: zh}", "users: {members: [room], approve: true}"
    )
    text = text.replace("  working_group: [dan]\n", "  working_group: [dan]\n  information: [ann]\n")
    text = text.replace("totp: env:ANN", "totp: 'file:ann'")
    plan.path.write_text(text)
    (plan.path.parent / "ann").write_text(pyotp.random_base32())
    (plan.path.parent / "ann").chmod(0o600)
    return load_plan(str(plan.path))


def code(work: Work, ahead: int = 0) -> str:
    text = (work.file.path.parent / "ann").read_text().strip()
    return str(pyotp.TOTP(text).at(now() + timedelta(seconds=30 * ahead)))


def sent(hook: Webhook) -> list[str]:
    return [str(post.data["message"]) for post in hook.posts if "room" not in str(post.data["title"])]


def test_held_message_leaves_once_its_text_was_approved_and_to_the_letter(
    careful: PlanFile, mail: SmtpServer, hook: Webhook
) -> None:
    work = begin(careful)
    tell(work)
    assert [] == hook.posts
    assert not something_due(work)
    assert ["The shop: a message waits for your approval"] == [
        one.subject for one in mail.mails if "approval" in one.subject
    ]
    (one,) = waiting(work)
    assert "opened/users" == one.message
    release(work, one, "ann", "approve", code=code(work))
    work.record(StageStarted(stage=Stage.CONFIRM))
    assert something_due(work)
    tell(work)
    assert 1 == len(hook.posts)
    assert one.text.body == hook.posts[0].data["message"]
    assert not something_due(work)
    assert ("opened/users", "delivered") in {
        (p.message, p.result) for r in work.store.read(work.incident.id) if isinstance(p := r.payload, Told)
    }
    said = report_markdown(build_report(work))
    assert "ann said approve to the text of message opened/users, proven by totp." in said
    assert "Message opened/users waits until its text is approved." in said


def test_denied_message_is_never_sent_and_the_others_go_on(
    careful: PlanFile, mail: SmtpServer, hook: Webhook
) -> None:
    work = begin(careful)
    tell(work)
    release(work, waiting(work)[0], "ann", "deny", code=code(work))
    for payload in whole_run():
        work.record(payload)
        tell(work)
    assert [] == hook.posts
    names = [one.message for one in waiting(work)]
    assert [
        "confirmed/users",
        "decided/users",
        "impact_changed/users",
        "recovered/users",
        "ended/users",
    ] == names
    release(work, waiting(work)[3], "ann", "approve", code=code(work, 1))
    tell(work)
    assert ["works again" in text for text in sent(hook)] == [True]
    assert 6 < len(mail.mails), "the leading group is told at once, whatever users wait for"


def test_only_who_may_and_who_proves_it_approves(careful: PlanFile, hook: Webhook) -> None:
    work = begin(careful)
    tell(work)
    (one,) = waiting(work)
    with pytest.raises(Refused, match="'bob' does not approve messages") as caught:
        release(work, one, "bob", "approve", code="123456")
    assert "may approve: ann" in caught.value.remedy
    with pytest.raises(Refused, match="is not right"):
        release(work, one, "ann", "approve", code="000000")
    right = code(work)
    release(work, one, "ann", "approve", code=right)
    with pytest.raises(BadInput, match="does not wait for approval"):
        release(work, one, "ann", "deny", code=code(work, 1))
    records = [r.payload for r in work.store.read(work.incident.id)]
    assert 1 == sum(isinstance(p, MessageReleased) for p in records)
    assert 1 == sum(isinstance(p, MessageHeld) and p.message == one.message for p in records)


def test_text_that_was_changed_after_its_approval_waits_again_and_holds_up_no_other(
    careful: PlanFile, mail: SmtpServer, hook: Webhook
) -> None:
    work = begin(careful)
    tell(work)
    done = release(work, waiting(work)[0], "ann", "approve", code=code(work))
    work.store.put(f"incidents/{work.incident.id}/messages/{done.sha256}.txt", b"Buy now!\n\nBuy now!")
    for payload in whole_run():
        work.record(payload)
        tell(work)
    assert [] == hook.posts
    assert 6 < len(mail.mails), "the others are sent"
    notes = [p.sentence for r in work.store.read(work.incident.id) if isinstance(p := r.payload, Noted)]
    assert 1 == sum("the text that was approved is not there any more" in one for one in notes)
    (again,) = [one for one in waiting(work) if one.message == done.message]
    release(work, again, "ann", "approve", code=code(work, 1))
    tell(work)
    assert [again.text.body] == [post.data["message"] for post in hook.posts]


def test_leading_group_approves_where_nobody_has_the_information_role(plan: PlanFile) -> None:
    assert ("ann", "bob", "cyd") == plan.plan.publishers
