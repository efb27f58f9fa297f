"""The webhook gateway over HTTP, and what alerts lead to: an incident, never a repair (R-USE-6, N4, guarantees)."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from blocks.alerts.bounds import LARGEST
from blocks.alerts.spool import Spool
from blocks.home import open_store
from deployments.demo.processes import free_port
from deployments.gateway import app as gateway_app
from deployments.gateway.app import Gateway
from model.errors import BadPlan, Transient
from model.incident import Source
from model.journal import Noted
from model.planfile import read_plan
from tasks.alerting import Alerting
from tasks.work import PlanFile, load_plan, open_work
from tests.model.builders import PLAN_TEXT
from tests.support.waiting import wait_for

ALERTS = """\
alerts:
  sources:
    prometheus: {kind: alertmanager, secrets: ["file:token", "file:old-token"]}
  hosts: {"10.0.0.5:9100": web-1}
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanFile:
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    (tmp_path / "plan.yaml").write_text(PLAN_TEXT + ALERTS)
    for name, text in (("token", "new"), ("old-token", "old")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    return load_plan(str(tmp_path / "plan.yaml"))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "home")


class Served:
    """A gateway on a port, with a client."""

    def __init__(self, plan: PlanFile, spool: Spool) -> None:
        self.plan, self.spool, self.port = plan, spool, free_port()
        config = uvicorn.Config(
            Gateway(lambda: {"shop": plan}, spool).app(), port=self.port, log_level="warning"
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        wait_for("the gateway listens", lambda: self.server.started)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)

    def post(
        self,
        data: object,
        token: str = "new",
        path: str = "/alerts/shop/prometheus",
        **more: Any,  # noqa: ANN401 - handed on
    ) -> httpx.Response:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        headers = {"authorization": f"Bearer {token}", **more.pop("headers", {})}
        return self.client.post(path, content=body, headers=headers, **more)

    def stop(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(20)


@pytest.fixture
def served(plan: PlanFile, spool: Spool) -> Iterator[Served]:
    made = Served(plan, spool)
    yield made
    made.stop()


def message(*alerts: dict[str, Any]) -> dict[str, Any]:
    return {"version": "4", "alerts": list(alerts)}


def alert(
    number: int = 1,
    status: str = "firing",
    instance: str = "10.0.0.5:9100",
    cause: str = "ShopDown",
    since: str = "10:00",
) -> dict[str, Any]:
    return {
        "status": status,
        "fingerprint": f"f{number}",
        "labels": {"alertname": cause, "instance": instance},
        "annotations": {"summary": "The shop does not answer"},
        "startsAt": f"2026-11-27T{since}:00Z",
    }


def test_alert_is_durable_when_it_is_acknowledged(served: Served) -> None:
    answer = served.post(message(alert()))
    assert (202, {"taken": 1, "new": 1, "unknown": 0, "note": ""}) == (answer.status_code, answer.json())
    (group,) = Spool(served.spool.path.parent).waiting()
    assert ("shop", "web-1", "ShopDown") == (group.plan, group.host, group.cause)
    assert 0 == served.post(message(alert())).json()["new"], "sent again, it has no second effect"
    assert 202 == served.post(message(alert()), token="old").status_code, "a token that is being rotated"


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "wrong token": ({"token": "guess"}, 401, "token is missing or wrong"),
    "no such source": ({"path": "/alerts/shop/zabbix"}, 404, "no plan has this source"),
    "no such plan": ({"path": "/alerts/other/prometheus"}, 404, "no plan has this source"),
    "one byte too much": ({"data": b"x" * (LARGEST + 1)}, 413, "bytes are not read"),
    "compressed bomb": (
        {"data": gzip.compress(b"0" * 10_000_000), "headers": {"content-encoding": "gzip"}},
        415,
        "compressed",
    ),
    "no JSON": ({"data": b"hello"}, 422, "no JSON"),
    "deep": ({"data": b'{"alerts":' + b"[" * 500 + b"]" * 500 + b"}"}, 422, "nested deeper"),
    "wrong types": ({"data": {"alerts": [{"status": 1}]}}, 422, "status"),
    "unknown host": ({"data": message(alert(instance="10.0.0.9:9100"))}, 422, "is no host of the plan"),
    "host by its address": (
        {"data": message(alert(instance="web-1; rm -rf /"))},
        422,
        "is no host of the plan",
    ),
}


@pytest.mark.parametrize(("request_", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_message_is_refused_by_name_and_noted(
    served: Served, request_: dict[str, Any], status: int, words: str
) -> None:
    """Named, without effect, one record."""
    answer = served.post(request_.pop("data", message(alert())), **request_)
    assert status == answer.status_code
    assert words in answer.json()["error"]
    assert [] == served.spool.waiting()
    assert 1 == len(served.spool.refusals())


def test_large_message_without_a_length_is_cut_off(served: Served) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1024

    answer = served.client.post(
        "/alerts/shop/prometheus", content=parts(), headers={"authorization": "Bearer new"}
    )
    assert 413 == answer.status_code


def test_slow_message_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_app, "PATIENCE", 0.3)
    with socket.create_connection(("127.0.0.1", served.port)) as line:
        line.sendall(b"POST /alerts/shop/prometheus HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        line.settimeout(20)
        assert b" 408 " in line.recv(200)


def test_known_and_unknown_hosts_in_one_message(served: Served) -> None:
    answer = served.post(message(alert(1), alert(2, instance="elsewhere")))
    assert (202, 1, 1) == (answer.status_code, answer.json()["taken"], answer.json()["unknown"])
    assert "'elsewhere' is no host of the plan (ShopDown)." in served.spool.refusals()[0][3]


def test_full_disk_is_told_and_nothing_is_acknowledged(served: Served) -> None:
    pages = served.spool._connection.execute("PRAGMA page_count").fetchone()[0]
    served.spool._connection.execute(f"PRAGMA max_page_count={pages}")
    answers = [served.post(message(*(alert(100 * n + k) for k in range(100)))) for n in range(10)]
    assert 503 in {answer.status_code for answer in answers}
    assert "30" == next(a for a in answers if a.status_code == 503).headers["retry-after"]
    kept = sum(len(group.ids) for group in served.spool.waiting())
    assert kept == sum(answer.json()["new"] for answer in answers if answer.status_code == 202)


STARTED: list[str] = []


def dealing(plan: PlanFile, spool: Spool) -> Alerting:
    STARTED.clear()
    return Alerting(
        open_store(), spool, lambda: {"shop": plan}, lambda name, incident: STARTED.append(incident)
    )


def test_first_alert_opens_an_incident_and_the_next_ones_are_noted_on_it(served: Served) -> None:
    alerting = dealing(served.plan, served.spool)
    served.post(message(alert(1, since="09:58"), alert(2)))
    (dealt,) = alerting.deal()
    assert dealt.opened
    assert [dealt.incident] == STARTED
    work = open_work(dealt.incident)
    assert "ShopDown on web-1: The shop does not answer" == work.incident.summary
    assert ("prometheus", Source.WEBHOOK) == (work.incident.reported_by, work.incident.source)
    assert "09:58" == f"{work.incident.detected_at:%H:%M}"
    served.post(message(alert(3)))
    served.post(message(alert(1, "resolved")))
    for one in alerting.deal():
        assert (dealt.incident, False) == (one.incident, one.opened)
    notes = [p.sentence for r in work.store.read(dealt.incident) if isinstance(p := r.payload, Noted)]
    assert any("says that it is over: ShopDown on web-1" in note for note in notes)
    served.post(message(alert(9, cause="DiskFull")))
    assert [True] == [one.opened for one in alerting.deal()], "another cause is another incident"
    assert [] == alerting.deal()
    assert 2 == len(STARTED), "one recovery for each incident"


def test_cause_with_a_colon_is_one_cause(served: Served) -> None:
    """As Zabbix names them: `MySQL: Service is down`."""
    alerting = dealing(served.plan, served.spool)
    for number in range(3):
        served.post(message(alert(number, cause="MySQL: Service is down:")))
        alerting = dealing(served.plan, served.spool) if number == 1 else alerting
        assert [number == 0] == [one.opened for one in alerting.deal()]
    (ident,) = open_store().incidents()
    assert "MySQL – Service is down – on web-1: The shop does not answer" == open_work(ident).incident.summary


def test_resolved_alert_opens_nothing(served: Served) -> None:
    served.post(message(alert(1, "resolved")))
    assert [""] == [one.incident for one in dealing(served.plan, served.spool).deal()]
    assert () == tuple(open_store().incidents())


def test_killed_between_opening_and_noting_it_opens_no_second_one(served: Served) -> None:
    """Whoever deals with alerts is ended after the incident is open and before the spool knows."""
    served.post(message(alert()))
    alerting = dealing(served.plan, served.spool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served.spool, "handled", lambda ids: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            alerting.deal()
    (dealt,) = dealing(served.plan, served.spool).deal()
    assert not dealt.opened
    assert (dealt.incident,) == tuple(open_store().incidents())


def test_incident_whose_recovery_could_not_be_started_is_started_the_next_time(served: Served) -> None:
    """The server was away after the incident was open."""
    served.post(message(alert()))

    def broken(plan: str, incident: str) -> None:
        raise Transient(f"the server does not answer for {plan} {incident}.")

    with pytest.raises(Transient):
        Alerting(open_store(), served.spool, lambda: {"shop": served.plan}, broken).deal()
    (dealt,) = dealing(served.plan, served.spool).deal()
    assert ([dealt.incident], False) == (STARTED, dealt.opened)
    assert (dealt.incident,) == tuple(open_store().incidents())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('10.0.0.5:9100": web-1', '10.0.0.5:9100": web-9'), "host 'web-9' is not defined"),
        ((', secrets: ["file:token", "file:old-token"]', ""), "nothing would prove its messages"),
        (("kind: alertmanager", "kind: sns"), "needs the ARN of its topic"),
        (("kind: alertmanager", "kind: smoke"), "kind"),
    ],
)
def test_plan_whose_alerts_are_wrong_is_refused_with_the_place(change: tuple[str, str], words: str) -> None:
    text = PLAN_TEXT + ALERTS.replace(*change)
    assert text != PLAN_TEXT + ALERTS
    with pytest.raises(BadPlan, match="alerts") as caught:
        read_plan(text, "plan.yaml")
    assert words in str(caught.value)
