"""The plan as a drill follows it: nothing of it leads to production (R-DRILL-3, G12)."""

from __future__ import annotations

import pytest

from model.drill import StandIn
from model.errors import Refused
from model.plan import Plan
from model.planfile import read_plan
from model.staged import not_staging, staged
from tests.model import builders
from tests.model.bad_plans import STAGING

OTHER = builders.KEY.replace("JmZm", "JnZm")


def plan(changes: dict[str, str] | None = None, more: str = "") -> Plan:
    """The good plan with a stand-in, and texts replaced in it."""
    stand_in = STAGING.replace(builders.KEY, OTHER)
    text = f"{builders.PLAN_TEXT}drill:\n  staging: {{web-1: {stand_in}}}\n{more}"
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    return read_plan(text)


def test_every_host_is_replaced_under_its_name() -> None:
    """The same checks, tasks and flows work with it: only where they lead to has changed."""
    made = staged(plan())
    host = made.hosts["web-1"]
    assert isinstance(host, StandIn)
    assert ("198.51.100.9", "staging") == (host.address, host.role)
    assert plan().hosts["web-1"].machine_id == host.recorded_as
    assert host.machine_id != host.recorded_as
    assert "origin" not in host.model_dump()
    assert ("shop", "shop@staging") == (made.name, made.kept_as)
    assert plan().assets == made.assets


def test_probe_of_a_host_asks_its_stand_in() -> None:
    """`http://192.0.2.10/` is production; the drill asks the same page of staging."""
    assert "http://198.51.100.9/" == staged(plan()).checks.probes[0].url
    port = staged(plan({"http://192.0.2.10/": "http://192.0.2.10:8080/a?b=c"}))
    assert "http://198.51.100.9:8080/a?b=c" == port.checks.probes[0].url


def test_probe_from_the_host_of_itself_stays() -> None:
    """What a staging host asks of itself is staging."""
    own = {"http://192.0.2.10/": "http://127.0.0.1:8080/"}
    assert "http://127.0.0.1:8080/" == staged(plan(own)).checks.probes[0].url


def test_probe_of_another_address_is_refused_until_the_plan_says_where() -> None:
    """A public name leads to production: a drill that asked it would pass for the wrong reason."""
    public = {"http://192.0.2.10/": "https://shop.example.org/"}
    with pytest.raises(Refused, match=r"https://shop\.example\.org/ is not known to be staging"):
        staged(plan(public))
    made = staged(plan(public, "  probes: {home: 'https://shop.staging.example.org/'}\n"))
    assert "https://shop.staging.example.org/" == made.checks.probes[0].url


@pytest.mark.parametrize(
    ("server", "there"),
    [("192.0.2.10", "198.51.100.9"), ("/run/postgresql", "/run/postgresql"), ("127.0.0.1",) * 2],
)
def test_database_server_is_on_staging(server: str, there: str) -> None:
    """A database that its host reaches by network is that of the stand-in."""
    made = staged(plan({"database: shop, backup": f"database: shop, server: {server}, backup"}))
    assert there == getattr(made.assets["database"], "server", "")


def test_database_server_elsewhere_is_refused() -> None:
    """Staging that would reach a production database by name is no staging."""
    with pytest.raises(Refused, match=r"the server db\.example\.org is not known to be staging"):
        staged(plan({"database: shop, backup": "database: shop, server: db.example.org, backup"}))


def test_host_without_stand_in_is_refused() -> None:
    """R-DRILL-3: no default, not even for hosts that are staging themselves."""
    with pytest.raises(Refused, match="nothing stands in for web-1"):
        staged(builders.plan())


def test_freshness_is_not_asked_of_staging() -> None:
    """What was restored there is as old as its recovery point."""
    fresh = plan({"table: orders\n": "table: orders\n      fresh: [{column: at, within: 1h}]\n"})
    assert fresh.checks.tables[0].fresh
    assert () == staged(fresh).checks.tables[0].fresh


def test_stand_in_is_what_was_signed_and_no_production_host() -> None:
    """The first fact: every host of the mapping is there, with what speaks against it."""
    assert {"web-1": []} == not_staging(plan(), plan())
    moved = plan({"fedcba9876543210" * 2: "abcdef" * 5 + "ab"})
    assert {"web-1": ["the published plan names another host here"]} == not_staging(plan(), moved)
    assert {"web-1": ["the published plan names no stand-in here"]} == not_staging(builders.plan(), plan())
    shared = plan({OTHER: builders.KEY})
    assert {"web-1": ["its host key is that of production host web-1"]} == not_staging(shared, shared)
