"""Integrity expectations on restored tables: great-expectations, pushed down to the database (R-RESP-6).

great-expectations takes seconds to import, so it is imported where it is used. A check on nothing passes there; here an
empty table always fails, and an expectation that could not be evaluated is an ERROR, never a pass (G11).
"""

from __future__ import annotations

import logging
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.engine import URL

from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from model.assets import PostgresAsset
from model.errors import BadInput, ReinstateError, Transient
from model.finding import CheckResult, Code, Degree, Finding, Verdict, judged
from model.plan import Expectation, Plan, TableChecks

Connect = Callable[[str], Connection]
AT_LEAST_ONE_ROW = Expectation(type="expect_table_row_count_to_be_between", kwargs={"min_value": 1})


def expect_tables(plan: Plan, connect: Connect, secrets: Secrets) -> tuple[CheckResult, ...]:
    """Evaluate the plan's expectations; one result per table.

    Args:
        plan: the plan; without table checks nothing is imported and nothing comes back.
        connect: opens a connection to a host of the plan.
        secrets: resolver of the databases' passwords.

    Raises:
        Transient: the connection to a host was lost. BadInput: an expectation's type or arguments are wrong.
    """
    by_database: dict[str, list[TableChecks]] = defaultdict(list)
    for table in plan.checks.tables:
        by_database[table.database].append(table)
    results: list[CheckResult] = []
    for name, tables in sorted(by_database.items()):
        asset = plan.assets[name]
        if not isinstance(asset, PostgresAsset):
            raise BadInput(f"{name} is no database.", "checks.tables", "name an asset of kind postgresql")
        if asset.server.startswith("/"):
            raise BadInput(
                f"the expectations on {name} need a TCP address.",
                f"assets.{name}.server",
                "give the server's host name or address instead of its socket folder",
            )
        with connect(asset.host) as connection, connection.tunnel(asset.server, asset.port) as port:
            password = secrets.resolve(asset.password) if asset.password else None
            url = URL.create("postgresql+psycopg", asset.user, password, "127.0.0.1", port, asset.database)
            results += expect_through(url, asset.host, name, tables)
    return tuple(results)


def expect_through(
    url: URL, host: str, database: str, tables: Sequence[TableChecks]
) -> tuple[CheckResult, ...]:
    """Evaluate expectations on one database.

    Args:
        url: how to reach it from here.
        host: for the results.
        database: name of the asset, for the results.
        tables: what is expected.

    Raises:
        BadInput: an expectation's type is unknown or its arguments are wrong.
    """
    suites = [(table, [_expectation(one) for one in table.expectations]) for table in tables]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # great-expectations and its dependencies warn about themselves
        return tuple(_one_table(url, host, database, table, suite) for table, suite in suites)


def _expectation(wanted: Expectation) -> Any:  # noqa: ANN401 - great-expectations' own class
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        import great_expectations.expectations as known

        name = "".join(part.capitalize() for part in wanted.type.split("_"))
        kind = getattr(known, name, None)
        if kind is None:
            raise BadInput(
                f"there is no expectation {wanted.type!r}.",
                "checks.tables",
                "see great-expectations' gallery",
            )
        try:
            return kind(**wanted.kwargs)
        except (ValueError, TypeError) as error:
            reason = str(error).splitlines()[-1] if str(error) else type(error).__name__
            raise BadInput(
                f"the arguments of {wanted.type} are wrong: {reason}.", "checks.tables", "correct its kwargs"
            ) from None


def _one_table(url: URL, host: str, database: str, table: TableChecks, suite: Sequence[Any]) -> CheckResult:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    start = time.monotonic()
    schema, _, name = table.table.rpartition(".")
    try:
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        source = context.data_sources.add_sql(
            "restored", connection_string=url.render_as_string(hide_password=False)
        )
        asset = source.add_table_asset("table", table_name=name, schema_name=schema or None)
        batch = asset.add_batch_definition_whole_table("all").get_batch()
        wanted = [_expectation(AT_LEAST_ONE_ROW), *suite]
        findings, errors = [], []
        for expectation in wanted:
            answer = batch.validate(expectation, result_format="BOOLEAN_ONLY")
            if answer.exception_info and answer.exception_info.get("raised_exception") is not False:
                errors.append(f"{_named(expectation)} could not be evaluated")
            elif not answer.success:
                detail = batch.validate(expectation, result_format="SUMMARY").result
                findings.append(_finding(host, database, table.table, expectation, detail))
    except ReinstateError:
        raise
    except Exception as error:  # noqa: BLE001 - great-expectations raises its own, SQLAlchemy's and the driver's errors
        if "connection" in str(error).lower() and "refused" in str(error).lower():
            raise Transient(
                f"the database did not answer: {type(error).__name__}.", f"{host}:{database}"
            ) from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return _error(host, database, table.table, reason.replace(url.password or "\0", "***"))
    if errors:
        return _error(host, database, table.table, "; ".join(errors))
    result = judged(
        "expectations", host, f"{database}/{table.table}", len(wanted), tuple(findings), "expectations"
    )
    return result.model_copy(update={"seconds": round(time.monotonic() - start, 3)})


def _named(expectation: Any) -> str:  # noqa: ANN401 - great-expectations' own class
    column = getattr(expectation, "column", None)
    return f"{expectation.expectation_type}({column})" if column else str(expectation.expectation_type)


def _finding(host: str, database: str, table: str, expectation: Any, detail: dict[str, Any]) -> Finding:  # noqa: ANN401
    """What failed, in numbers only: failing rows may be personal data."""
    count = detail.get("unexpected_count")
    observed = detail.get("observed_value")
    number = observed if isinstance(observed, int | float) else "not as expected"
    actual = f"{count} rows differ" if count is not None else f"{number}"
    return Finding(
        code=Code.EXPECTATION_FAILED, host=host, asset=database, subject=f"{table}: {_named(expectation)}",
        degree=Degree.SERIOUS, expected="holds for every row", actual=actual,
    )  # fmt: skip


def _error(host: str, database: str, table: str, reason: str) -> CheckResult:
    return CheckResult(
        check="expectations", host=host, asset=f"{database}/{table}", verdict=Verdict.ERROR, examined=0,
        sentence=f"The expectations on {database}/{table} could not be evaluated: {reason}",
    )  # fmt: skip
