"""The channel adapter against real servers: what it answers, what it never does twice, and what it never says (G9)."""

from __future__ import annotations

import logging
import time

import pytest

from blocks import channels
from blocks.channels import Channel
from model.errors import BadInput, PreconditionFailed, ReinstateError, Transient
from tests.support.receivers import SmtpServer, Webhook, hook, mail, nobody

__all__ = ["hook", "mail"]

CANARY = "canary-9d2f"


def test_message_arrives_at_the_webhook_once_and_as_it_was(hook: Webhook) -> None:
    """R-RESP-8."""
    answer = Channel("chat", hook.url(), "env:CHAT").send(
        "Down & out", "A <b>line</b>.\n\nSecond: 维修中 :smile: \\n"
    )
    assert "delivered" == answer.result
    (post,) = hook.posts
    assert ("Down & out", "A <b>line</b>.\n\nSecond: 维修中 :smile: \\n") == (
        post.data["title"],
        post.data["message"],
    )
    assert [] == post.data["attachments"]


def test_mail_arrives_at_the_person_as_plain_as_it_was_written(mail: SmtpServer) -> None:
    """R-ORG-4."""
    answer = Channel("mail", mail.url, "env:MAIL", personal=True).send(
        "服务故障", "x < y & z", "ann+a@example.org"
    )
    assert "delivered" == answer.result
    (one,) = mail.mails
    assert ("ann+a@example.org", "服务故障", "plan@example.org") == (one.to, one.subject, one.sender)
    assert "x &lt; y &amp; z" in one.text or "x < y & z" in one.text


@pytest.mark.parametrize("status", [429, 503])
def test_service_that_is_busy_may_be_asked_again(hook: Webhook, status: int) -> None:
    hook.status = status
    with pytest.raises(Transient, match=str(status)):
        Channel("chat", hook.url(), "env:CHAT").send("s", "t")


@pytest.mark.parametrize("status", [302, 400, 401, 404, 413])
def test_service_that_refuses_is_not_asked_again(hook: Webhook, status: int) -> None:
    """Redirects are not followed: they would carry the message to somebody else."""
    hook.status = status
    with pytest.raises(PreconditionFailed, match=str(status)):
        Channel("chat", hook.url(), "env:CHAT").send("s", "t")
    assert ["/hook"] == [post.path for post in hook.posts]


@pytest.mark.parametrize("status", [500, 502, 504])
def test_service_that_fails_may_have_sent_it(hook: Webhook, status: int) -> None:
    hook.status = status
    assert "unknown" == Channel("chat", hook.url(), "env:CHAT").send("s", "t").result


def test_connection_that_breaks_off_may_have_sent_it(hook: Webhook) -> None:
    hook.drop = True
    assert "unknown" == Channel("chat", hook.url(), "env:CHAT").send("s", "t").result


def test_service_that_never_answers_is_left_at_the_deadline(
    hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel that hangs does not hold up a recovery."""
    monkeypatch.setattr(channels, "SECONDS", 0.3)
    hook.pause = 1.5
    begun = time.monotonic()
    assert "unknown" == Channel("chat", hook.url(), "env:CHAT").send("s", "t").result
    assert time.monotonic() - begun < 1.4


@pytest.mark.parametrize(
    "scheme", ["json://127.0.0.1:{}", "mailto://127.0.0.1:{}/?to=a@example.org&from=b@example.org"]
)
def test_service_that_is_down_may_be_asked_again(scheme: str) -> None:
    """Whatever the URL asks for: `retry` would send twice, `optional` would call this delivered."""
    with nobody() as port:
        url = scheme.format(port)
        url += f"{'&' if '?' in url else '/?'}retry=3&optional=yes"
        with pytest.raises(Transient, match="not reached"):
            Channel("one", url, "env:ONE").send("s", "t")


@pytest.mark.parametrize(("answer", "error"), [("450 later", Transient), ("550 nobody", PreconditionFailed)])
def test_mail_server_that_refuses_a_person_says_whether_to_try_again(
    mail: SmtpServer, answer: str, error: type[ReinstateError]
) -> None:
    mail.refuse = {"ann@example.org": answer}
    with pytest.raises(error, match=answer[:3]):
        Channel("mail", mail.url, "env:MAIL", personal=True).send("s", "t", "ann@example.org")
    assert [] == mail.mails


def test_mail_that_reached_some_is_not_sent_again(mail: SmtpServer) -> None:
    mail.refuse = {"bob@example.org": "450 later"}
    url = mail.url.replace("{to}", "ann@example.org,bob@example.org")
    assert "unknown" == Channel("mail", url, "env:MAIL").send("s", "t").result
    assert ["ann@example.org"] == [one.to for one in mail.mails]


@pytest.mark.parametrize(
    ("url", "personal"),
    [
        ("nonsense", False), ("foo://bar", False), (f"mailto://{CANARY}", False), ("json://h/{to}", False),
        ("json://h", True),
    ],
)  # fmt: skip
def test_url_that_cannot_work_is_refused_without_being_shown(url: str, personal: bool) -> None:
    """G9."""
    with pytest.raises(BadInput) as caught:
        Channel("chat", url, "env:CHAT", personal=personal)
    assert "env:CHAT" in str(caught.value)
    assert CANARY not in str(caught.value)


def test_no_secret_is_logged_or_said_however_it_ends(hook: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    """G9: Apprise and urllib3 log whole URLs at DEBUG; nothing of that is let through."""
    caplog.set_level(logging.DEBUG)
    said = []
    with nobody() as port:
        for url, status in (
            (hook.url(CANARY), 200), (hook.url(CANARY), 500), (hook.url(CANARY), 503),
            (f"json://user:{CANARY}@127.0.0.1:{port}/{CANARY}", 0),
            (f"mailto://user:{CANARY}@127.0.0.1:{port}/?to=a@example.org&from=b@example.org", 0),
        ):  # fmt: skip
            hook.status = status or 200
            channel = Channel("one", url, "env:ONE")
            said.append(repr(channel))
            try:
                said.append(str(channel.send("s", "t")))
            except ReinstateError as error:
                said.append(f"{error} {error.__cause__}")
    assert 3 == len(hook.posts)
    assert CANARY not in caplog.text
    assert CANARY not in "\n".join(said)


def test_other_users_of_the_library_log_as_before(hook: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Channel("chat", hook.url(), "env:CHAT").send("s", "t")
    logging.getLogger("apprise").warning("of another")
    assert "of another" in caplog.text
    assert "Sent JSON" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "wecombot://key-0123456789", "dingtalk://0123456789abcdef/13800000000", "feishu://0123456789abcdef01234567",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general", "workflows://example.org/workflow1a/signature2b",
        "mailtos://u:p@example.org?to=a@example.org", "twilio://AC0123456789abcdef0123456789abcdef:0123456789abcdef0123456789abcdef@+14155550100/+14155550101",
    ],
)  # fmt: skip
def test_chat_mail_and_sms_services_that_people_use_are_known(url: str) -> None:
    """R-ORG-4: WeCom, DingTalk, Feishu, Slack, Teams, mail, SMS."""
    assert "one" == Channel("one", url, "env:ONE").name
