"""One message of a monitoring system: proven, then read (R-USE-6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from blocks.alerts import sns
from blocks.alerts.bounds import LARGEST, load, load_form
from blocks.alerts.proving import require_hmac, require_recent, require_standard, require_token
from blocks.alerts.reading import read_alerts
from model.alerts import Alert, AlertSource
from model.errors import BadInput


class Admitted(NamedTuple):
    """What a proven message says.

    Attributes:
        alerts: none when it says nothing that concerns us.
        note: what was done besides, such as confirming a subscription.
    """

    alerts: list[Alert]
    note: str = ""


def admit(
    source: AlertSource,
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[str],
    at: datetime,
    get: sns.Fetch = sns.fetch,
) -> Admitted:
    """Prove and read a message.

    Args:
        source: the plan's.
        headers: of the request, names in lower case.
        body: its raw bytes.
        secrets: of the source.
        at: the present moment.
        get: fetches what Amazon SNS names.

    Raises:
        Refused: it is not proven. BadInput: it is not what this kind of source sends.
        Transient: the proof needs a service that does not answer.
    """
    if len(body) > LARGEST:
        raise BadInput(f"it has more than {LARGEST} bytes.", "alert", "send fewer alerts in one message")
    match source.kind:
        case "alertmanager" | "zabbix" | "datadog":
            require_token(headers, secrets)
        case "nagios":
            require_token(headers, secrets)
            return Admitted(read_alerts(source, load_form(body)))
        case "grafana":
            _require_grafana(headers, body, secrets, at)
        case "pagerduty":
            given = [
                one.strip().removeprefix("v1=")
                for one in headers.get("x-pagerduty-signature", "").split(",")[:10]
            ]
            require_hmac(given, body, secrets)
        case "standard":
            require_standard(headers, body, secrets, at)
        case "sns":
            data = load(body)
            if sns.require_sns(data, source.topic, at, get) != "Notification":
                if data.get("Type") == "SubscriptionConfirmation":
                    sns.confirm(data, get)
                    return Admitted([], "The subscription is confirmed.")
                return Admitted([], "Nothing is confirmed.")
            return Admitted(read_alerts(source, data))
    return Admitted(read_alerts(source, load(body)))


def _require_grafana(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], at: datetime) -> None:
    """Its HMAC where it is set up (with its time, when that is signed as well), or else a token."""
    signature = headers.get("x-grafana-alerting-signature", "")
    if not signature:
        require_token(headers, secrets)
        return
    moment = headers.get("x-grafana-alerting-timestamp", "")
    if moment:
        require_recent(moment, at)
        body = f"{moment}:".encode() + body
    require_hmac([signature], body, secrets)
