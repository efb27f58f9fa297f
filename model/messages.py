"""Records of messages to people: about to be sent, and what became of it (R-RESP-8)."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from model.canonical import Value


class Moment(StrEnum):
    """When people are told."""

    OPENED = "opened"
    CONFIRMED = "confirmed"
    DECIDED = "decided"
    PROGRESS = "progress"
    IMPACT_CHANGED = "impact_changed"
    RECOVERED = "recovered"
    ENDED = "ended"
    ASKED = "asked"
    REMINDED = "reminded"
    ESCALATED = "escalated"
    HELD = "held"


class Telling(Value):
    """A message is about to be sent; durable before it is. There is at most one per message, channel and recipient.

    Attributes:
        message: `MOMENT/AUDIENCE`, or `MOMENT-N/AUDIENCE` for what happens more than once.
        channel: name in the plan; never its URL.
        to: id of the person; empty where the channel reaches whoever reads it.
        subject: as it was sent.
        sha256: of the text, which lies beside the journal.
    """

    type: Literal["telling"] = "telling"
    message: str = Field(max_length=160)
    moment: Moment
    audience: str
    channel: str
    to: str = ""
    language: str
    subject: str
    sha256: str


class Told(Value):
    """What became of a message.

    Attributes:
        result: `delivered`: the channel's service took it; `failed`: it certainly was not delivered; `unknown`: it may
            have been sent.
        sentence: the reason, without any part of the channel's URL.
    """

    type: Literal["told"] = "told"
    message: str = Field(max_length=160)
    channel: str
    to: str = ""
    result: Literal["delivered", "failed", "unknown"]
    sentence: str = ""
    seconds: float = 0.0


class MessageHeld(Value):
    """A message waits until somebody approves its text."""

    type: Literal["message_held"] = "message_held"
    message: str = Field(max_length=160)


class MessageReleased(Value):
    """Somebody decided on a held message; what is sent is this text, to the letter.

    Attributes:
        sha256: of the text, which lies beside the journal.
        proof: how the person proved that it is them; see `model.signoff.Vote`.
    """

    type: Literal["message_released"] = "message_released"
    message: str = Field(max_length=160)
    person: str
    role: str
    decision: Literal["approve", "deny"]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    proof: Literal["totp", "ssh"]
    proof_ref: str
