"""Case 2, the document half: a folder is overwritten by mistake; it comes back, and what people wrote stays."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.home import open_store
from model.errors import BadInput
from model.finding import Code
from model.mistake import Mistake, read_mistake
from model.outcome import Gate, RunVerdict
from model.proposal import Proposal, RestoreFiles
from model.signoff import Decision
from tasks.steps import draft_proposal
from tasks.work import load_plan
from tests.lab.fixtures import MakeLabHost
from tests.lab.host import LabHost
from tests.support.labworld import HOST, World, plan_head, write_people
from tests.support.locally import back_up_locally, recover_locally

pytestmark = [pytest.mark.lab, pytest.mark.slow]

FOLDER = "/srv/documents"
SECOND = {Gate.DECIDE: "marc", Gate.ACCEPT: "lena"}
"""A code is good for one signature: the second recovery has signers of its own."""


@dataclass(frozen=True)
class Documents(World):
    """A folder of documents on a host."""

    there: LabHost

    @property
    def host(self) -> LabHost:
        """The host it is on."""
        return self.there

    def path(self, name: str) -> Path:
        """A document, from outside."""
        return self.host.inside(f"{FOLDER}/{name}")

    def state(self) -> dict[str, tuple[bytes, int, int]]:
        """Content, mode and time of every document."""
        root = self.host.inside(FOLDER)
        return {
            str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def documents(make_lab_host: MakeLabHost, home: Path, tmp_path: Path) -> Documents:
    """The folder, backed up."""
    folder = tmp_path / "case-2"
    folder.mkdir()
    world = Documents(folder, make_lab_host(HOST))
    write_people(world)
    for number in range(40):
        path = world.path(f"contracts/{number:02d}.txt" if number < 20 else f"letters/{number:02d}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"Contract %d\n" % number * (number + 1))
    plan = {
        **plan_head(world, "documents", HOST),
        "backups": {"plain": {"kind": "directory", "path": "kept"}},
        "assets": {"documents": {"kind": "files", "host": HOST, "path": FOLDER, "backup": "plain"}},
        "checks": {"soak": 0.1, "interval": 0.1},
    }
    world.plan_file.write_text(json.dumps(plan, indent=1))
    back_up_locally(world)
    return world


def moment() -> datetime:
    """Now, and nothing else in the same tick of the clock."""
    time.sleep(0.05)
    found = datetime.now(UTC)
    time.sleep(0.05)
    return found


def mistaken(world: Documents) -> Mistake:
    """A wanted change, then the mistake, then wanted changes again; returns what people can say of it."""
    world.path("letters/20.txt").write_bytes(b"edited before\n")
    begin = moment()
    world.host.inside("/root/template").write_bytes(b"Dear Sir or Madam,\n")
    world.host.must(["sh", "-c", f'for file in {FOLDER}/contracts/*; do cp /root/template "$file"; done'])
    world.host.must(["rm", "-r", f"{FOLDER}/letters/21.txt", f"{FOLDER}/letters/22.txt"])
    world.path("letters/23.txt").rename(world.path("letters/23 (old).txt"))
    end = moment()
    world.path("contracts/07.txt").write_bytes(b"written again since\n")
    world.path("letters/24.txt").write_bytes(b"edited since\n")
    world.path("letters/new.txt").write_bytes(b"new since\n")
    return Mistake(asset="documents", at=begin, until=end)


def test_case_2_documents_overwritten_by_mistake_come_back_and_what_was_written_since_stays(
    documents: Documents,
) -> None:
    """R-SCOPE-2 case 2, R-RESP-4/6: from behind a backup of the mistake; the difference is shown before sign-off."""
    whole = documents.state()
    mistake = mistaken(documents)
    time.sleep(1.1)  # two recovery points of one second have one name
    back_up_locally(documents)  # the schedule does not know
    after = documents.state()

    work = recover_locally(documents, Decision.DENY, mistakes=[mistake])
    state = work.state()
    assert state.ended is not None
    assert RunVerdict.ROLLED_BACK == state.ended.verdict, state.ended.sentence
    assert after == documents.state()
    assert state.confirmed is not None
    assert [Code.OPERATOR_MISTAKE] == [f.code for r in state.confirmed.results for f in r.findings]
    proposal = state.proposal
    assert proposal is not None
    action = only_action(proposal)
    wanted = {f"contracts/{n:02d}.txt" for n in range(20) if n != 7} | {
        f"letters/{n}.txt" for n in (21, 22, 23)
    }
    assert wanted == {entry.path for entry in action.files}
    assert f"{FOLDER}/contracts/00.txt: 11 B of " in action.reason, "then"
    assert "now 19 B of " in action.reason, "and now"
    assert "Left as they are: " in action.reason
    assert f"{FOLDER}/contracts/07.txt: " in action.reason
    assert "after the mistake" in action.reason
    (choice,) = proposal.points
    assert 1 == len(choice.passed_over), "the backup of the mistake is not taken"
    assert "after the damage began" in choice.passed_over[0][1]

    work = recover_locally(documents, signers=SECOND, mistakes=[mistake])
    ended = work.state().ended
    assert ended is not None
    assert RunVerdict.RECOVERED == ended.verdict, ended.sentence
    kept = {
        "contracts/07.txt", "letters/20.txt", "letters/23 (old).txt", "letters/24.txt", "letters/new.txt",
    }  # fmt: skip
    assert {**whole, **{name: after[name] for name in kept}} == documents.state()


def only_action(proposal: Proposal) -> RestoreFiles:
    """The one thing a proposal does."""
    (action,) = proposal.actions
    assert isinstance(action, RestoreFiles)
    return action


def test_only_what_people_name_of_a_mistake_comes_back(documents: Documents) -> None:
    """R-RESP-4: a folder alone; without an end all that was changed since; nonsense is refused by name."""
    mistake = mistaken(documents)
    file, store = load_plan(str(documents.plan_file)), open_store()

    def draft(**changes: object) -> Proposal:
        return draft_proposal(file, store, [mistake.model_copy(update=changes)])

    alone = draft(paths=("letters",))
    assert {"letters/21.txt", "letters/22.txt", "letters/23.txt"} == {
        e.path for e in only_action(alone).files
    }
    said = " ".join(unmet.sentence for unmet in alone.unmet)
    assert "beside what was reported as a mistake" in said, "the contracts are named as not cured"
    open_end = {entry.path for entry in only_action(draft(until=None)).files}
    assert {"contracts/07.txt", "letters/24.txt"} <= open_end
    assert "letters/20.txt" not in open_end, "that was changed before"
    before = draft(at=datetime(2020, 1, 1, tzinfo=UTC))
    assert not before.actions
    assert "no recovery point of before 2020-01-01" in before.unmet[0].sentence
    nothing = draft(paths=("nowhere",))
    assert not nothing.actions
    assert "nothing has to come back" in nothing.unmet[0].sentence
    for wrong, why in (
        ({"tables": ("public.t",)}, "is a file set"),
        ({"asset": "system"}, "is no PostgreSQL database and no file set"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=why):
            draft(**wrong)
    assert mistake.at is not None
    assert mistake.until is not None
    text = f"documents@{mistake.at.isoformat()}/{mistake.until.isoformat()}"
    assert mistake.model_copy(update={"paths": ("letters",)}) == read_mistake(text, paths=("./letters/",))
