"""The plan's part on information: who is told what, when, by which channel (R-RESP-8, R-ORG-4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from jinja2 import TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import AfterValidator, Field

from model.assets import Name, Seconds, SecretRef, Word
from model.canonical import Value
from model.messages import Moment

Language = Literal["en", "zh"]
GateName = Literal["decide", "accept", "break_glass", "publish"]

SHORTEST = 60.0
"""Seconds: progress more often than this is noise."""

WORDS = (
    "service", "description", "incident", "level", "degree", "scope", "approved", "decision", "going_back", "verdict",
    "lost", "took", "detected", "target", "at", "next", "steps", "summary", "details", "gate",
    "deadline", "missing", "at_deadline",
)  # fmt: skip
"""What a template of the plan may name; `docs/information.md` says what each is."""


def _template(text: str) -> str:
    environment = ImmutableSandboxedEnvironment()
    try:
        unknown = meta.find_undeclared_variables(environment.parse(text)) - set(WORDS)
    except TemplateError as error:
        raise ValueError(f"this is no Jinja template: {error}") from None
    if unknown:
        raise ValueError(f"{min(unknown)!r} is no word of a message; there are: {', '.join(WORDS)}")
    return text


Template = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_template)]
"""The text of a message, as a Jinja template."""


class Channel(Value):
    """A way to reach people, as an Apprise URL: mail, SMS, telephone, chat.

    Attributes:
        url: where the Apprise URL lives; it holds passwords and tokens, so it never stands in the plan.
        reaches: `email` or `phone`: one person at a time, whose address stands at `{to}` in the URL; left out: whoever
            reads it, such as a chat room.
    """

    url: SecretRef
    reaches: Literal["email", "phone"] | None = None


class Audience(Value):
    """People who are told the same, in the same words.

    Attributes:
        members: ids of people, and names of channels that reach whoever reads them.
        language: of the messages.
        moments: when they are told.
        every: time between two messages of `progress`.
        approve: a person of the information role (or the leading group, where nobody has it) approves each text first.
        gate: told only what concerns this gate, of the moments that do; left out: every gate.
        details: also what is for the emergency organisation only: the report's words, findings, reasons.
        templates: your own text for a moment, as a Jinja template; the mark of a drill is added in any case.
    """

    members: tuple[Word, ...] = Field(min_length=1)
    language: Language = "en"
    moments: tuple[Moment, ...] = Field(
        default=(
            Moment.OPENED, Moment.CONFIRMED, Moment.DECIDED, Moment.IMPACT_CHANGED, Moment.RECOVERED, Moment.ENDED,
        ),
        min_length=1,
    )  # fmt: skip
    every: Annotated[Seconds, Field(ge=SHORTEST)] = 1800.0
    approve: bool = False
    gate: GateName | None = None
    details: bool = False
    templates: dict[Moment, Template] = {}


class Communication(Value):
    """Who is told what, when and by which channel.

    Attributes:
        channels: ways to reach people.
        fall_back: names of channels in the order in which they are tried, until one delivers.
        audiences: who is told; any names.
    """

    channels: dict[Name, Channel] = Field(min_length=1)
    fall_back: tuple[Name, ...] = Field(min_length=1)
    audiences: dict[Word, Audience] = Field(min_length=1)

    def routes(self, member: str, people: Mapping[str, Reachable]) -> tuple[Route, ...]:
        """The ways to a member in the order in which they are tried, each at most once."""
        person = people.get(member)
        if person is None:
            rest = [c for c in self.fall_back if c != member and self.channels[c].reaches is None]
            return tuple(Route(channel) for channel in (member, *rest))
        return tuple(
            Route(channel, "" if reaches is None else member)
            for channel in self.fall_back
            if (reaches := self.channels[channel].reaches) is None or address(person, reaches)
        )

    def wrong(self, people: Mapping[str, Reachable]) -> Iterator[tuple[str, str]]:
        """Names that are not defined and people nobody can reach, as (path below `communication`, sentence)."""
        known = ", ".join(self.channels)
        for channel in self.fall_back:
            if channel not in self.channels:
                yield "fall_back", f"channel {channel!r} is not defined; defined: {known}"
        for name, audience in self.audiences.items():
            here = f"audiences.{name}"
            for member in audience.members:
                yield from ((f"{here}.members", what) for what in self._member_wrong(member, people))
            for moment in audience.templates:
                if moment not in audience.moments:
                    yield (
                        f"{here}.templates.{moment}",
                        f"{name!r} is not told at {moment}; add it to `moments`",
                    )

    def _member_wrong(self, member: str, people: Mapping[str, Reachable]) -> Iterator[str]:
        channel = self.channels.get(member)
        if member in people and channel is not None:
            yield f"{member!r} is both a person and a channel; rename the channel"
        elif member in people:
            if all(c in self.channels for c in self.fall_back) and not self.routes(member, people):
                yield f"{member!r} cannot be reached: no channel of `fall_back` has an address of theirs"
        elif channel is None:
            yield f"{member!r} is neither a person nor a channel of the plan"
        elif channel.reaches is not None:
            yield f"the channel {member!r} reaches people by their {channel.reaches}: name the people"


class Reachable(Protocol):
    """A person's addresses."""

    @property
    def email(self) -> str:
        """Empty when there is none."""
        ...

    @property
    def phone(self) -> str:
        """Empty when there is none."""
        ...


def address(person: Reachable, reaches: Literal["email", "phone"]) -> str:
    """A person's address on channels of this sort; empty when there is none."""
    return person.email if reaches == "email" else person.phone


@dataclass(frozen=True)
class Route:
    """A way to somebody: a channel, and the person where it reaches one at a time."""

    channel: str
    to: str = ""
