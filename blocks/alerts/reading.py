"""What the messages of each monitoring system say: strict, bounded, and nothing is believed that is not used."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

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


class _Zabbix(_Lenient):
    """What our script for a webhook media type sends (docs/alerts.md): macros, and the time of the event."""

    event_id: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
    value: Literal["0", "1"]
    update: Literal["0", "1"] = "0"
    host: Text
    name: Text
    opdata: Text = ""
    since: Moment


class _Nagios(_Lenient):
    """What a notification command of Nagios or Icinga posts as a form: its macros."""

    type: Text
    host: Annotated[str, Field(min_length=1, max_length=200)]
    service: Annotated[str, Field(max_length=200)] = ""
    state: Text = ""
    output: Text = ""
    since: Annotated[str, Field(pattern=r"^[0-9]{1,11}(\.[0-9]+)?$")]


class _Datadog(_Lenient):
    """The payload of a webhook as docs/alerts.md has it: Datadog's variables."""

    alert_id: Annotated[str, Field(min_length=1, max_length=200)]
    cycle_key: Annotated[str, Field(max_length=200)] = ""
    transition: Text
    hostname: Text
    title: Text
    message: Text = ""
    date: Annotated[str, Field(pattern=r"^[0-9]{13}$")]


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


def load_form(body: bytes) -> dict[str, Any]:
    """The fields of a form; each stands once.

    Raises:
        BadInput: it is no form of text.
    """
    try:
        fields = parse_qsl(body.decode("ascii"), True, True, errors="strict", max_num_fields=40)
    except ValueError:
        raise _bad("it is no form.") from None
    if len(dict(fields)) != len(fields):
        raise _bad("a field of its form stands twice.")
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


def _zabbix(source: AlertSource, data: Mapping[str, Any]) -> list[Alert]:
    one = _Zabbix.model_validate(data)
    if one.update == "1":  # somebody acknowledged it or wrote a comment
        return []
    status: Status = "firing" if one.value == "1" else "resolved"
    return [_named(source, data, f"zabbix-{one.event_id}", status, one.name, one.opdata, one.since)]


def _nagios(source: AlertSource, data: Mapping[str, Any]) -> list[Alert]:
    one = _Nagios.model_validate(data)
    known: dict[str, Status] = {"PROBLEM": "firing", "RECOVERY": "resolved"}
    status = known.get(one.type.upper())
    if status is None:  # an acknowledgement, flapping, a downtime
        return []
    since = datetime.fromtimestamp(float(one.since), UTC)
    said, cause = f"{one.state}: {one.output}", one.service or f"host {one.state or 'check'}"
    fingerprint = hashlib.sha256(f"{one.host}\n{one.service}".encode()).hexdigest()
    return [_named(source, data, fingerprint, status, cause, said, since)]


def _datadog(source: AlertSource, data: Mapping[str, Any]) -> list[Alert]:
    one = _Datadog.model_validate(data)
    status = _TRANSITIONS.get(one.transition)
    if status is None:
        return []
    since = datetime.fromtimestamp(int(one.date) / 1000, UTC)
    return [_named(source, data, one.cycle_key or one.alert_id, status, one.title, one.message, since)]


_TRANSITIONS: dict[str, Status] = {
    "Triggered": "firing", "Re-Triggered": "firing", "Renotify": "firing", "No Data": "firing",
    "Re-No Data": "firing", "Warn": "firing", "Re-Warn": "firing", "Recovered": "resolved",
}  # fmt: skip


def _named(
    source: AlertSource, data: Mapping[str, Any], fingerprint: str, status: Status, cause: str, said: str,
    since: datetime,
) -> Alert:  # fmt: skip
    """An alert of a source that has no labels: the fields of its message stand for them."""
    host, name = _label_names(source)
    labels = {key: value for key, value in data.items() if isinstance(value, str)}
    return _alert(fingerprint, status, labels.get(host, ""), labels.get(name) or cause, said, since)


def _standard(_: AlertSource, data: Mapping[str, Any]) -> list[Alert]:
    one = _Standard.model_validate(data)
    return [_alert(one.fingerprint, one.status, one.host, one.cause, one.summary, one.since)]


_READERS: dict[str, Callable[[AlertSource, Mapping[str, Any]], list[Alert]]] = {
    "alertmanager": _group, "grafana": _group, "pagerduty": _pagerduty, "sns": _sns, "standard": _standard,
    "zabbix": _zabbix, "nagios": _nagios, "datadog": _datadog,
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
