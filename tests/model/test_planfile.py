"""Reading a plan: every problem at once, each with its line; nothing a YAML file can do to us (attacks on plans)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.assets import PostgresAsset, ServiceAsset
from model.errors import BadPlan, Problem
from model.planfile import MAX_BYTES, plan_digest, read_plan

from .bad_plans import BAD
from .builders import KEY, PLAN_TEXT


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(BadPlan) as caught:
        read_plan(text, "plan.yaml")
    assert caught.value.problems
    assert caught.value.remedy
    assert "plan.yaml" == caught.value.where
    assert all(f"line {problem.line}:" in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


def changed(old: str, new: str) -> str:
    assert 1 == PLAN_TEXT.count(old), old
    return PLAN_TEXT.replace(old, new)


def line_of(text: str, words: str) -> int:
    """The line that holds these words for the first time."""
    return next(n for n, line in enumerate(text.splitlines(), start=1) if words in line)


def test_a_good_plan_is_read() -> None:
    plan = read_plan(PLAN_TEXT)
    assert (4 * 3600, 86400, 30) == (plan.objectives.rto, plan.objectives.rpo, plan.checks.soak)
    database = plan.assets["database"]
    assert isinstance(database, PostgresAsset)
    assert 5432 == database.port
    assert ("leading_group",) == plan.roles.of("ann")
    assert plan_digest(PLAN_TEXT) != plan_digest(PLAN_TEXT + "\n")


@pytest.mark.parametrize(("old", "new", "on_line", "path", "words"), BAD.values(), ids=BAD)
def test_a_bad_plan_names_line_and_problem(old: str, new: str, on_line: str, path: str, words: str) -> None:
    text = changed(old, new)
    found = problems(text)
    expected = (line_of(text, on_line), path)
    assert expected in [(problem.line, problem.path) for problem in found]
    problem = next(each for each in found if (each.line, each.path) == expected)
    assert words in f"{problem.what} {problem.remedy}"
    assert problem.remedy


def test_corpus_of_bad_plans_has_the_size_it_is_said_to_have() -> None:
    """At least sixty, each wrong in another way."""
    assert 60 <= len({row[:2] for row in BAD.values()})


def test_all_problems_are_named_in_the_order_of_lines() -> None:
    text = changed("owner: ann", "owner: 5").replace("quorum: 2", "quorum: x").replace("soak: 30s", "saok: 1")
    found = problems(text)
    assert ["service.owner", "checks.saok", "signoff.decide.quorum"] == [each.path for each in found]


def test_all_wrong_references_are_named_at_once() -> None:
    text = (
        changed("owner: ann", "owner: eve")
        .replace("backup: tree, s", "backup: tape, s")
        .replace("quorum: 2", "quorum: 9")
    )
    assert ["service.owner", "assets.database.backup", "signoff.decide.quorum"] == [
        p.path for p in problems(text)
    ]


def test_a_cycle_of_dependencies_names_each_asset_in_it() -> None:
    found = problems(changed("kind: dpkg, host: web-1", "kind: dpkg, host: web-1, depends_on: [web]").replace(
        "service: web}", "service: web, depends_on: [files]}"
    ))  # fmt: skip
    assert {f"assets.{name}.depends_on" for name in ("packages", "files", "database", "web")} == {
        problem.path for problem in found
    }


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "- a\n- b\n", "just words", "5", "~", "---\n...\n", "[]"]
)
def test_what_is_no_mapping_is_refused(text: str) -> None:
    (problem,) = problems(text)
    assert 1 == problem.line
    assert "not a mapping" in problem.what


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    begin = time.perf_counter()
    assert "anchors" in problems("\n".join(lines))[0].what
    assert time.perf_counter() - begin < 2


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 3000 + "]" * 3000, "a: " + "{a: " * 3000 + "1" + "}" * 3000, "- " * 3000]
)
def test_deep_nesting_is_refused(text: str) -> None:
    assert "nested too deeply" in problems(text)[0].what


def test_a_huge_plan_is_refused_unread() -> None:
    assert "larger than 1 MiB" in problems("#" * (MAX_BYTES + 1))[0].what


def test_a_number_of_5000_digits_is_a_problem_not_a_crash() -> None:
    assert problems(changed("soak: 30s", f"soak: {'9' * 5000}"))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30", 30), ("30s", 30), ("1.5h", 5400), ("10m", 600), ("1d", 86400), ("0", 0), ("0.5", 0.5), ("1e3", 1000),
        ("1_000", 1000), ("0x10", 16), ("0o17", 15), ("010", 10), ("+5", 5), ("1.", 1), ('"30s"', 30), ("1e+3", 1000),
    ],
)  # fmt: skip
def test_numbers_and_durations_are_read_as_people_mean_them(written: str, seconds: float) -> None:
    assert seconds == read_plan(changed("soak: 30s", f"soak: {written}")).checks.soak


@pytest.mark.parametrize("written", ["3306", "0xCEA", "3_306", "3306.0", '"3306"'])
def test_a_whole_number_may_be_written_in_any_way(written: str) -> None:
    plan = read_plan(changed("database: shop,", f"database: shop, port: {written},"))
    database = plan.assets["database"]
    assert isinstance(database, PostgresAsset)
    assert 3306 == database.port


@pytest.mark.parametrize("written", ["0", "65536", "3306.5", "1e9", "x"])
def test_a_wrong_port_is_a_problem(written: str) -> None:
    assert (
        "assets.database.port"
        == problems(changed("database: shop,", f"database: shop, port: {written},"))[0].path
    )


@pytest.mark.parametrize(
    ("written", "value"), [("true", True), ("True", True), ("false", False), ("FALSE", False)]
)
def test_booleans_are_those_of_yaml_1_2(written: str, value: bool) -> None:
    assert (
        value is read_plan(changed("    address:", f"    sudo: {written}\n    address:")).hosts["web-1"].sudo
    )


def test_texts_stay_texts() -> None:
    plan = read_plan(changed("name: The shop", "name: 2025-01-01").replace("name: Cyd", "name: no"))
    assert ("2025-01-01", "no") == (plan.service.name, plan.people["cyd"].name)


def test_a_byte_order_mark_and_windows_lines_are_read() -> None:
    assert read_plan(PLAN_TEXT) == read_plan("\ufeff" + PLAN_TEXT.replace("\n", "\r\n"))


def test_the_comment_of_a_key_is_cut() -> None:
    plan = read_plan(changed(f"host_key: {KEY}", f"host_key: {KEY} root@web-1"))
    assert KEY == plan.hosts["web-1"].host_key


@given(st.text(max_size=200))
@settings(deadline=None)
def test_no_text_crashes_the_reader(text: str) -> None:
    with pytest.raises(BadPlan):
        read_plan(text)


@given(
    st.integers(0, len(PLAN_TEXT) - 1),
    st.sampled_from(["", ":", "\n", " ", "{", "]", "'", '"', "#", "-", "é", "0", "?"]),
)
@settings(deadline=None, max_examples=150)
def test_a_plan_with_one_slip_is_read_or_names_its_problems(place: int, slip: str) -> None:
    text = PLAN_TEXT[:place] + slip + PLAN_TEXT[place + 1 :]
    found: tuple[Problem, ...] = ()
    try:
        read_plan(text)
    except BadPlan as error:
        found = error.problems
    lines = text.count("\n") + 2
    assert all(1 <= problem.line <= lines and problem.what and problem.remedy for problem in found)


def test_a_service_is_driven_by_its_unit_or_its_commands() -> None:
    unit = ServiceAsset(kind="service", host="web-1", unit="shop.service")
    assert (("systemctl", "restart", "--", "shop.service"),) == unit.command("restart")
    assert (("systemctl", "is-active", "--quiet", "--", "shop.service"),) == unit.command("status")
    own = ServiceAsset(kind="service", host="web-1", start=("a", "go"), stop=("a", "halt"), status=("a", "?"))
    assert (("a", "halt"), ("a", "go")) == own.command("restart")
    assert (("a", "?"),) == own.command("status")


def test_a_unit_may_be_an_instance_of_a_template() -> None:
    """Debian serves each PostgreSQL cluster by one."""
    plan = read_plan(PLAN_TEXT.replace("shop.service", "postgresql@15-main.service"))
    web = plan.assets["web"]
    assert isinstance(web, ServiceAsset)
    assert "postgresql@15-main.service" == web.unit
