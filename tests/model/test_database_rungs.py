"""Damaged MariaDB and SQLite databases get their whole recovery point; a server that is silent only its service."""

from __future__ import annotations

import pytest

from model.assets import MariadbAsset, ServiceAsset, SqliteAsset
from model.finding import Code
from model.plan import Plan
from model.supplies import Supplies
from tests.model import builders
from tests.model.test_ladder import climb, finding, kinds, point


@pytest.fixture
def plan() -> Plan:
    host = "web-1"
    return builders.plan().model_copy(
        update={
            "assets": {
                "rows": MariadbAsset(
                    kind="mariadb", host=host, database="shop", backup="tree", service="server"
                ),
                "till": SqliteAsset(
                    kind="sqlite", host=host, path="/srv/till.db", backup="tree", services=("app",)
                ),
                "server": ServiceAsset(kind="service", host=host, unit="mariadb.service"),
                "app": ServiceAsset(kind="service", host=host, unit="till.service"),
            }
        }
    )


def test_damaged_databases_are_restored_and_the_loss_is_declared(plan: Plan) -> None:
    """R-RESP-4."""
    wrong = [
        finding(Code.DATABASE_TABLE_UNREADABLE, "rows", "orders"),
        finding(Code.DATABASE_CHECKSUM_FAILED, "till", "/srv/till.db"),
    ]
    proposal = climb(plan, *wrong, supplies=Supplies(points=(point("rows"), point("till"))))
    assert ["restore_database rows restore", "restore_database till restore"] == kinds(proposal)[:2]
    assert {"restart_service app restore"} == set(kinds(proposal)[2:])
    assert ["rows", "till"] == [loss.asset for loss in proposal.losses]
    assert "while app is stopped" in proposal.actions[1].reason
    assert () == proposal.unmet


def test_silent_server_is_restarted_and_nothing_is_restored(plan: Plan) -> None:
    proposal = climb(
        plan, finding(Code.DATABASE_UNREACHABLE, "rows", "shop"), supplies=Supplies(points=(point("rows"),))
    )
    assert ["restart_service server repair"] == kinds(proposal)


def test_without_a_recovery_point_the_damage_is_unmet(plan: Plan) -> None:
    wrong = finding(Code.DATABASE_EMPTY, "till", "/srv/till.db")
    assert [wrong.id] == [unmet.finding for unmet in climb(plan, wrong).unmet]
