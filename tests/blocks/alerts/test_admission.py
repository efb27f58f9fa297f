"""Messages of monitoring systems: recorded ones are read, forged and malformed ones refused (R-USE-6, guarantees)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from blocks.alerts.admission import Admitted, admit
from blocks.alerts.bounds import LARGEST
from blocks.alerts.sns import is_amazon
from model.alerts import Alert, AlertSource
from model.errors import BadInput, Refused

AT = datetime(2026, 11, 27, 10, 0, tzinfo=UTC)
PAYLOADS = Path(__file__).parent / "payloads"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:alarms"
KEY = base64.b64encode(b"k" * 32).decode()
OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()
SIGNER = ed25519.Ed25519PrivateKey.from_private_bytes(b"s" * 32)
PUBLIC = "whpk_" + base64.b64encode(SIGNER.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
SECRETS = {
    "alertmanager": ("token-new", "token-old"),
    "grafana": ("grafana-secret",),
    "pagerduty": ("pd-secret",),
    "standard": (f"whsec_{KEY}", OLD, PUBLIC),
    "sns": (),
    "zabbix": ("zabbix-token",),
    "nagios": ("nagios-token",),
    "datadog": ("datadog-token",),
}
AMAZON = rsa.generate_private_key(65537, 2048)


def certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(AMAZON.public_key())
    made = (
        made.serial_number(1).not_valid_before(AT - timedelta(days=1)).not_valid_after(AT + timedelta(days=1))
    )
    return made.sign(AMAZON, SHA256()).public_bytes(Encoding.PEM)


class Amazon:
    """What stands at Amazon's addresses; remembers what was fetched."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    def __call__(self, url: str) -> bytes:
        self.fetched.append(url)
        return certificate()


def source(kind: str) -> AlertSource:
    secrets = [f"env:S{n}" for n, _ in enumerate(SECRETS[kind])]
    return AlertSource.model_validate(
        {"kind": kind, "secrets": secrets, "topic": TOPIC if kind == "sns" else ""}
    )


def mac(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def standard(
    body: bytes, secret: str = f"whsec_{KEY}", at: datetime = AT, ident: str = "msg_1"
) -> dict[str, str]:
    moment = str(int(at.timestamp()))
    signed = f"{ident}.{moment}.".encode() + body
    key = base64.b64decode(secret.partition("_")[2])
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": ident, "webhook-timestamp": moment, "webhook-signature": f"v1,{signature}"}


def by_key(body: bytes) -> dict[str, str]:
    moment = str(int(AT.timestamp()))
    signature = base64.b64encode(SIGNER.sign(f"msg_1.{moment}.".encode() + body)).decode()
    return {"webhook-id": "msg_1", "webhook-timestamp": moment, "webhook-signature": f"v1a,{signature}"}


def notification(message: str, **changes: object) -> bytes:
    data: dict[str, Any] = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Subject": "ALARM",
        "Message": message,
        "Timestamp": "2026-11-27T09:59:30.000Z",
        "SignatureVersion": "2",
        "SigningCertURL": "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-1.pem",
    }
    data |= {key: value for key, value in changes.items() if key in data or key in {"Token", "SubscribeURL"}}
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    if data["Type"] != "Notification":
        del data["Subject"]
    text = "".join(f"{name}\n{data[name]}\n" for name in names if name in data)
    data["Signature"] = base64.b64encode(AMAZON.sign(text.encode(), PKCS1v15(), SHA256())).decode()
    return json.dumps(data | {k: v for k, v in changes.items() if k in {"Signature", "Later"}}).encode()


def recorded(kind: str) -> tuple[bytes, dict[str, str]]:
    """A recorded message with what proves it."""
    if kind == "sns":
        return notification((PAYLOADS / "cloudwatch.json").read_text()), {}
    body = (PAYLOADS / f"{kind}.{'form' if kind == 'nagios' else 'json'}").read_bytes()
    return body, {
        "alertmanager": {"authorization": "Bearer token-new"},
        "grafana": {"x-grafana-alerting-signature": mac("grafana-secret", body)},
        "pagerduty": {"x-pagerduty-signature": f"v1={mac('other', body)},v1={mac('pd-secret', body)}"},
        "standard": standard(body),
        "zabbix": {"authorization": "Bearer zabbix-token"},
        "nagios": {"authorization": "Bearer nagios-token"},
        "datadog": {"authorization": "Bearer datadog-token"},
    }[kind]


def take(kind: str, body: bytes, headers: Mapping[str, str], at: datetime = AT) -> Admitted:
    return admit(source(kind), headers, body, SECRETS[kind], at, Amazon())


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


EXPECTED: dict[str, list[Alert]] = {
    "alertmanager": [
        Alert(
            fingerprint="c4ea5a6b2ea3b6a2",
            status="firing",
            target="10.0.0.5:9100",
            cause="ShopDown",
            summary="The shop does not answer",
            since=moment("2026-11-27T09:58:02.131+00:00"),
        ),
        Alert(
            fingerprint="9c2bd0f3e1a4c5d6",
            status="resolved",
            target="10.0.0.6:9100",
            cause="DiskFull",
            summary="",
            since=moment("2026-11-27T08:00:00+00:00"),
        ),
    ],
    "grafana": [
        Alert(
            fingerprint="57c6d9296de2ad39",
            status="firing",
            target="web-1",
            cause="High error rate",
            summary="5xx above 10 %",
            since=moment("2026-11-27T09:00:00+00:00"),
        )
    ],
    "pagerduty": [
        Alert(
            fingerprint="PGR0VU2",
            status="firing",
            target="web-1",
            cause="A little bump in the road",
            summary="A little bump in the road",
            since=moment("2026-11-27T09:58:59+00:00"),
        )
    ],
    "standard": [
        Alert(
            fingerprint="zabbix-19021",
            status="firing",
            target="web-1",
            cause="Checksum of /etc/passwd changed",
            summary="vfs.file.cksum changed",
            since=moment("2026-11-27T09:57:00+00:00"),
        )
    ],
    "zabbix": [
        Alert(
            fingerprint="zabbix-19021",
            status="firing",
            target="web-1",
            cause="Checksum of /etc/passwd has changed on web-1",
            summary="3c1a2f",
            since=moment("2026-11-27T09:57:00+00:00"),
        )
    ],
    "nagios": [
        Alert(
            fingerprint=hashlib.sha256(b"web-1\nHTTP shop").hexdigest(),
            status="firing",
            target="web-1",
            cause="HTTP shop",
            summary="CRITICAL: connect to address 10.0.0.5 and port 443: Connection refused",
            since=moment("2026-11-27T09:58:00+00:00"),
        )
    ],
    "datadog": [
        Alert(
            fingerprint="7614853230483186311",
            status="firing",
            target="web-1",
            cause="[Triggered on {host:web-1}] The shop does not answer",
            summary="Connection refused on port 443",
            since=moment("2026-11-27T09:58:00+00:00"),
        )
    ],
    "sns": [
        Alert(
            fingerprint="arn:aws:cloudwatch:eu-central-1:123456789012:alarm:web-1 is down",
            status="firing",
            target="i-0abcdef1234567890",
            cause="web-1 is down",
            summary="Threshold Crossed: 1 datapoint [1.0] was greater than the threshold (0.0).",
            since=moment("2026-11-27T09:56:00.123+00:00"),
        )
    ],
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_recorded_message_is_read(kind: str) -> None:
    body, headers = recorded(kind)
    assert EXPECTED[kind] == take(kind, body, headers).alerts


@pytest.mark.parametrize("kind", [kind for kind in EXPECTED if kind != "sns"])
def test_message_without_its_proof_is_refused(kind: str) -> None:
    body, _ = recorded(kind)
    with pytest.raises(Refused) as caught:
        take(kind, body, {})
    assert caught.value.remedy


@pytest.mark.parametrize("kind", ["grafana", "pagerduty", "standard"])
def test_one_changed_byte_is_refused(kind: str) -> None:
    body, headers = recorded(kind)
    changed = body.replace(b"web-1", b"web-2")
    assert changed != body
    with pytest.raises(Refused, match="signature"):
        take(kind, changed, headers)


NO_CHANGE: list[str] = []


@pytest.mark.parametrize(
    ("kind", "old", "new", "statuses"),
    [
        ("zabbix", '"value":"1"', '"value":"0"', ["resolved"]),
        ("zabbix", '"update":"0"', '"update":"1"', NO_CHANGE),
        ("nagios", "type=PROBLEM", "type=RECOVERY", ["resolved"]),
        ("nagios", "type=PROBLEM", "type=Problem", ["firing"]),
        ("nagios", "type=PROBLEM", "type=ACKNOWLEDGEMENT", NO_CHANGE),
        ("nagios", "type=PROBLEM", "type=DOWNTIMESTART", NO_CHANGE),
        ("datadog", '"Triggered"', '"Recovered"', ["resolved"]),
        ("datadog", '"Triggered"', '"Re-Triggered"', ["firing"]),
        ("datadog", '"Triggered"', '"No Data"', ["firing"]),
        ("datadog", '"Triggered"', '"Muted"', NO_CHANGE),
    ],
)
def test_what_is_over_and_what_concerns_only_people(
    kind: str, old: str, new: str, statuses: list[str]
) -> None:
    """That it is over has the fingerprint of what it ends; an acknowledgement opens nothing."""
    body, headers = recorded(kind)
    changed = body.decode().replace(old, new, 1).encode()
    assert changed != body
    found = take(kind, changed, headers).alerts
    assert statuses == [alert.status for alert in found]
    assert {alert.fingerprint for alert in found} <= {alert.fingerprint for alert in EXPECTED[kind]}


def test_host_that_is_down_has_a_cause_without_a_service() -> None:
    body, headers = recorded("nagios")
    changed = body.replace(b"service=HTTP+shop", b"service=").replace(b"CRITICAL", b"DOWN")
    (alert,) = take("nagios", changed, headers).alerts
    assert ("host DOWN", "web-1") == (alert.cause, alert.target)


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("nagios", b"type=PROBLEM&type=RECOVERY&host=web-1&since=1", "stands twice"),
        ("nagios", b'{"type": "PROBLEM"}', "is no form"),
        ("nagios", b"&".join(b"f%d=1" % n for n in range(50)), "is no form"),
        ("nagios", b"type=PROBLEM&host=web-1&since=yesterday", "since"),
        ("nagios", b"type=PROBLEM&host=&since=1", "host"),
        ("nagios", b"type=PROBLEM&host=%ff&since=1", "is no form"),
        ("zabbix", b'{"event_id": "*UNKNOWN*", "value": "1", "host": "w", "name": "n", "since": "x"}', "event_id"),
        ("zabbix", b'{"event_id": "1", "value": 1, "host": "w", "name": "n", "since": "2026-11-27T09:57Z"}', "value"),
        ("datadog", b'{"alert_id": "1", "transition": "Triggered", "hostname": "w", "title": "t", "date": 5}', "date"),
        ("datadog", b'{"id": "1", "title": "the payload that Datadog sends by itself"}', "alert_id"),
    ],
)  # fmt: skip
def test_message_that_is_not_what_the_source_sends_is_refused(kind: str, body: bytes, words: str) -> None:
    _, headers = recorded(kind)
    with pytest.raises(BadInput, match=words):
        take(kind, body, headers)


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


@pytest.mark.parametrize(
    ("headers", "right"),
    [
        ({"authorization": "Bearer token-old"}, True),
        (basic("prometheus:token-new"), True),
        ({"authorization": "bearer token-new"}, True),
        ({"authorization": "Bearer token"}, False),
        ({"authorization": "Bearer "}, False),
        ({"authorization": "Basic ???"}, False),
        (basic("token-new"), False),
        ({"authorization": "Digest token-new"}, False),
        (basic("token-new:x"), False),
        ({"authorization": ""}, False),
    ],
)
def test_tokens(headers: dict[str, str], right: bool) -> None:
    body, _ = recorded("alertmanager")
    if right:
        assert 2 == len(take("alertmanager", body, headers).alerts)
    else:
        with pytest.raises(Refused, match="token is missing or wrong"):
            take("alertmanager", body, headers)


STANDARD, _ = recorded("standard")


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (standard(STANDARD, OLD), None),
        (by_key(STANDARD), None),
        (
            standard(STANDARD)
            | {"webhook-signature": "v1,AAAA v2,BBBB " + standard(STANDARD)["webhook-signature"]},
            None,
        ),
        (standard(STANDARD, at=AT - timedelta(seconds=301)), "signed 301 s ago"),
        (standard(STANDARD, at=AT + timedelta(seconds=301)), "signed -301 s ago"),
        (standard(STANDARD) | {"webhook-timestamp": "now"}, "its time is missing"),
        (
            standard(STANDARD) | {"webhook-timestamp": str(int(AT.timestamp()) + 1)},
            "signature is missing or wrong",
        ),
        (standard(STANDARD) | {"webhook-id": "msg_2"}, "signature is missing or wrong"),
        (standard(STANDARD) | {"webhook-id": ""}, "webhook-id"),
        (standard(STANDARD, ident="a.b"), "webhook-id"),
        (
            standard(STANDARD, "whsec_" + base64.b64encode(b"x" * 32).decode()),
            "signature is missing or wrong",
        ),
        (
            by_key(STANDARD)
            | {"webhook-signature": by_key(STANDARD)["webhook-signature"].replace("v1a", "v1")},
            "signature",
        ),
        (
            standard(STANDARD)
            | {"webhook-signature": standard(STANDARD)["webhook-signature"].replace("v1,", "v1a,")},
            "signature",
        ),
        (standard(STANDARD) | {"webhook-signature": ""}, "signature"),
    ],
)
def test_standard_webhooks(headers: dict[str, str], words: str | None) -> None:
    """HMAC and Ed25519, a key being rotated, an old message, and a signature of the other kind."""
    if words is None:
        assert 1 == len(take("standard", STANDARD, headers).alerts)
    else:
        with pytest.raises(Refused, match=words):
            take("standard", STANDARD, headers)


ALARM = (PAYLOADS / "cloudwatch.json").read_text()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (notification(ALARM, TopicArn=TOPIC.replace("alarms", "others")), "another topic"),
        (notification(ALARM, SignatureVersion="1"), "version 2"),
        (notification(ALARM, Type="Reminder"), "no message of Amazon SNS"),
        (notification(ALARM, Timestamp="2026-11-27T08:00:00.000Z"), "signed 7200 s ago"),
        (notification(ALARM, Timestamp="soon"), "its time is missing"),
        (notification(ALARM, Signature="AAAA"), "signature is wrong"),
        (notification(ALARM).replace(b"ALARM", b"OKOK_", 1), "signature is wrong"),
        (
            notification(ALARM, SigningCertURL="https://sns.eu-central-1.amazonaws.com.evil.example/x.pem"),
            "certificate",
        ),
        (notification(ALARM, SigningCertURL="http://sns.eu-central-1.amazonaws.com/x.pem"), "certificate"),
        (notification(ALARM, SigningCertURL="https://sns.eu-central-1.amazonaws.com/x"), "certificate"),
    ],
)
def test_forged_notification_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words):
        take("sns", body, {})


def test_subscription_is_confirmed_at_amazon_only() -> None:
    url = "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=x"
    body = notification(
        "You have chosen to subscribe.", Type="SubscriptionConfirmation", Token="x", SubscribeURL=url
    )
    amazon = Amazon()
    assert "confirmed" in admit(source("sns"), {}, body, (), AT, amazon).note
    assert url == amazon.fetched[-1]
    evil = notification(
        "Hello", Type="SubscriptionConfirmation", Token="x", SubscribeURL="http://169.254.169.254/latest"
    )
    amazon = Amazon()
    with pytest.raises(Refused, match="confirmation is not one of Amazon"):
        admit(source("sns"), {}, evil, (), AT, amazon)
    assert 1 == len(amazon.fetched), "the certificate, and nothing else"


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("https://sns.us-east-1.amazonaws.com/x.pem", True),
        ("https://sns.cn-north-1.amazonaws.com.cn/x.pem", True),
        ("https://sns.us-east-1.amazonaws.com:444/x.pem", False),
        ("https://a@sns.us-east-1.amazonaws.com/x.pem", False),
        ("https://evil.example/sns.us-east-1.amazonaws.com/x.pem", False),
        ("https://snsxus-east-1.amazonaws.com/", False),
        ("https://sns.us-east-1.amazonaws.com@evil.example/x.pem", False),
        ("https://[", False),
        (None, False),
        ("", False),
    ],
)
def test_addresses_of_amazon(url: object, right: bool) -> None:
    assert right is is_amazon(url)


def changed(**values: object) -> bytes:
    return json.dumps(json.loads(STANDARD) | values).encode()


MALFORMED: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"hello", "no JSON"),
    "a list": (b"[]", "no JSON object"),
    "empty": (b"", "no JSON"),
    "NaN": (STANDARD.replace(b'"firing"', b"NaN"), "no JSON"),
    "not UTF-8": (b'{"a":"\xff"}', "no JSON"),
    "too deep": (b'{"a":' + b"[" * 30 + b"]" * 30 + b"}", "nested deeper"),
    "too large": (b'{"a":"' + b"x" * LARGEST + b'"}', "bytes"),
    "unknown key": (changed(__prefect_kind="jinja"), "__prefect_kind"),
    "missing key": (b'{"status":"firing"}', "fingerprint"),
    "status of another kind": (changed(status="acknowledged"), "status"),
    "number as text": (changed(fingerprint=7), "fingerprint"),
    "object as text": (changed(host={"__prefect_kind": "jinja", "template": "{{ 1 }}"}), "host"),
    "long text": (changed(summary="x" * 501), "summary"),
    "moment without zone": (changed(since="2026-11-27T09:57:00"), "since"),
    "no cause": (changed(cause=""), "cause"),
}


@pytest.mark.parametrize(("body", "words"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_message_is_named(body: bytes, words: str) -> None:
    """Rightly signed all the same: a source that was taken over is bounded as well."""
    with pytest.raises(BadInput, match=words) as caught:
        take("standard", body, standard(body))
    assert caught.value.remedy


def test_names_are_made_printable() -> None:
    body = changed(host="web-1\x1b[31m", cause="a\nb\x00{{ 7*7 }}", summary="c\r\nd\u202e")
    (alert,) = take("standard", body, standard(body)).alerts
    assert "\x1b" not in alert.cause + alert.summary + alert.fingerprint
    assert "\n" not in alert.cause + alert.summary
    assert "\u202e" not in alert.summary


@pytest.mark.parametrize("event", ["incident.acknowledged", "service.updated", "pagey.ping"])
def test_other_events_of_pagerduty_say_nothing(event: str) -> None:
    body = (PAYLOADS / "pagerduty.json").read_bytes().replace(b"incident.triggered", event.encode())
    assert [] == take("pagerduty", body, {"x-pagerduty-signature": f"v1={mac('pd-secret', body)}"}).alerts


def test_time_of_grafana_is_part_of_what_is_signed() -> None:
    body, _ = recorded("grafana")
    for when, right in ((AT, True), (AT - timedelta(minutes=6), False)):
        stamp = str(int(when.timestamp()))
        headers = {
            "x-grafana-alerting-timestamp": stamp,
            "x-grafana-alerting-signature": mac("grafana-secret", f"{stamp}:".encode() + body),
        }
        if right:
            assert 1 == len(take("grafana", body, headers).alerts)
        else:
            with pytest.raises(Refused, match="signed 360 s ago"):
                take("grafana", body, headers)


Sign = Callable[[bytes], dict[str, str]]
SIGNED: dict[str, Sign] = {
    "alertmanager": lambda body: {"authorization": "Bearer token-new"},
    "grafana": lambda body: {"x-grafana-alerting-signature": mac("grafana-secret", body)},
    "pagerduty": lambda body: {"x-pagerduty-signature": f"v1={mac('pd-secret', body)}"},
    "standard": standard,
    "zabbix": lambda body: {"authorization": "Bearer zabbix-token"},
    "nagios": lambda body: {"authorization": "Bearer nagios-token"},
    "datadog": lambda body: {"authorization": "Bearer datadog-token"},
}
WORDS = ["alerts", "event", "data", "status", "labels", "host", "id"]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["alerts", "event", "data", "status", "labels", "host", "id"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(
    st.sampled_from(sorted(SIGNED)),
    st.binary(max_size=300) | JSON.map(lambda data: json.dumps(data).encode()),
)
def test_whatever_comes_is_read_or_refused_by_name(kind: str, body: bytes) -> None:
    """Fuzzing: no other error, whatever a source that holds the secret sends."""
    try:
        admitted = take(kind, body, SIGNED[kind](body))
    except (BadInput, Refused):
        return
    assert all(isinstance(alert, Alert) for alert in admitted.alerts)
