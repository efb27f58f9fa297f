"""Every case of the corpus on a real host: found by code, cured by its action, as before to a witness (R-RESP-2…5)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.corpus import table
from tests.corpus.cases import Case, families, groups, load
from tests.corpus.outcome import GroupOutcome, run_group
from tests.corpus.worlds import WORLDS, Laboratory
from tests.lab.base import Base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.lab.servers import Shop, ShopState

pytestmark = [pytest.mark.lab, pytest.mark.slow]

PAGE = Path(__file__).parents[2] / "docs" / "damage-cases.md"
Run = Callable[[str, Case], GroupOutcome]


@pytest.fixture(scope="module")
def run(
    lab_base: Base, lab_session: LabSession, shop_layer: tuple[Path, ShopState],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Run]:  # fmt: skip
    """The recovery a case is part of; run when its first case is asked for."""
    number, known = itertools.count(1), dict[tuple[str, str], GroupOutcome | Exception]()
    hosts: list[LabHost] = []

    def start(host: LabHost) -> LabHost:
        hosts.append(host)
        host.start()
        host.wait_running()
        return host

    def make_shop(name: str) -> Shop:
        return Shop(start(LabHost(lab_base, lab_session, name, (shop_layer[0],))))

    lab = Laboratory(lab_base, lab_session, make_shop, tmp_path_factory.mktemp("corpus"), start)

    def outcome(family: str, case: Case) -> GroupOutcome:
        name = next(name for name, cases in groups(load(family)).items() if case in cases)
        key = (family, name)
        if key not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("REINSTATE_HOME", str(lab.folder / f"home-{next(number)}"))
                try:
                    known[key] = run_group(WORLDS[family](lab), groups(load(family))[name])
                except Exception as error:  # noqa: BLE001 - told to every case of the group
                    known[key] = error
            while hosts:
                hosts.pop().stop()
        found = known[key]
        if isinstance(found, Exception):
            raise found
        return found

    yield outcome
    for host in hosts:
        host.stop()


def of_case(family: str, case: Case, group: str) -> object:
    """A case's parameters; cases that share a host are run by one process (`tests.support.scheduling`)."""
    return pytest.param(family, case, id=f"{family}:{group}:{case.name}")


def of_group(family: str, group: str) -> object:
    """A group's parameters, in the process of its cases."""
    return pytest.param(family, group, id=f"{family}:{group}")


CASES = [(family, case) for family in families() for case in load(family)]
GROUPS = [(family, group, its) for family in families() for group, its in groups(load(family)).items()]


@pytest.mark.parametrize(
    ("family", "case"), [of_case(family, case, group) for family, group, its in GROUPS for case in its]
)
@pytest.mark.timeout(600)
def test_damage_found_named_and_repaired(family: str, case: Case, run: Run) -> None:
    """R-RESP-2…5: the right code, the least invasive action, and a witness that sees no difference."""
    outcome = run(family, case)
    if case.expect is not None:
        finding = outcome.finding(case)
        assert finding is not None, [f.sentence for f in outcome.findings]
        if case.cure == "none":
            assert case.remedy in outcome.refused(finding)
        else:
            action = outcome.action(finding)
            assert action is not None, outcome.refused(finding) or outcome.ended
            assert case.cure == action.kind
    assert outcome.recovered, outcome.ended
    if case.cure != "none":
        for path in case.watched:
            before, after = outcome.before[path], outcome.after[path]
            assert (before and before.facts) == (after and after.facts), path
    for path in case.survive:
        assert outcome.damaged[path] == outcome.after[path], f"{path} was touched"


@pytest.mark.parametrize(("family", "group"), [of_group(family, group) for family, group, _ in GROUPS])
@pytest.mark.timeout(600)
def test_nothing_else_is_called_damaged(family: str, group: str, run: Run) -> None:
    """Must show 1 and 2: every finding belongs to a case."""
    cases = groups(load(family))[group]
    unexpected = run(family, cases[0]).unexpected(cases)
    assert not unexpected, "\n".join(unexpected)


@pytest.mark.parametrize(("family", "group"), [of_group(family, group) for family, group, _ in GROUPS])
@pytest.mark.timeout(600)
def test_rows_in_the_documentation_are_what_was_seen(family: str, group: str, run: Run) -> None:
    """Must show 1: docs/damage-cases.md comes from these very recoveries."""
    rows = [table.line(case, run(family, case)) for case in groups(load(family))[group]]
    if os.environ.get("REINSTATE_WRITE_DOCS"):
        table.write(PAGE, family, rows)
    written = PAGE.read_text(encoding="utf-8").splitlines()
    assert [] == [row for row in rows if row not in written], "REINSTATE_WRITE_DOCS=1 writes them again"


def test_page_has_a_row_for_each_case_and_counts_them() -> None:
    """Must show 1: at least sixty; no row is left over from a case that is gone."""
    written = PAGE.read_text(encoding="utf-8")
    assert written == table.arranged(written), "REINSTATE_WRITE_DOCS=1 writes it again"
    assert len(CASES) == len(table.rows(written))
    assert len({case.name for _, case in CASES}) == len(CASES)
    assert 60 <= len(CASES)
