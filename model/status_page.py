"""What everybody may know: the state of a service and the history of its incidents, from the journals (R-RESP-8)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from model.assets import Seconds
from model.canonical import Value
from model.communication import SHORTEST, Language
from model.incident import Kind
from model.messages import Moment

Health = Literal["works", "disrupted", "by hand"]
"""Of a service: it works; an incident is open; the last recovery ended without it working again."""


class StatusPage(Value):
    """A page for everybody, as files that any web server can serve.

    Attributes:
        folder: where the files are written; a relative path is beside the plan.
        url: address at which people see it, for the links of the feed.
        languages: of the page; the first is `index.html`.
        since: an incident is shown once it is `opened`, or only once damage is `confirmed`.
        every: while an incident is open, the page says that it is updated so often, and is.
        days: so long an incident that has ended is shown.
        drills: show drills as well, with their mark.
    """

    folder: str = Field(min_length=1)
    url: str = Field(default="", pattern=r"^(https?://[^\s<>\"']+)?$")
    languages: tuple[Language, ...] = Field(default=("en",), min_length=1)
    since: Literal["opened", "confirmed"] = "confirmed"
    every: Annotated[Seconds, Field(ge=SHORTEST)] = 1800.0
    days: int = Field(default=90, ge=1, le=3650)
    drills: bool = False


class Update(Value):
    """What was told at one moment of an incident.

    Attributes:
        subject: by language.
        text: by language; paragraphs are parted by an empty line.
    """

    moment: Moment
    at: AwareDatetime
    subject: dict[Language, str]
    text: dict[Language, str]


class ShownIncident(Value):
    """An incident as everybody may know it.

    Attributes:
        level: I (gravest) to IV; empty until the damage is graded.
        doing: what goes on now, a key of `tasks.message_words.STEPS`.
        works: whether the service works again by it; None while it is open.
        updates: newest first.
    """

    id: str
    kind: Kind
    began: AwareDatetime
    ended: AwareDatetime | None
    level: str
    doing: str
    works: bool | None
    updates: tuple[Update, ...]


class Status(Value):
    """A page's content; `status.json` is this.

    Attributes:
        written: when it was last looked at.
        next_update: by when the page is written again while an incident is open; a page older than that is out of date.
        incidents: newest first.
    """

    service: str
    description: str
    health: Health
    written: AwareDatetime
    next_update: AwareDatetime | None
    incidents: tuple[ShownIncident, ...]

    @property
    def open(self) -> tuple[ShownIncident, ...]:
        """The incidents that have not ended."""
        return tuple(one for one in self.incidents if one.ended is None)


def health_of(incidents: tuple[ShownIncident, ...]) -> Health:
    """Of the service: real incidents decide, the newest that ended has the last word."""
    real = [one for one in incidents if one.kind is Kind.REAL]
    if any(one.ended is None for one in real):
        return "disrupted"
    return "works" if not real or real[0].works else "by hand"
