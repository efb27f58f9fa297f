"""Telling people: what is due is written down, sent, and its delivery written down (R-RESP-8, R-ORG-4, G1).

At most one message leaves over one channel to one recipient: `model.informing` says when another channel is tried.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from blocks import durable
from blocks.channels import Answer, Channel
from blocks.home import home
from blocks.secrets import Secrets
from checks.many import AT_ONCE, side_by_side
from model.canonical import now
from model.communication import Channel as Declared
from model.communication import Communication, address
from model.errors import Damaged, ReinstateError, Transient
from model.informing import OVERDUE, Send, interrupted, late, newly_held, releases, sends
from model.messages import MessageHeld, Telling, Told
from tasks.messages import Text, compose
from tasks.one_act import one_act
from tasks.work import Work, open_work

ATTEMPTS = 3
"""So often a channel is tried that surely did not take the message; then the next one."""

WAIT = 1.0
"""Seconds before the second attempt; twice that before the third."""

Open = Callable[[Work, str, Declared], Channel]


def open_channel(work: Work, name: str, declared: Declared) -> Channel:
    """Open a channel of the plan.

    Raises:
        BadInput: its secret is not there, or is no Apprise URL. Transient: the secret's keeper does not answer.
    """
    return channel_of(work.file.secrets, name, declared)


def channel_of(secrets: Secrets, name: str, declared: Declared) -> Channel:
    """A channel, opened and not used; raises as `open_channel`."""
    return Channel(name, secrets.resolve(declared.url), declared.url, personal=declared.reaches is not None)


@dataclass(frozen=True)
class Ready:
    """A message whose intent is durable."""

    send: Send
    text: Text


def something_due(work: Work, at: datetime | None = None) -> bool:
    """Whether anybody must be told anything now; reads only the journal."""
    plan = work.plan.told
    if plan is None:
        return False
    records = work.store.read(work.incident.id)
    at = at or now()
    return bool(
        interrupted(records) or late(records, plan, at) or newly_held(records, plan, at)
        or sends(records, plan, work.plan.people, at)
    )  # fmt: skip


@one_act(name="inform", task_run_name="tell people about {incident}")
def inform(incident: str) -> str:
    """Tell everybody who is due a message (R-RESP-8)."""
    return tell(open_work(incident))


def tell(work: Work, opened: Open = open_channel) -> str:
    """Send what is due, over the next channel where one fails, until nothing is left to try.

    Args:
        work: the incident.
        opened: opens a channel.

    Returns:
        What was sent, in one sentence.

    Raises:
        Transient: another process is doing it.
    """
    plan = work.plan.told
    if plan is None:
        return "The plan names nobody to tell."
    delivered = failed = 0
    with durable.locked(_lock(work), patience=0):
        _settle_interrupted(work)
        _note_late(work, plan)
        for one in newly_held(work.store.read(work.incident.id), plan, now()):
            work.record(MessageHeld(message=one.name))
        while batch := _begin(work, plan):
            results = [
                told.result for told in side_by_side(lambda one: _send(work, plan, one, opened), batch)
            ]
            delivered += results.count("delivered")
            failed += len(results) - results.count("delivered")
    return f"{delivered} messages delivered, {failed} not or not surely."


def _lock(work: Work) -> Path:
    """Held while messages of this incident are sent; the kernel releases it when its holder dies."""
    return durable.make_folder(home() / "locks") / f"{work.incident.id}.inform.lock"


def _settle_interrupted(work: Work) -> None:
    """Nobody else sends now, so what has no outcome was interrupted: it may have been sent."""
    for left in interrupted(work.store.read(work.incident.id)):
        work.record(
            Told(
                message=left.message, channel=left.channel, to=left.to, result="unknown",
                sentence="It was interrupted while it was being sent.",
            )
        )  # fmt: skip


def _note_late(work: Work, plan: Communication) -> None:
    for one in late(work.store.read(work.incident.id), plan, now()):
        work.note_once(
            f"{OVERDUE}: progress to {one.audience} was due at {one.due:%Y-%m-%d %H:%M} UTC and was not sent."
        )


def keep_text(work: Work, text: Text) -> str:
    """Keep a text beside the journal; returns its SHA-256."""
    if text.problem:
        work.note_once(text.problem)
    data = f"{text.subject}\n\n{text.body}".encode()
    sha256 = hashlib.sha256(data).hexdigest()
    work.store.put(f"incidents/{work.incident.id}/messages/{sha256}.txt", data)
    return sha256


def approved_text(work: Work, sha256: str) -> Text:
    """The text that was approved, to the letter.

    Raises:
        Damaged: it is not there, or was altered.
    """
    where = f"incidents/{work.incident.id}/messages/{sha256}.txt"
    data = work.store.get(where) or b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Damaged("the text that was approved is not there any more.", where, "approve the message again")
    subject, _, body = data.decode().partition("\n\n")
    return Text(subject, body, f"{subject}\n{body.partition(chr(10) * 2)[0]}")


def _begin(work: Work, plan: Communication) -> list[Ready]:
    """Write down the next few messages that are about to be sent; all are durable when this returns (G1)."""
    records, at = work.store.read(work.incident.id), now()
    released = releases(records)
    ready: list[Ready] = []
    for send in sends(records, plan, work.plan.people, at):
        if len(ready) == AT_ONCE:
            break
        if plan.audiences[send.message.audience].approve:
            sha256 = released[send.message.name].sha256
            try:
                text = approved_text(work, sha256)
            except Damaged as error:  # it waits for a new approval; the others do not wait for it
                work.note_once(f"{send.message.name} is not sent: {error}")
                continue
        else:
            text = compose(work.plan, work.incident, records, send.message, at)
            sha256 = keep_text(work, text)
        work.record(
            Telling(
                message=send.message.name, moment=send.message.occasion.moment, audience=send.message.audience,
                channel=send.route.channel, to=send.route.to, subject=text.subject, sha256=sha256,
                language=plan.audiences[send.message.audience].language,
            )
        )  # fmt: skip
        ready.append(Ready(send, text))
    return ready


def _send(work: Work, plan: Communication, ready: Ready, opened: Open) -> Told:
    """Send one message over one channel; every way it can end is an outcome (R-RESP-8)."""
    send, begun = ready.send, time.monotonic()
    declared = plan.channels[send.route.channel]
    to = address(work.plan.people[send.route.to], declared.reaches) if declared.reaches else ""
    text = ready.text
    again = Retrying(
        retry=retry_if_exception_type(Transient), stop=stop_after_attempt(ATTEMPTS), wait=wait_exponential(WAIT),
        reraise=True,
    )  # fmt: skip
    phone = declared.reaches == "phone"

    def once() -> Answer:
        channel = opened(work, send.route.channel, declared)
        return channel.send("", text.short, to) if phone else channel.send(text.subject, text.body, to)

    result, sentence = "failed", ""
    try:
        answer = again(once)
        result, sentence = answer.result, answer.sentence
    except ReinstateError as error:
        sentence = str(error)
    except Exception as error:  # noqa: BLE001 - a defect below must not stop a recovery, nor be sent again
        result, sentence = "unknown", f"A defect of the channel: {type(error).__name__}."
    told = Told.model_validate(
        {
            "message": send.message.name, "channel": send.route.channel, "to": send.route.to, "result": result,
            "sentence": sentence, "seconds": round(time.monotonic() - begun, 1),
        }
    )  # fmt: skip
    work.record(told)  # at once: whoever is killed while others are still being sent loses only those
    return told
