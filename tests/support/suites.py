"""The suite operators expect, asked of one database of any kind as a plan would ask it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks.expectations import expect_tables
from model.assets import DatabaseAsset
from model.finding import CheckResult
from model.manifest import Manifest
from model.plan import Checks, TableChecks
from tests.model import builders

SUITE = (
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}},
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "note"}},
    {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 10}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "total", "min_value": 0}},
    {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "note", "regex": "^it"}},
)


def table(name: str = "orders", expectations: Sequence[object] = (), **more: object) -> TableChecks:
    """One table of the plan's `checks`."""
    return TableChecks.model_validate(
        {"database": "database", "table": name, "expectations": expectations, **more}
    )


def ask(
    asset: DatabaseAsset,
    connect: Callable[[], AbstractContextManager[Connection]],
    secrets: Secrets,
    *checks: TableChecks,
    manifest: Manifest | None = None,
) -> list[CheckResult]:
    """The results, one for each table."""
    plan = builders.plan().model_copy(update={"assets": {"database": asset}, "checks": Checks(tables=checks)})
    known = {"database": manifest} if manifest is not None else {}
    return list(expect_tables(plan, lambda _name: connect(), secrets, known))


def said(result: CheckResult) -> dict[str, str]:
    """What is wrong: subject → what was found."""
    return {finding.subject.partition("(")[0]: finding.actual for finding in result.findings}
