"""What the messages of each monitoring system say: strict, bounded, and nothing is believed that is not used."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

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


class _Lenient(BaseModel):
    """Keys we do not use may come and go; those we use have their type, and nothing is coerced."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


Moment = Annotated[AwareDatetime, Field(strict=False)]


class _Item(_Lenient):
    status: Status
    labels: Labels
    annotations: Labels = {}
    startsAt: Moment  # noqa: N815 - as Alertmanager and Grafana write it
    fingerprint: Annotated[str, Field(min_length=1, max_length=200)]


class _Group(_Lenient):
    alerts: Annotated[list[_Item], Field(max_length=MOST)]


class _Service(_Lenient):
    summary: Text = ""


class _Data(_Lenient):
    id: Annotated[str, Field(min_length=1, max_length=200)]
    title: Text = ""
    created_at: Moment | None = None
    service: _Service = _Service()
    incident_key: Text = ""


class _Event(_Lenient):
    event_type: Text
    resource_type: Text = ""
    occurred_at: Moment
    data: dict[str, Any]


class _PagerDuty(_Lenient):
    event: _Event


class _Dimension(_Lenient):
    name: Text
    value: Text


class _Trigger(_Lenient):
    Dimensions: list[_Dimension] = []


class _Alarm(_Lenient):
    AlarmName: Annotated[str, Field(min_length=1, max_length=255)]
    AlarmArn: Annotated[str, Field(min_length=1, max_length=600)]
    NewStateValue: Literal["ALARM", "OK", "INSUFFICIENT_DATA"]
    NewStateReason: Text = ""
    StateChangeTime: Text
    Trigger: _Trigger = _Trigger()


class _Standard(_Lenient):
    """Our own, for whoever can write the message."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    fingerprint: Annotated[str, Field(min_length=1, max_length=200)]
    status: Status
    host: Text
    cause: Annotated[str, Field(min_length=1, max_length=200)]
    summary: Annotated[str, Field(max_length=500)] = ""
    since: Moment


def load(body: bytes) -> dict[str, Any]:
    """The JSON object of a message.

    Raises:
        BadInput: too large, too deep, or no JSON object.
    """
    if len(body) > LARGEST:
        raise _bad(f"it has {len(body)} bytes; {LARGEST} are read.")
    if _depth(body) > DEEPEST:
        raise _bad(f"it is nested deeper than {DEEPEST} levels.")
    try:
        data = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _bad(f"it is no JSON: {printable(str(error))[:100]}.") from None
    if not isinstance(data, dict):
        raise _bad("it is no JSON object.")
    return data


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _depth(body: bytes) -> int:
    """How deep brackets are nested outside of strings: known before anything is parsed."""
    deepest = depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _bad(what: str) -> BadInput:
    return BadInput(what, "alert", "see docs/alerts.md for what each source sends")


def _group(source: AlertSource, data: Mapping[str, Any]) -> list[Alert]:
    host, cause = _label_names(source)
    return [
        _alert(
            one.fingerprint, one.status, one.labels.get(host, ""), one.labels.get(cause) or "no name",
            one.annotations.get("summary") or one.annotations.get("description") or "", one.startsAt,
        )
        for one in _Group.model_validate(data).alerts
    ]  # fmt: skip


def _pagerduty(source: AlertSource, data: Mapping[str, Any]) -> list[Alert]:
    event = _PagerDuty.model_validate(data).event
    known: dict[str, Status] = {"incident.triggered": "firing", "incident.resolved": "resolved"}
    status = known.get(event.event_type)
    if status is None:
        return []
    one = _Data.model_validate(event.data)
    labels = {
        "source": one.service.summary,
        "service": one.service.summary,
        "title": one.title,
        "incident_key": one.incident_key,
    }
    host, cause = _label_names(source)
    return [
        _alert(one.id, status, labels.get(host, ""), labels.get(cause) or one.title or "no name", one.title,
               one.created_at or event.occurred_at)
    ]  # fmt: skip


def _sns(source: AlertSource, data: Mapping[str, Any]) -> list[Alert]:
    """The alarm in a notification whose signature was proven before; `Message` is JSON in a string."""
    message = data.get("Message")
    if not isinstance(message, str):
        raise _bad("its `Message` is no text.")
    alarm = _Alarm.model_validate(load(message.encode()))
    if alarm.NewStateValue == "INSUFFICIENT_DATA":
        return []
    labels = {one.name: one.value for one in alarm.Trigger.Dimensions} | {"AlarmName": alarm.AlarmName}
    host, cause = _label_names(source)
    try:
        since = datetime.strptime(alarm.StateChangeTime, "%Y-%m-%dT%H:%M:%S.%f%z")
    except ValueError:
        raise _bad("its `StateChangeTime` is no moment.") from None
    status: Status = "firing" if alarm.NewStateValue == "ALARM" else "resolved"
    return [
        _alert(alarm.AlarmArn[-200:], status, labels.get(host, ""), labels.get(cause) or alarm.AlarmName,
               alarm.NewStateReason, since)
    ]  # fmt: skip


def _standard(_: AlertSource, data: Mapping[str, Any]) -> list[Alert]:
    one = _Standard.model_validate(data)
    return [_alert(one.fingerprint, one.status, one.host, one.cause, one.summary, one.since)]


_READERS: dict[str, Callable[[AlertSource, Mapping[str, Any]], list[Alert]]] = {
    "alertmanager": _group, "grafana": _group, "pagerduty": _pagerduty, "sns": _sns, "standard": _standard,
}  # fmt: skip


def read_alerts(source: AlertSource, data: Mapping[str, Any]) -> list[Alert]:
    """What a proven message says.

    Args:
        source: the plan's.
        data: its JSON object.

    Raises:
        BadInput: it is not what this kind of source sends.
    """
    try:
        return _READERS[source.kind](source, data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _bad(f"its {where or 'message'}: {printable(first['msg'])}.") from None


def _label_names(source: AlertSource) -> tuple[str, str]:
    return source.host_label or HOST_LABELS[source.kind], source.cause_label or CAUSE_LABELS[source.kind]


def _alert(fingerprint: str, status: Status, target: str, cause: str, summary: str, since: datetime) -> Alert:
    return Alert(
        fingerprint=_line(fingerprint)[:200], status=status, target=target[:200], cause=_line(cause)[:200] or "no name",
        summary=_line(summary)[:500], since=since.astimezone(UTC),
    )  # fmt: skip


def _line(text: str) -> str:
    return " ".join(printable(text).split())
