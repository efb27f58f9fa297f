"""Damaged MariaDB and SQLite databases get their whole recovery point; a server that is silent only its service."""

from __future__ import annotations

import pytest

from model.assets import MariadbAsset, ServiceAsset, SqliteAsset
from model.finding import Code
from model.plan import Plan
from model.proposal import RestoreCluster, returns_to
from model.supplies import PointSupply, Supplies
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


@pytest.fixture
def directories(plan: Plan) -> Plan:
    """Two databases of one server, backed up by mariabackup."""
    rows = MariadbAsset(
        kind="mariadb", host="web-1", database="shop", backup="tree", service="server", services=("app",),
        method="mariabackup", data_directory="/var/lib/mysql",
    )  # fmt: skip
    both = {"rows": rows, "more": rows.model_copy(update={"database": "more"})}
    return plan.model_copy(update={"assets": {**plan.assets, **both}})


def physical(name: str) -> PointSupply:
    one = point(name)
    return one.model_copy(
        update={
            "manifest": one.manifest.model_copy(update={"format": "mariabackup"}),
            "replayable": "All of it can be replayed.",
        }
    )


def test_whole_data_directory_is_restored_once_for_all_databases_of_its_server(directories: Plan) -> None:
    """R-RESP-4: what is lost, and what could be replayed by hand, is declared; the silent server starts on it."""
    wrong = [
        finding(Code.DATABASE_CHECKSUM_FAILED, "rows", "orders"),
        finding(Code.DATABASE_CHECKSUM_FAILED, "more", "bills"),
        finding(Code.DATABASE_UNREACHABLE, "rows", "shop"),
    ]
    proposal = climb(directories, *wrong, supplies=Supplies(points=(physical("rows"), physical("more"))))
    assert ["restore_cluster rows restore", "restart_service app restore"] == kinds(proposal)
    action = proposal.actions[0]
    assert isinstance(action, RestoreCluster)
    assert ("/var/lib/mysql", False) == (action.data_directory, action.replays)
    assert {one.id for one in wrong} == set(action.findings)
    assert action.point == returns_to(action)
    assert "app, server stand still" in action.reason
    (loss,) = proposal.losses
    assert "any database of the server of shop after" in loss.sentence
    assert loss.sentence.endswith("All of it can be replayed.")
    assert () == proposal.unmet


def test_dump_from_before_the_plan_changed_is_still_restored_as_a_dump(directories: Plan) -> None:
    wrong = finding(Code.DATABASE_CHECKSUM_FAILED, "rows", "orders")
    proposal = climb(directories, wrong, supplies=Supplies(points=(point("rows"),)))
    assert "restore_database rows restore" == kinds(proposal)[0]


def test_data_directory_is_exchanged_before_a_dump_is_loaded_into_its_server(directories: Plan) -> None:
    """Whatever the order in the plan: the dump would go away with the damaged folder."""
    wrong = [finding(Code.DATABASE_CHECKSUM_FAILED, name, "orders") for name in ("rows", "more")]
    proposal = climb(directories, *wrong, supplies=Supplies(points=(point("rows"), physical("more"))))
    assert ["restore_cluster more restore", "restore_database rows restore"] == kinds(proposal)[:2]


def test_silent_server_with_data_to_start_on_is_only_restarted(directories: Plan) -> None:
    wrong = finding(Code.DATABASE_UNREACHABLE, "rows", "shop")
    assert ["restart_service server repair"] == kinds(
        climb(directories, wrong, supplies=Supplies(points=(physical("rows"),)))
    )
