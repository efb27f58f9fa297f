"""Integrity expectations run in a real PostgreSQL, reached through the host."""

from __future__ import annotations

import itertools
import select
import socket
import socketserver
import threading
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks.expectations import examine, expect_tables
from model.assets import PostgresAsset
from model.errors import BadInput
from model.finding import CheckResult, Code, Verdict
from model.plan import Checks, Expectation, Plan, TableChecks
from tests.model import builders
from tests.support.postgres import PASSWORD, SUPERUSER, Postgres, postgres_server
from tests.support.sshservers import Server, asyncssh_server

TABLES = """
CREATE TABLE orders (id int, mail text, total numeric);
INSERT INTO orders
SELECT n, CASE WHEN n % 5 = 0 THEN NULL ELSE 'canary' || n END, n / 2.0 FROM generate_series(1, 1000) n;
CREATE TABLE nothing (id int);
CREATE SCHEMA other;
CREATE TABLE other.orders (id int);
INSERT INTO other.orders VALUES (1);
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        server.run(TABLES)
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with asyncssh_server(tmp_path_factory.mktemp("host") / "server") as server:
        yield server


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    (tmp_path / "password").touch(mode=0o600)
    (tmp_path / "password").write_text(PASSWORD)
    return Secrets(tmp_path)


class Bench:
    """Evaluates one table's expectations as a plan would have them."""

    def __init__(self, postgres: Postgres, server: Server, secrets: Secrets) -> None:
        self._postgres, self._server, self._secrets = postgres, server, secrets
        self.opened: list[Connection] = []

    def __call__(
        self,
        table: str,
        *expectations: tuple[str, dict[str, object]],
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> CheckResult:
        database = PostgresAsset(
            kind="postgresql", host="web-1", database="postgres", server=address, port=port or self._postgres.port,
            user=SUPERUSER, password="file:password", backup="tree",
        )  # fmt: skip
        checks = TableChecks(
            database="database", table=table,
            expectations=tuple(Expectation.model_validate({"type": t, "kwargs": k}) for t, k in expectations),
        )  # fmt: skip
        plan: Plan = builders.plan().model_copy(
            update={"assets": {"database": database}, "checks": Checks(tables=(checks,))}
        )

        def connect(name: str) -> AbstractContextManager[Connection]:
            assert name == "web-1"
            self.opened.append(self._server.connect())
            return self.opened[-1]

        (result,) = expect_tables(plan, connect, self._secrets)
        return result


@pytest.fixture
def bench(postgres: Postgres, server: Server, secrets: Secrets) -> Bench:
    return Bench(postgres, server, secrets)


@contextmanager
def breaking_off(port: int, broken: Collection[int]) -> Iterator[int]:
    """A port that leads to another; connections with these numbers are closed at once, as by a server that restarts."""
    numbers = itertools.count(1)

    class Meet(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if next(numbers) in broken:
                return
            with socket.create_connection(("127.0.0.1", port)) as there:
                ways = {self.request: there, there: self.request}
                while True:
                    for one in select.select(list(ways), (), ())[0]:
                        data = one.recv(1 << 16)
                        if not data:
                            return
                        ways[one].sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Meet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


NOT_NULL = "expect_column_values_to_not_be_null"
UNIQUE = "expect_column_values_to_be_unique"


def test_expectations_that_hold_pass(bench: Bench) -> None:
    result = bench(
        "orders", (UNIQUE, {"column": "id"}), ("expect_table_row_count_to_be_between", {"min_value": 1000}),
        ("expect_column_values_to_be_between", {"column": "total", "min_value": 0, "max_value": 500}),
    )  # fmt: skip
    assert Verdict.PASSED is result.verdict
    assert "All 4 expectations on database.orders on web-1 hold." == result.sentence
    assert Verdict.PASSED is bench("other.orders", (UNIQUE, {"column": "id"})).verdict


def test_failing_rows_are_counted_and_never_shown(bench: Bench) -> None:
    result = bench(
        "orders", (NOT_NULL, {"column": "mail"}), (UNIQUE, {"column": "id"}),
        ("expect_column_values_to_match_regex", {"column": "mail", "regex": "@"}),
        ("expect_column_max_to_be_between", {"column": "total", "max_value": 10}),
        ("expect_table_row_count_to_equal", {"value": 5}),
    )  # fmt: skip
    assert Verdict.FAILED is result.verdict
    said = {finding.subject.split("(")[0]: finding.actual for finding in result.findings}
    assert said["orders: expect_column_values_to_not_be_null"] == "200 of 1000 rows do not"
    assert said["orders: expect_table_row_count_to_equal"] == "observed 1000"
    assert len(said) == 4
    assert len({finding.id for finding in result.findings}) == 4
    assert {Code.EXPECTATION_FAILED} == {finding.code for finding in result.findings}
    assert "canary" not in result.model_dump_json()


def test_empty_table_always_fails(bench: Bench) -> None:
    """G11: great-expectations itself says success for an empty table."""
    result = bench("nothing", (UNIQUE, {"column": "id"}))
    assert Verdict.FAILED is result.verdict
    assert ["has no rows"] == [finding.actual for finding in result.findings]


def test_missing_table_fails(bench: Bench) -> None:
    result = bench("gone", (UNIQUE, {"column": "id"}))
    assert Verdict.FAILED is result.verdict
    assert ["does not exist"] == [finding.actual for finding in result.findings]


def test_missing_column_is_an_error_not_a_failure(bench: Bench) -> None:
    result = bench("orders", (UNIQUE, {"column": "nope"}), (UNIQUE, {"column": "id"}))
    assert Verdict.ERROR is result.verdict
    assert result.findings == ()
    assert "nope" in result.not_checked[0]
    both = bench("orders", (UNIQUE, {"column": "nope"}), (NOT_NULL, {"column": "mail"}))
    assert (Verdict.FAILED, 1, 1) == (both.verdict, len(both.findings), len(both.not_checked))


@pytest.mark.parametrize(
    ("kind", "kwargs", "says"),
    [
        ("expect_nonsense", {}, "no expectation 'expect_nonsense'"),
        (UNIQUE, {}, "column"),
        (UNIQUE, {"column": "id", "typo": 1}, "typo"),
        (UNIQUE, {"column": "id", "mostly": 7}, "mostly"),
    ],
)
def test_wrong_expectation_is_bad_input_and_says_what(
    bench: Bench, kind: str, kwargs: dict[str, object], says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        bench("orders", (kind, kwargs))


def test_database_that_refuses_us_is_an_error_without_the_secret(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("canary-wrong")
    result = bench("orders", (UNIQUE, {"column": "id"}))
    assert Verdict.ERROR is result.verdict
    assert "canary" not in result.model_dump_json()
    assert "password authentication failed" in result.sentence


def test_socket_directory_is_an_error_that_says_what_to_do(bench: Bench) -> None:
    result = bench("orders", (UNIQUE, {"column": "id"}), address="/run/postgresql")
    assert Verdict.ERROR is result.verdict
    assert "by address" in result.sentence


def test_password_is_in_no_argument_and_no_file_stays(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "tmp").mkdir()
    bench("orders", (UNIQUE, {"column": "id"}))
    assert [] == list((tmp_path / "tmp").iterdir())


def test_server_that_does_not_listen_is_an_error_and_not_a_lost_connection(bench: Bench) -> None:
    """G11: nothing was evaluated, which is no pass; trying again changes nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = bench("orders", ("expect_table_row_count_to_be_between", {"min_value": 1}), port=port)
    assert (Verdict.ERROR, 0) == (result.verdict, result.examined)
    assert "nothing answers" in result.sentence


def test_lost_connection_to_the_host_is_opened_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen in a drill: the SSH session ended while great-expectations asked, and the same one was asked again."""

    def examined(*given: Any) -> list[CheckResult]:  # noqa: ANN401 - passed through
        if len(bench.opened) == 1:
            bench.opened[0].close()
        return examine(*given)

    monkeypatch.setattr("checks.expectations.examine", examined)
    result = bench("orders", (UNIQUE, {"column": "id"}))
    assert (Verdict.PASSED, 2) == (result.verdict, len(bench.opened))


def test_a_connection_that_breaks_off_is_tried_again(bench: Bench, postgres: Postgres) -> None:
    """The first connection looks for rows, great-expectations makes its own: seen to break once, in a drill."""
    with breaking_off(postgres.port, {2}) as port:
        result = bench("orders", (UNIQUE, {"column": "id"}), port=port)
    assert Verdict.PASSED is result.verdict
    with breaking_off(postgres.port, {2, 4, 6}) as port:
        result = bench("orders", (UNIQUE, {"column": "id"}), port=port)
    assert Verdict.ERROR is result.verdict
    assert "orders could not be asked" in result.sentence
