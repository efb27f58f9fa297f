"""What every message of a monitoring system must be: small, flat, of the right types; nothing else is read."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from model.alerts import CAUSE_LABELS, HOST_LABELS, Alert, AlertSource
from model.command import printable
from model.errors import BadInput

LARGEST = 64 * 1024
"""Bytes of a message."""

DEEPEST = 12
"""Levels of lists and mappings in it."""

MOST = 1000
"""Alerts in one message."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[{\]}]")

Status = Literal["firing", "resolved"]
Text = Annotated[str, Field(max_length=4000)]
Labels = dict[Annotated[str, Field(max_length=200)], Text]


class Lenient(BaseModel):
    """Keys we do not use may come and go; those we use have their type, and nothing is coerced."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


Moment = Annotated[AwareDatetime, Field(strict=False)]


def load(body: bytes) -> dict[str, Any]:
    """The JSON object of a message.

    Raises:
        BadInput: too large, too deep, or no JSON object.
    """
    if len(body) > LARGEST:
        raise bad(f"it has {len(body)} bytes; {LARGEST} are read.")
    if _depth(body) > DEEPEST:
        raise bad(f"it is nested deeper than {DEEPEST} levels.")
    try:
        data = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise bad(f"it is no JSON: {printable(str(error))[:100]}.") from None
    if not isinstance(data, dict):
        raise bad("it is no JSON object.")
    return data


def load_form(body: bytes) -> dict[str, Any]:
    """The fields of a form; each stands once.

    Raises:
        BadInput: it is no form of text.
    """
    try:
        fields = parse_qsl(body.decode("ascii"), True, True, errors="strict", max_num_fields=40)
    except ValueError:
        raise bad("it is no form.") from None
    if len(dict(fields)) != len(fields):
        raise bad("a field of its form stands twice.")
    return dict(fields)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _depth(body: bytes) -> int:
    """How deep brackets are nested outside of strings: known before anything is parsed."""
    deepest = depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def bad(what: str) -> BadInput:
    """The refusal of a message that is not what its source sends."""
    return BadInput(what, "alert", "see docs/alerts.md for what each source sends")


def label_names(source: AlertSource) -> tuple[str, str]:
    """The labels that name host and cause."""
    return source.host_label or HOST_LABELS[source.kind], source.cause_label or CAUSE_LABELS[source.kind]


def make_alert(
    fingerprint: str, status: Status, target: str, cause: str, summary: str, since: datetime
) -> Alert:
    """An alert whose texts are one printable line each and not too long."""
    return Alert(
        fingerprint=_line(fingerprint)[:200], status=status, target=target[:200], cause=_line(cause)[:200] or "no name",
        summary=_line(summary)[:500], since=since.astimezone(UTC),
    )  # fmt: skip


def _line(text: str) -> str:
    return " ".join(printable(text).split())
