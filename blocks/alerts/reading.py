"""What the messages of each monitoring system say: strict, bounded, and nothing is believed that is not used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from blocks.alerts.bounds import (
    MOST,
    Labels,
    Lenient,
    Moment,
    Status,
    Text,
    bad,
    label_names,
    load,
    make_alert,
)
from model.alerts import Alert, AlertSource
from model.command import printable


class _Item(Lenient):
    status: Status
    labels: Labels
    annotations: Labels = {}
    startsAt: Moment  # noqa: N815 - as Alertmanager and Grafana write it
    fingerprint: Annotated[str, Field(min_length=1, max_length=200)]


class _Group(Lenient):
    alerts: Annotated[list[_Item], Field(max_length=MOST)]


class _Service(Lenient):
    summary: Text = ""


class _Data(Lenient):
    id: Annotated[str, Field(min_length=1, max_length=200)]
    title: Text = ""
    created_at: Moment | None = None
    service: _Service = _Service()
    incident_key: Text = ""


class _Event(Lenient):
    event_type: Text
    resource_type: Text = ""
    occurred_at: Moment
    data: dict[str, Any]


class _PagerDuty(Lenient):
    event: _Event


class _Dimension(Lenient):
    name: Text
    value: Text


class _Trigger(Lenient):
    Dimensions: list[_Dimension] = []


class _Alarm(Lenient):
    AlarmName: Annotated[str, Field(min_length=1, max_length=255)]
    AlarmArn: Annotated[str, Field(min_length=1, max_length=600)]
    NewStateValue: Literal["ALARM", "OK", "INSUFFICIENT_DATA"]
    NewStateReason: Text = ""
    StateChangeTime: Text
    Trigger: _Trigger = _Trigger()


class _Zabbix(Lenient):
    """What our script for a webhook media type sends (docs/alerts.md): macros, and the time of the event."""

    event_id: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
    value: Literal["0", "1"]
    update: Literal["0", "1"] = "0"
    host: Text
    name: Text
    opdata: Text = ""
    since: Moment


class _Nagios(Lenient):
    """What a notification command of Nagios or Icinga posts as a form: its macros."""

    type: Text
    host: Annotated[str, Field(min_length=1, max_length=200)]
    service: Annotated[str, Field(max_length=200)] = ""
    state: Text = ""
    output: Text = ""
    since: Annotated[str, Field(pattern=r"^[0-9]{1,11}(\.[0-9]+)?$")]


class _Datadog(Lenient):
    """The payload of a webhook as docs/alerts.md has it: Datadog's variables."""

    alert_id: Annotated[str, Field(min_length=1, max_length=200)]
    cycle_key: Annotated[str, Field(max_length=200)] = ""
    transition: Text
    hostname: Text
    title: Text
    message: Text = ""
    date: Annotated[str, Field(pattern=r"^[0-9]{13}$")]


class _Standard(Lenient):
    """Our own, for whoever can write the message."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    fingerprint: Annotated[str, Field(min_length=1, max_length=200)]
    status: Status
    host: Text
    cause: Annotated[str, Field(min_length=1, max_length=200)]
    summary: Annotated[str, Field(max_length=500)] = ""
    since: Moment


def _group(source: AlertSource, data: Mapping[str, Any]) -> list[Alert]:
    host, cause = label_names(source)
    return [
        make_alert(
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
    host, cause = label_names(source)
    return [
        make_alert(one.id, status, labels.get(host, ""), labels.get(cause) or one.title or "no name", one.title,
               one.created_at or event.occurred_at)
    ]  # fmt: skip


def _sns(source: AlertSource, data: Mapping[str, Any]) -> list[Alert]:
    """The alarm in a notification whose signature was proven before; `Message` is JSON in a string."""
    message = data.get("Message")
    if not isinstance(message, str):
        raise bad("its `Message` is no text.")
    alarm = _Alarm.model_validate(load(message.encode()))
    if alarm.NewStateValue == "INSUFFICIENT_DATA":
        return []
    labels = {one.name: one.value for one in alarm.Trigger.Dimensions} | {"AlarmName": alarm.AlarmName}
    host, cause = label_names(source)
    try:
        since = datetime.strptime(alarm.StateChangeTime, "%Y-%m-%dT%H:%M:%S.%f%z")
    except ValueError:
        raise bad("its `StateChangeTime` is no moment.") from None
    status: Status = "firing" if alarm.NewStateValue == "ALARM" else "resolved"
    return [
        make_alert(alarm.AlarmArn[-200:], status, labels.get(host, ""), labels.get(cause) or alarm.AlarmName,
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
    host, name = label_names(source)
    labels = {key: value for key, value in data.items() if isinstance(value, str)}
    return make_alert(fingerprint, status, labels.get(host, ""), labels.get(name) or cause, said, since)


def _standard(_: AlertSource, data: Mapping[str, Any]) -> list[Alert]:
    one = _Standard.model_validate(data)
    return [make_alert(one.fingerprint, one.status, one.host, one.cause, one.summary, one.since)]


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
        raise bad(f"its {where or 'message'}: {printable(first['msg'])}.") from None
