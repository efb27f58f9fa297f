"""People are really told: over SMTP and a webhook, with a channel down, and never twice after `kill -9` (R-RESP-8)."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from blocks import durable
from blocks.home import open_store
from deployments.server.informer import tell_open
from flows.informing import Informing
from model.canonical import now
from model.errors import Transient
from model.finding import CheckResult, Code, Degree, Finding, Verdict
from model.incident import Kind, Source
from model.informing import interrupted
from model.journal import Confirmed, Ended, GateSettled, Noted, Payload, Reviewed, StageEnded, StageStarted
from model.messages import Moment, Telling, Told
from model.outcome import Gate, RunVerdict, Stage
from model.severity import Level, Scope, Severity
from model.signoff import Decision
from tasks import inform
from tasks.inform import something_due, tell
from tasks.message_words import MARKS
from tasks.report import build_report
from tasks.report_pages import report_html, report_markdown
from tasks.work import PlanFile, Work, load_plan, open_incident, open_work
from tests.model.builders import PLAN_TEXT
from tests.support.receivers import SmtpServer, Webhook, hook, mail, nobody
from tests.support.waiting import wait_for

__all__ = ["hook", "mail"]

FORK = multiprocessing.get_context("fork")
SECRET = "hook-0c71"
COMMUNICATION = """\
communication:
  channels:
    mail: {url: file:mail-url, reaches: email}
    sms: {url: file:sms-url, reaches: phone}
    room: {url: file:room-url}
  fall_back: [mail, sms]
  audiences:
    leading_group:
      members: [ann]
      details: true
      moments: [opened, confirmed, decided, progress, impact_changed, recovered, ended]
    users: {members: [room], language: zh}
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(inform, "WAIT", 0.01)
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))


def secret(folder: Path, name: str, url: str) -> None:
    file = folder / f"{name}-url"
    file.write_text(url)
    file.chmod(0o600)


@pytest.fixture
def plan(tmp_path: Path, mail: SmtpServer, hook: Webhook) -> PlanFile:
    """A plan with mail, SMS (through a webhook) and a chat room."""
    text = PLAN_TEXT.partition("communication:")[0].replace(
        "ann@example.org,", 'ann@example.org, phone: "+49301",'
    )
    text = text.replace("  owner: ann\n", "  owner: ann\n  description: Orders are taken by telephone.\n")
    (tmp_path / "plan.yaml").write_text(text + COMMUNICATION)
    secret(tmp_path, "mail", mail.url)
    secret(tmp_path, "sms", hook.url("sms") + "/{to}")
    secret(tmp_path, "room", hook.url(SECRET))
    return load_plan(str(tmp_path / "plan.yaml"))


def begin(plan: PlanFile, kind: Kind = Kind.REAL) -> Work:
    if kind is Kind.DRILL:
        text = plan.text.replace("    address:", "    role: staging\n    address:")
        plan.path.write_text(text)
        plan = load_plan(str(plan.path))
    return open_incident(plan, open_store(), "db-7.internal: disk /srv/shop is gone", "dan", Source.CLI, kind)


def outcomes(work: Work) -> list[tuple[str, str, str, str]]:
    records = work.store.read(work.incident.id)
    return [(p.message, p.channel, p.to, p.result) for r in records if isinstance(p := r.payload, Told)]


def go_through(work: Work, *stops: Payload) -> None:
    for payload in stops:
        work.record(payload)
        tell(work)


def whole_run() -> tuple[Payload, ...]:
    finding = Finding(
        code=Code.FILE_CONTENT_DIFFERS,
        host="web-1",
        asset="files",
        subject="/srv/shop/x",
        degree=Degree.SERIOUS,
    )
    checked = CheckResult(
        check="files", host="web-1", asset="files", verdict=Verdict.FAILED, examined=1, findings=(finding,),
        sentence="One file of /srv/shop on web-1 is damaged.",
    )  # fmt: skip
    grave = Severity(
        degree=Degree.SERIOUS, scope=Scope.SERVICE, level=Level.II, sentence="Level II: serious damage."
    )
    return (
        Confirmed(results=(checked,), severity=grave), StageEnded(stage=Stage.CONFIRM, ok=True, sentence="Found."),
        GateSettled(gate=Gate.DECIDE, digest="a" * 64, decision=Decision.APPROVE, sentence="Approved by ann."),
        StageStarted(stage=Stage.ROLL_BACK),
        GateSettled(gate=Gate.ACCEPT, digest="b" * 64, decision=Decision.APPROVE, sentence="Accepted by ann."),
        Ended(verdict=RunVerdict.RECOVERED, sentence="The shop is back.", rto=3600.0, rpo=120.0),
    )  # fmt: skip


def test_every_moment_reaches_everybody_once_in_their_language(
    plan: PlanFile, mail: SmtpServer, hook: Webhook
) -> None:
    """R-RESP-8, R-ORG-4: real SMTP, real webhook."""
    work = begin(plan)
    tell(work)
    go_through(work, *whole_run())
    subjects = [one.subject for one in mail.mails]
    assert 6 == len(subjects) == len(set(subjects))
    assert all(one.to == "ann@example.org" and "The shop" in one.subject for one in mail.mails)
    titles = [str(post.data["title"]) for post in hook.posts]
    assert 6 == len(titles) == len(set(titles))
    assert all(any("\u4e00" <= char <= "\u9fff" for char in title) for title in titles)
    assert {"delivered"} == {result for *_, result in outcomes(work)}
    assert not something_due(work)


def test_who_is_no_part_of_the_organisation_is_told_no_host_and_no_path(
    plan: PlanFile, mail: SmtpServer, hook: Webhook
) -> None:
    work = begin(plan)
    tell(work)
    go_through(work, *whole_run())
    public = "\n".join(str(post.data) for post in hook.posts)
    assert [] == [word for word in ("web-1", "db-7", "/srv", "dan", "192.0.2.10") if word in public]
    assert "Orders are taken by telephone." in public
    assert "db-7.internal" in mail.mails[0].text
    assert any("Approved by ann." in one.text for one in mail.mails)


def test_channel_that_is_down_is_followed_by_the_next_and_the_proof_is_kept(
    plan: PlanFile, hook: Webhook, mail: SmtpServer
) -> None:
    """R-ORG-4: mail is down, the person gets an SMS; the journal says what became of both."""
    with nobody() as port:
        secret(plan.path.parent, "mail", f"mailto://127.0.0.1:{port}/?from=a@example.org&to={{to}}")
        work = begin(plan)
        tell(work)
    assert ("opened/leading_group", "mail", "ann", "failed") in outcomes(work)
    assert ("opened/leading_group", "sms", "ann", "delivered") in outcomes(work)
    (sms,) = [post for post in hook.posts if post.path.startswith("/sms")]
    assert "/sms/+49301" == sms.path
    assert str(sms.data["message"]).startswith("The shop: a disruption is being looked into")
    assert "" == sms.data["title"]


def test_only_what_surely_was_not_delivered_is_tried_again(plan: PlanFile, hook: Webhook) -> None:
    """`Transient` and nothing else is retried."""
    for status, times in ((503, inform.ATTEMPTS), (500, 1), (403, 1)):
        hook.status, hook.posts = status, []
        work = begin(plan)
        tell(work)
        assert times == len([post for post in hook.posts if SECRET in post.path]), status


def test_secret_that_is_not_there_fails_its_channel_only(plan: PlanFile, hook: Webhook) -> None:
    (plan.path.parent / "mail-url").unlink()
    work = begin(plan)
    tell(work)
    assert ("opened/leading_group", "sms", "ann", "delivered") in outcomes(work)


def test_no_part_of_a_channels_url_is_in_the_journal(plan: PlanFile, hook: Webhook, tmp_path: Path) -> None:
    """G9."""
    hook.status = 404
    work = begin(plan)
    tell(work)
    files = [file for file in (tmp_path / "home").rglob("*") if file.is_file()]
    assert 5 < len(files)
    assert [] == [file for file in files if SECRET.encode() in file.read_bytes()]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_drill_is_marked_in_subject_and_text_whatever_the_template(
    plan: PlanFile, hook: Webhook, mail: SmtpServer, language: str
) -> None:
    """G12: also where the plan brings its own text."""
    own = plan.text.replace(
        "language: zh}", f'language: {language}, templates: {{opened: "Own {{{{ service }}}}"}}}}'
    )
    plan.path.write_text(own)
    work = begin(load_plan(str(plan.path)), Kind.DRILL)
    tell(work)
    go_through(work, *whole_run())
    mark = MARKS["zh" if language == "zh" else "en"][Kind.DRILL]
    room = [post.data for post in hook.posts]
    assert "Own The shop" in str(room[0]["message"])
    assert 6 == len(room) == len([one for one in room if str(one["title"]).startswith(mark)])
    assert all(str(one["message"]).startswith(mark) and str(one["message"]).count(mark) == 2 for one in room)
    assert all("NOT REAL" in one.subject and "NOT REAL" in one.text for one in mail.mails)


def test_template_that_cannot_be_filled_in_is_replaced_by_ours_and_noted(
    plan: PlanFile, hook: Webhook
) -> None:
    plan.path.write_text(
        plan.text.replace("zh}", 'zh, templates: {opened: "{{ 1 / (level | length - 1) }}"}}')
    )
    work = begin(load_plan(str(plan.path)))
    tell(work)
    assert "您无需再次报告" in str(hook.posts[0].data["message"])
    notes = [r.payload.sentence for r in work.store.read(work.incident.id) if isinstance(r.payload, Noted)]
    assert 1 == len([note for note in notes if "cannot be filled in" in note])


@pytest.mark.parametrize(
    "text", ["{{ service.__class__.__mro__ }}", "{% for x in range(10**9) %}x{% endfor %}"]
)
def test_template_cannot_leave_its_sandbox(plan: PlanFile, hook: Webhook, text: str) -> None:
    plan.path.write_text(plan.text.replace("zh}", f'zh, templates: {{opened: "{text}"}}}}'))
    tell(begin(load_plan(str(plan.path))))
    assert "您无需再次报告" in str(hook.posts[0].data["message"])


def test_progress_is_sent_when_it_is_due_and_late_ones_are_noted(
    plan: PlanFile, mail: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-RESP-8, the overdue alarm."""
    work = begin(plan)
    tell(work)
    for minutes, sent, overdue in ((29, 0, 0), (31, 1, 0), (31 + 29, 1, 0), (31 + 200, 2, 1)):
        moment = now() + timedelta(minutes=minutes)
        with monkeypatch.context() as clock:
            for module in ("tasks.inform.now", "blocks.journals.sealed.now"):
                clock.setattr(module, lambda moment=moment: moment)
            tell(work)
        records = work.store.read(work.incident.id)
        told = [r for r in records if isinstance(r.payload, Telling) and r.payload.moment is Moment.PROGRESS]
        late = [
            r for r in records if isinstance(r.payload, Noted) and r.payload.sentence.startswith("OVERDUE")
        ]
        assert (sent, overdue) == (len(told), len(late)), minutes
    assert 3 == len(mail.mails)


def test_two_processes_do_not_tell_the_same(plan: PlanFile, hook: Webhook) -> None:
    work = begin(plan)
    lock = durable.make_folder(plan.path.parent / "home/locks") / f"{work.incident.id}.inform.lock"
    with durable.locked(lock), pytest.raises(Transient):
        tell(work)
    assert [] == hook.posts
    tell(work)
    assert 1 == len(hook.posts)


def _tell_in_a_process(incident: str) -> None:
    tell(open_work(incident))


def test_killed_in_mid_send_nothing_is_sent_twice(plan: PlanFile, hook: Webhook, mail: SmtpServer) -> None:
    """Must show 4: `kill -9` while the webhook has the message and has not answered."""
    secret(plan.path.parent, "mail", hook.url("held") + "/{to}")
    hook.pause = 60.0
    work = begin(plan)
    sender = FORK.Process(target=_tell_in_a_process, args=(work.incident.id,))
    sender.start()
    wait_for("both messages are on their way", lambda: len(hook.posts) == 2, 30)
    assert sender.pid is not None
    os.kill(sender.pid, signal.SIGKILL)
    sender.join(10)
    assert -signal.SIGKILL == sender.exitcode
    assert 2 == len(interrupted(work.store.read(work.incident.id)))
    hook.pause = 0.0
    tell(open_work(work.incident.id))
    tell(open_work(work.incident.id))
    paths = Counter(post.path.split("/")[1] for post in hook.posts)
    assert {"held": 1, SECRET: 1, "sms": 1} == paths, "each channel once; the person's next channel took over"
    assert {
        ("opened/leading_group", "mail", "ann", "unknown"), ("opened/users", "room", "", "unknown"),
        ("opened/leading_group", "sms", "ann", "delivered"),
    } == set(outcomes(work))  # fmt: skip


def test_report_shows_every_message_and_who_was_not_reached(plan: PlanFile, hook: Webhook) -> None:
    """R-REV-1: the section Messages, in every format."""
    hook.status = 500
    work = begin(plan)
    tell(work)
    report = build_report(work)
    assert {("opened/users", "room", "unknown"), ("opened/leading_group", "mail", "delivered")} <= {
        (one.message, one.channel, one.result) for one in report.messages
    }
    assert any("users" in item and "room" in item for item in report.items)
    text, html = report_markdown(report), report_html(report)
    assert "## Messages" in text
    assert "may have been sent" in text
    assert "<h2>Messages</h2>" in html


def test_plan_without_communication_tells_nobody(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN_TEXT.partition("communication:")[0])
    work = begin(load_plan(str(tmp_path / "plan.yaml")))
    assert not something_due(work)
    tell(work)
    assert 1 == len(work.store.read(work.incident.id))
    assert "## Messages" not in report_markdown(build_report(work))


def test_up_tells_what_is_due_while_a_recovery_waits_for_people(plan: PlanFile, hook: Webhook) -> None:
    """R-RESP-8: nobody's process runs while people must sign."""
    work, over, said = begin(plan), set[str](), list[str]()
    for _ in range(3):
        tell_open(work.store, over, said.append)
    assert ([], set(), 1) == (said, over, len(hook.posts))
    work.record(Ended(verdict=RunVerdict.STOPPED_SAFE, sentence="Stopped."))
    work.record(Reviewed(report="x", sha256="0" * 64))
    for _ in range(3):
        tell_open(work.store, over, said.append)
    assert ([], {work.incident.id}, 2) == (said, over, len(hook.posts))


def test_recovery_goes_on_when_telling_people_fails_altogether(
    plan: PlanFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure of informing never stops a recovery: it is noted."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    work = begin(plan)
    monkeypatch.setattr(inform, "_begin", broken)

    async def recovery() -> str:
        async with Informing(work) as informing:
            informing.poke()
            await informing.flush()
            return "recovered"

    assert "recovered" == asyncio.run(recovery())
    notes = [r.payload.sentence for r in work.store.read(work.incident.id) if isinstance(r.payload, Noted)]
    assert ["People could not be told: ZeroDivisionError: a defect"] == notes, "noted, and only once"


def test_slow_channel_does_not_hold_up_a_stage(plan: PlanFile, hook: Webhook) -> None:
    """The stages go on beside the messages; only the end, and a gate, wait for them."""
    hook.pause = 1.0
    work = begin(plan)

    async def recovery() -> float:
        async with Informing(work) as informing:
            informing.poke()
            begun = time.monotonic()
            for _ in range(20):  # twenty edges of stages
                await asyncio.sleep(0.01)
                informing.poke()
            return time.monotonic() - begun

    assert asyncio.run(recovery()) < 0.9
    assert 1 == len(hook.posts)
    assert {"delivered"} == {result for *_, result in outcomes(work)}
