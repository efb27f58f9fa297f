"""Integrity expectations on tables, evaluated by great-expectations in the database itself (R-RESP-6).

No row travels: expectations become SQL. The first pass asks only yes or no; counts are asked for what failed. A table
without rows fails whatever is expected of it, and an expectation that raised is an error, never a pass (G11).
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tenacity import before_sleep_log, retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks import table_facts
from checks.host_sql import MariadbSession, SqliteSession, url_of
from checks.mariadb import MariadbTools
from checks.sqlite import SqliteFile
from checks.table_facts import Sums, sums_of
from model.assets import DatabaseAsset, MariadbAsset, PostgresAsset, SqliteAsset
from model.command import Command, printable
from model.errors import BadInput, Transient
from model.finding import CheckResult, Code, Degree, Finding, Verdict
from model.manifest import Manifest
from model.plan import Expectation, Plan, TableChecks

if TYPE_CHECKING:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.datasource.fluent.interfaces import Batch
    from great_expectations.datasource.fluent.sql_datasource import SQLDatasource
    from great_expectations.expectations.expectation import Expectation as GXExpectation
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

_LOG = logging.getLogger("reinstate.expectations")
CONNECT_SECONDS = 10
ASKED, PAUSE = 3, 1.0
"""How often a database is asked that breaks a connection off, and the seconds between."""
_COUNTED: dict[str, object] = {
    "result_format": "SUMMARY",
    "partial_unexpected_count": 0,
    "include_unexpected_rows": False,
}


def expect_tables(
    plan: Plan,
    connect: Callable[[str], AbstractContextManager[Connection]],
    secrets: Secrets,
    manifests: Mapping[str, Manifest] | None = None,
) -> tuple[CheckResult, ...]:
    """Evaluate every table check of a plan; one result per check, in the plan's order of databases.

    Args:
        plan: the plan.
        connect: opens a connection to a host of the plan by its name.
        secrets: resolver of the plan's references.
        manifests: of the recovery points that tables are compared with, by asset.

    Raises:
        BadInput: an expectation is not one great-expectations knows, or its arguments are wrong.
        Transient: a connection to a host was lost.
    """
    built = [(checks, [build(one) for one in checks.expectations]) for checks in plan.checks.tables]
    results: list[CheckResult] = []
    for name in dict.fromkeys(checks.database for checks in plan.checks.tables):
        asset = plan.assets[name]
        mine = [item for item in built if item[0].database == name]
        if not isinstance(asset, DatabaseAsset):
            continue  # the plan's own validation refuses this
        if isinstance(asset, PostgresAsset) and asset.server.startswith("/"):
            why = "its server is a socket directory, which no tunnel reaches: name it by address, with a password"
            results += [_error(asset, checks, why) for checks, _ in mine]
            continue
        try:
            results += _asked(connect, asset, secrets, mine, (manifests or {}).get(name))
        except _BrokenOff as error:
            results += [_error(asset, checks, error.what) for checks, _ in mine]
    return tuple(results)


class _BrokenOff(Transient):
    """The database answered, then the connection to it was gone."""


@retry(
    retry=retry_if_exception_type(_BrokenOff), stop=stop_after_attempt(ASKED), wait=wait_fixed(PAUSE),
    before_sleep=before_sleep_log(_LOG, logging.WARNING), reraise=True,
)  # fmt: skip
def _asked(
    connect: Callable[[str], AbstractContextManager[Connection]],
    asset: DatabaseAsset,
    secrets: Secrets,
    checks: Sequence[tuple[TableChecks, list[GXExpectation]]],
    manifest: Manifest | None,
) -> list[CheckResult]:
    """Results of one database; whatever breaks off is tried again over a new connection to the host."""
    with connect(asset.host) as connection:
        try:
            with _reached(connection, asset, secrets) as (url, sums):
                results = examine(url, asset, checks, manifest, sums)
        except _BrokenOff:
            raise
        except Transient as error:
            if not _lives(connection):
                raise
            return [_error(asset, table, error.what) for table, _ in checks]
        if any(result.verdict is Verdict.ERROR for result in results) and not _lives(connection):
            raise _BrokenOff(
                "the connection was lost while the database was asked.", asset.host, "run it again"
            )
        return results


def _lives(connection: Connection) -> bool:
    """A server that does not listen and a connection that is gone look alike: the host decides."""
    try:
        return connection.run(Command(("true",))).status is not None
    except Transient:
        return False


@contextmanager
def _reached(connection: Connection, asset: DatabaseAsset, secrets: Secrets) -> Iterator[tuple[str, Sums]]:
    """A URL of the database, and what makes checksums of its tables: by a tunnel, or by the host's own client."""
    match asset:
        case PostgresAsset():
            with connection.tunnel(asset.server, asset.port) as port, _url(asset, port, secrets) as url:
                yield url, sums_of(None)
        case MariadbAsset():
            with MariadbTools(connection, asset, secrets) as tools, url_of(MariadbSession(tools)) as url:
                yield url, sums_of(tools)
        case SqliteAsset():
            file = SqliteFile(connection, asset.path, asset.os_user)
            with url_of(SqliteSession(file)) as url:
                yield url, sums_of(file)


def build(expectation: Expectation) -> GXExpectation:
    """The expectation as great-expectations knows it.

    Raises:
        BadInput: unknown type, missing, unknown or wrong arguments.
    """
    from great_expectations.exceptions.exceptions import ExpectationNotFoundError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    remedy = "see the gallery of great-expectations 1.x for its name and arguments; correct the plan's checks"
    try:
        return ExpectationConfiguration(
            type=expectation.type, kwargs=dict(expectation.kwargs)
        ).to_domain_obj()
    except ExpectationNotFoundError:
        raise BadInput(f"there is no expectation {expectation.type!r}.", "checks.tables", remedy) from None
    except ValueError as error:
        what = "; ".join(str(error).splitlines()[1:3])
        raise BadInput(f"{shown(expectation)}: {what}.", "checks.tables", remedy) from None


def shown(expectation: Expectation) -> str:
    """An expectation in one line, for people."""
    words = ", ".join(f"{key}={value!r}" for key, value in sorted(expectation.kwargs.items()))
    return f"{expectation.type}({words})"


def examine(
    url: str,
    asset: DatabaseAsset,
    checks: Sequence[tuple[TableChecks, list[GXExpectation]]],
    manifest: Manifest | None = None,
    sums: Sums | None = None,
) -> list[CheckResult]:
    """Evaluate checks against one database.

    Args:
        url: SQLAlchemy URL of the database; holds no password.
        asset: the database, for the results.
        checks: tables with their built expectations.
        manifest: of the recovery point that tables are compared with.
        sums: makes the checksum of a table.

    Raises:
        Transient: the database answered, then broke a connection off.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.datasource.fluent.interfaces import TestConnectionError

    looked = [_look(url, table.table) for table, _ in checks]
    if not any(state == "rows" for state, _ in looked):
        return [_without_rows(asset, checks[number][0], *look) for number, look in enumerate(looked)]
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # it tells of every temporary folder
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    results = []
    for (table, built), (state, why) in zip(checks, looked, strict=True):
        if state != "rows":
            results.append(_without_rows(asset, table, state, why))
            continue
        facts = table_facts.look(url, table, manifest, sums)
        name = f"database-{len(results)}"
        add = (
            context.data_sources.add_postgres
            if isinstance(asset, PostgresAsset)
            else context.data_sources.add_sql
        )
        with warnings.catch_warnings():
            # It would rather have its own kind of source for SQLite, which opens files of this machine only.
            warnings.filterwarnings("ignore", message="You are using a generic SQLDatasource")
            try:
                source = add(name, connection_string=_in_schema(url, table.table))
            except TestConnectionError as error:
                cause = printable(" ".join(str(error.__cause__ or error).split()))[:300]
                raise _BrokenOff(
                    f"{table.table} could not be asked: {cause}.", asset.host, "run it again"
                ) from error
        try:
            results.append(_one(asset, source, table, built, facts))
        finally:
            source.get_engine().dispose()
    return results


def _in_schema(url: str, name: str) -> str:
    """The URL with the table's schema as search path: great-expectations takes table names without a schema."""
    import sqlalchemy

    schema, _, _ = name.rpartition(".")
    parsed = sqlalchemy.make_url(url)
    if not schema or parsed.get_backend_name() != "postgresql":
        return url
    options = f'{parsed.query.get("options", "")} -c search_path="{schema}"'.strip()
    return parsed.update_query_dict({"options": options}).render_as_string(hide_password=False)


def _without_rows(asset: DatabaseAsset, checks: TableChecks, state: str, why: str) -> CheckResult:
    if state == "error":
        return _error(asset, checks, why)
    text = "has no rows" if state == "empty" else "does not exist"
    finding = _finding(asset, checks, checks.table, "at least one row", text, Degree.TOTAL)
    return _result(asset, checks, (finding,), (), time.monotonic())


def _one(
    asset: DatabaseAsset,
    source: SQLDatasource,
    checks: TableChecks,
    built: list[GXExpectation],
    facts: table_facts.Facts,
) -> CheckResult:
    start = time.monotonic()
    if not built:
        return _with_facts(asset, checks, (), (), facts, start)
    asset_of_gx = source.add_table_asset(checks.table, table_name=checks.table.rpartition(".")[2])
    batch = asset_of_gx.add_batch_definition_whole_table("all").get_batch()
    answers = _validate(batch, built, "BOOLEAN_ONLY")
    raised = [f"{_named(a.expectation_config)}: {_raised(a)}" for a in answers if _raised(a)]
    missing = len(built) - len(answers)
    if missing > 0:
        raised.append(f"{missing} expectations were not answered")
    failed = [
        _named(answer.expectation_config) for answer in answers if not answer.success and not _raised(answer)
    ]
    again = [one for one in built if _named(one.configuration) in failed]
    findings = tuple(
        _finding(
            asset,
            checks,
            f"{checks.table}: {_named(answer.expectation_config)}",
            "holds",
            _counted(answer),
            Degree.SERIOUS,
        )
        for answer in (_validate(batch, again, _COUNTED) if again else [])
        if not answer.success
    )
    if failed and not findings:
        raised.append(
            f"{len(failed)} expectations failed and held when asked again: the table is being written to"
        )
    return _with_facts(asset, checks, findings, tuple(raised), facts, start)


def _with_facts(
    asset: DatabaseAsset,
    checks: TableChecks,
    findings: tuple[Finding, ...],
    raised: tuple[str, ...],
    facts: table_facts.Facts,
    start: float,
) -> CheckResult:
    also = tuple(
        _finding(asset, checks, f"{checks.table}: {what}", expected, actual, Degree.SERIOUS)
        for what, expected, actual in facts.wrong
    )
    return _result(asset, checks, (*findings, *also), (*raised, *facts.raised), start)


def _validate(
    batch: Batch, built: list[GXExpectation], result_format: Literal["BOOLEAN_ONLY"] | dict[str, object]
) -> list[ExpectationValidationResult]:
    import great_expectations as gx

    suite = gx.ExpectationSuite(name="plan", expectations=[one.copy() for one in built])
    return list(batch.validate(suite, result_format=result_format).results)


def _look(url: str, name: str) -> tuple[str, str]:
    """Whether a table has `rows`, is `empty` or `missing`, or cannot be asked (`error` and why)."""
    import sqlalchemy

    schema, _, table = name.rpartition(".")
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    try:
        with engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table(table, schema=schema or None):
                return "missing", ""
            one = sqlalchemy.select(sqlalchemy.literal(1)).select_from(
                sqlalchemy.table(table, schema=schema or None)
            )
            return ("rows" if connection.execute(one.limit(1)).first() else "empty"), ""
    except sqlalchemy.exc.SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or type(error).__name__)
        return "error", printable(" ".join(cause.split()))[:300]
    finally:
        engine.dispose()


def _result(
    asset: DatabaseAsset,
    checks: TableChecks,
    findings: tuple[Finding, ...],
    raised: tuple[str, ...],
    start: float,
) -> CheckResult:
    # That it has rows is always expected.
    examined = sum(map(len, (checks.expectations, checks.fresh, checks.refers, checks.recorded))) + 1
    verdict = Verdict.FAILED if findings else Verdict.ERROR if raised else Verdict.PASSED
    table = f"{checks.database}.{checks.table} on {asset.host}"
    sentence = {
        Verdict.PASSED: f"All {examined} expectations on {table} hold.",
        Verdict.FAILED: f"{len(findings)} of {examined} expectations on {table} do not hold.",
        Verdict.ERROR: f"{len(raised)} of {examined} expectations on {table} could not be evaluated.",
    }[verdict]
    return CheckResult(
        check="expectations", host=asset.host, asset=checks.database, verdict=verdict, examined=examined,
        findings=findings, sentence=sentence, seconds=round(time.monotonic() - start, 3), not_checked=raised,
    )  # fmt: skip


def _error(asset: DatabaseAsset, checks: TableChecks, why: str) -> CheckResult:
    return CheckResult(
        check="expectations", host=asset.host, asset=checks.database, verdict=Verdict.ERROR, examined=0,
        sentence=f"{checks.database}.{checks.table} on {asset.host} could not be checked: {why}",
        not_checked=(f"{checks.table}: {why}",),
    )  # fmt: skip


def _finding(
    asset: DatabaseAsset, checks: TableChecks, subject: str, expected: str, actual: str, degree: Degree
) -> Finding:
    return Finding(
        code=Code.EXPECTATION_FAILED, host=asset.host, asset=checks.database, subject=subject, degree=degree,
        expected=expected, actual=actual,
    )  # fmt: skip


def _named(config: ExpectationConfiguration | None) -> str:
    """What great-expectations evaluated, as `shown` has it."""
    if config is None:
        return "an expectation"
    kwargs = {key: value for key, value in config.kwargs.items() if key != "batch_id" and value is not None}
    return shown(Expectation.model_construct(type=config.type, kwargs=kwargs))


def _raised(answer: ExpectationValidationResult) -> str:
    """Why an expectation could not be evaluated; empty when it was."""
    info = answer.exception_info or {}
    entries = [info, *(value for value in info.values() if isinstance(value, dict))]
    messages = [
        str(entry.get("exception_message") or "it raised")
        for entry in entries
        if entry.get("raised_exception")
    ]
    return printable(" ".join(messages[0].split()))[:300] if messages else ""


def _counted(answer: ExpectationValidationResult) -> str:
    """How much fails, in numbers; never a value of the table."""
    result = answer.result or {}
    if isinstance(result.get("unexpected_count"), int) and isinstance(result.get("element_count"), int):
        return f"{result['unexpected_count']} of {result['element_count']} rows do not"
    observed = result.get("observed_value")
    return f"observed {observed}" if isinstance(observed, int | float) else "it does not"


@contextmanager
def _url(asset: PostgresAsset, port: int, secrets: Secrets) -> Iterator[str]:
    """The database's URL through a local port; the password waits in a file of mode 600, not in the URL (G9)."""
    import sqlalchemy

    with tempfile.TemporaryDirectory(prefix="reinstate-") as folder:
        file = Path(folder) / "pgpass"
        fields = ("*", "*", "*", asset.user, secrets.resolve(asset.password) if asset.password else "")
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(":".join(field.replace("\\", "\\\\").replace(":", "\\:") for field in fields) + "\n")
        yield sqlalchemy.URL.create(
            "postgresql+psycopg", username=asset.user, host="127.0.0.1", port=port, database=asset.database,
            query={
                "passfile": str(file), "connect_timeout": str(CONNECT_SECONDS), "application_name": "reinstate",
                "options": "-c default_transaction_read_only=on",
            },
        ).render_as_string(hide_password=False)  # fmt: skip
