"""What monitoring systems say, and what the plan makes of it (R-RESP-1, R-USE-6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from model.assets import Name, SecretRef
from model.canonical import Value

AlertKind = Literal["alertmanager", "grafana", "zabbix", "nagios", "pagerduty", "datadog", "sns", "standard"]

HOST_LABELS: dict[str, str] = {
    "alertmanager": "instance", "grafana": "instance", "pagerduty": "service", "sns": "InstanceId", "standard": "host",
    "zabbix": "host", "nagios": "host", "datadog": "hostname",
}  # fmt: skip
CAUSE_LABELS: dict[str, str] = {
    "alertmanager": "alertname", "grafana": "alertname", "pagerduty": "title", "sns": "AlarmName", "standard": "cause",
    "zabbix": "name", "nagios": "service", "datadog": "title",
}  # fmt: skip

Label = Annotated[str, Field(min_length=1, max_length=200)]


class AlertSource(Value):
    """A monitoring system that may report damage.

    Attributes:
        kind: how it speaks. `nagios` is for Icinga as well; `standard` is the signed endpoint for everything that lets
            you write the message yourself: https://www.standardwebhooks.com
        secrets: what its messages are proven by; any of them counts, so that a key can be rotated.
        host_label: label whose value names the host; each kind has its usual one.
        cause_label: label whose value says what is wrong.
        topic: for `sns`: ARN of the only topic that counts.
    """

    kind: AlertKind
    secrets: tuple[SecretRef, ...] = ()
    host_label: str = ""
    cause_label: str = ""
    topic: str = Field(
        default="", pattern=r"^(arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256})?$"
    )


class AlertRules(Value):
    """Which monitoring systems may report damage, and which hosts their names mean.

    Attributes:
        sources: by the name that stands in the address they post to: `/alerts/PLAN/SOURCE`.
        hosts: value of the host label → host of the plan. A name of a host means that host. Nothing else is a host.
    """

    sources: dict[Name, AlertSource] = Field(min_length=1)
    hosts: dict[Label, Name] = {}

    def wrong(self, hosts: Mapping[str, object]) -> Iterator[tuple[str, str]]:
        """Hosts that are not defined and sources nobody can prove, as (path below `alerts`, sentence)."""
        for label, host in self.hosts.items():
            if host not in hosts:
                yield f"hosts.{label}", f"host {host!r} is not defined; defined: {', '.join(hosts)}"
        for name, source in self.sources.items():
            if source.kind == "sns" and not source.topic:
                yield f"sources.{name}.topic", "an `sns` source needs the ARN of its topic"
            if source.kind != "sns" and not source.secrets:
                yield f"sources.{name}.secrets", "nothing would prove its messages; name a secret"

    def host_of(self, label: str, hosts: Mapping[str, object]) -> str | None:
        """The host of the plan that a label's value means; None when it means none."""
        return self.hosts.get(label) or (label if label in hosts else None)


class Alert(Value):
    """One thing a monitoring system says.

    Attributes:
        fingerprint: the system's own name of what is wrong; the same while it lasts.
        target: value of the label that names the host, as it came.
        cause: what is wrong, such as the name of the alerting rule.
        summary: for people.
        since: when it began, by the system's clock.
    """

    fingerprint: str = Field(min_length=1, max_length=200)
    status: Literal["firing", "resolved"]
    target: str = Field(max_length=200)
    cause: str = Field(min_length=1, max_length=200)
    summary: str = Field(max_length=500)
    since: AwareDatetime
