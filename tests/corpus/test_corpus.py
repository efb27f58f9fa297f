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

CASES = [(family, case) for family in families() for case in load(family)]
ROOT = Path(__file__).parents[2]
Run = Callable[[str, Case], GroupOutcome]


@pytest.fixture(scope="module")
def run(
    lab_base: Base, lab_session: LabSession, shop_layer: tuple[Path, ShopState],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Run]:  # fmt: skip
    """The recovery a case is part of; run when its first case is asked for."""
    number, known = itertools.count(1), dict[tuple[str, str], GroupOutcome | Exception]()
    hosts: list[LabHost] = []

    def make_shop(name: str) -> Shop:
        host = LabHost(lab_base, lab_session, name, (shop_layer[0],))
        hosts.append(host)
        host.start()
        host.wait_running()
        return Shop(host)

    lab = Laboratory(lab_base, lab_session, make_shop, tmp_path_factory.mktemp("corpus"))

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


def test_corpus_has_enough_cases() -> None:
    """A suite never passes on nothing (G11)."""
    assert len({case.name for _, case in CASES}) == len(CASES)


@pytest.mark.parametrize(("family", "case"), CASES, ids=[f"{f}-{c.name}" for f, c in CASES])
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


GROUPS = [(family, name) for family in families() for name in groups(load(family))]


@pytest.mark.parametrize(("family", "name"), GROUPS, ids=[f"{f}-{n}" for f, n in GROUPS])
@pytest.mark.timeout(600)
def test_nothing_else_is_called_damaged(family: str, name: str, run: Run) -> None:
    """Must show 1 and 2: every finding belongs to a case."""
    cases = groups(load(family))[name]
    assert [] == run(family, cases[0]).unexpected(cases)


@pytest.mark.timeout(900)
def test_table_in_the_documentation_is_what_was_seen(run: Run) -> None:
    """Must show 1: docs/damage-cases.md comes from these very recoveries."""
    seen = table.page([(family, case, run(family, case)) for family, case in CASES])
    page = ROOT / "docs" / "damage-cases.md"
    if os.environ.get("REINSTATE_WRITE_DOCS"):
        page.write_text(seen, encoding="utf-8")
    assert seen == page.read_text(encoding="utf-8"), "REINSTATE_WRITE_DOCS=1 writes it again"
