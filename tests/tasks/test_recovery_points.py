"""Recovery points that must not be used are refused by name, nothing is touched, and the next good one is chosen."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
from typer.testing import CliRunner, Result

from blocks.backups.directory import DirectoryBackup
from blocks.home import open_store, signing_key
from blocks.scanners import Scanner
from checks.point_facts import Knowledge
from checks.recovery_points import look
from checks.supplies import gather
from deployments.cli.app import app
from flows.back_up import back_up
from flows.scan import scan
from model.canonical import now
from model.finding import Code, Finding
from model.incident import Source
from model.journal import fold
from model.ladder import propose
from model.outcome import Gate, RunVerdict
from model.planfile import read_plan
from model.points import PointRule, Proof
from model.proposal import Proposal, RestoreDatabase
from model.signoff import Decision
from tasks.render import proposal_markdown
from tasks.report import build_report
from tasks.report_pages import report_html, report_markdown
from tasks.voting import cast_vote, gate_digest, open_gate
from tasks.work import load_plan, open_incident, open_work
from tests.checks.local import LocalConnection
from tests.model.builders import PLAN_TEXT
from tests.support.fakeengine import FakeEngine
from tests.support.labworld import secret_of
from tests.support.locally import begin
from tests.support.points import MACHINE, dump, ledger, only_clones, rewrite, store_of, without
from tests.support.sshservers import Server, asyncssh_server
from tests.support.wrongworld import SmallWorld, make_small_world
from tests.tasks.localhost import fingerprint

HOUR = 3600.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with asyncssh_server(tmp_path_factory.mktemp("ssh")) as running:
        yield running


@pytest.fixture
def world(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallWorld:
    """A host with a file set and no backup yet; its plan says how users enter again what is missing."""
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "400")
    (tmp_path / "world").mkdir()
    made = make_small_world(server, tmp_path / "world")
    made.write_plan({"assets": {"files": {"reimport": "Scan the paper forms of that day again."}}})
    return made


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def said(result: Result) -> str:
    return re.sub(r"\s+", " ", result.stdout + result.stderr)


def damage(world: SmallWorld) -> None:
    (world.files / "a.txt").write_text("all is lost\n")


def proposed(world: SmallWorld) -> dict[str, Any]:
    """The proposal a recovery would make; the host is the same afterwards."""
    before = fingerprint(world.files)
    result = run("propose", str(world.plan_file), "--json")
    assert 0 == result.exit_code, said(result)
    assert before == fingerprint(world.files)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def used(proposal: dict[str, Any]) -> str:
    (action,) = [action for action in proposal["actions"] if action["kind"] == "restore_files"]
    return str(action["point"]["id"])


Spoil = Callable[[SmallWorld, DirectoryBackup, Any], object]
SPOILT: dict[str, tuple[Spoil, str]] = {
    "wrong host": (
        lambda world, store, point: _again(world, store, point, machine_id="f" * 32),
        "WRONG_HOST: it is another host's",
    ),
    "manifest replaced by one that is signed": (
        lambda world, store, point: rewrite(store, point, signing_key(), host="elsewhere"), "MANIFEST_REPLACED",
    ),
    "manifest altered": (
        lambda world, store, point: _flip(store.root / "files" / point.id / "manifest.json"), "MANIFEST_DAMAGED",
    ),
    "manifest gone": (
        lambda world, store, point: (store.root / "files" / point.id / "manifest.json").unlink(), "MANIFEST_GONE",
    ),
    "object gone": (
        lambda world, store, point: (store.root / "files" / point.id / "archive.tar").unlink(), "OBJECT_GONE",
    ),
    "object cut": (
        lambda world, store, point: (store.root / "files" / point.id / "archive.tar").write_bytes(b"x"),
        "SNAPSHOT_DAMAGED",
    ),
    "lost nearly everything": (
        lambda world, store, point: _again(
            world, store, point, entries=without(without(store.manifest(point).entries, "below/b.bin"), "below")
        ),
        "SHRUNK: it has 12 bytes, the points before it had 4,108 (−99.7 %)",
    ),
    "a trial failed": (
        lambda world, store, point: ledger(world).prove(
            "files",
            Proof(
                point=point.id, manifest_sha256=point.manifest_sha256, at=now(), how="restored", ok=False,
                sentence="it did not restore",
            ),
        ),
        "it did not restore",
    ),
}  # fmt: skip


def _again(world: SmallWorld, store: DirectoryBackup, point: Any, **updates: Any) -> None:  # noqa: ANN401
    """As if it had been taken so; our inventory knows it."""
    rewrite(store, point, signing_key(), **updates)
    (anew,) = [one for one in store.points("files") if one.id == point.id]
    ledger(world).record(anew, store.manifest(anew))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("case", SPOILT)
def test_a_point_that_is_not_what_it_should_be_is_refused_by_name_and_the_next_good_one_chosen(
    world: SmallWorld, case: str
) -> None:
    """G7, rule 5: whatever happened to the newest backup, the host is not touched and the one before it is used."""
    spoil, words = SPOILT[case]
    world.back_up()
    _older, good, newest = only_clones(world, 0.75, 0.5, 0.25)
    spoil(world, store_of(world), newest)
    assert (good.id, words) == (standing(world)["chosen"], refusal(standing(world), newest.id, words))
    if case in PROPOSED:
        damage(world)
        proposal = proposed(world)
        assert good.id == used(proposal), proposal["points"]
        (choice,) = proposal["points"]
        assert newest.id == choice["passed_over"][0][0]
        assert words in choice["passed_over"][0][1]


PROPOSED = {"wrong host", "object gone", "lost nearly everything"}
"""Cases for which a whole proposal is made; the choice is the same code."""


def standing(world: SmallWorld) -> dict[str, Any]:
    """How the recovery points of the file set stand now; nothing but looking."""
    before = fingerprint(world.files)
    result = run("backups", str(world.plan_file), "--json")
    assert before == fingerprint(world.files)
    (found,) = json.loads(result.stdout)
    assert (2 if found["troubles"] or found["remarks"] else 0) == result.exit_code, said(result)
    return dict(found)


def refusal(about: dict[str, Any], point: str, words: str) -> str:
    """The words, when they are why a point is refused; else what is said about it."""
    (one,) = [one for one in about["points"] if one["point"] == point]
    return words if one["verdict"] == "refused" and words in one["sentence"] else str(one)


def test_stale_point_is_offered_and_says_what_it_costs(world: SmallWorld) -> None:
    """R-RESP-6: older than the RPO is better than nothing, and nobody signs it unknowingly."""
    world.back_up()
    (old,) = only_clones(world, 30)
    damage(world)
    proposal = proposed(world)
    assert old.id == used(proposal)
    words = "30 h before the damage was noticed, MORE THAN what the plan allows (1 h, RPO)"
    assert words in proposal["points"][0]["sentence"]
    (guide,) = proposal["reimport"]
    assert "Scan the paper forms of that day again." == guide["steps"]
    assert [str(world.files / "a.txt")] == guide["things"]
    shown = run("backups", str(world.plan_file))
    assert 2 == shown.exit_code
    assert "files is overdue" in said(shown)
    assert "STALE" in said(shown)


def test_doubtful_point_is_taken_and_neither_compared_with_nor_preferred(world: SmallWorld) -> None:
    """A damaged live tree is not blessed: checks go on comparing with the backup before it; its schedule is frozen."""
    world.back_up()
    (good,) = only_clones(world, 0.5)
    store, plan = open_store(), load_plan(str(world.plan_file))
    damage(world)
    incident = begin(str(world.plan_file))
    assert fold(store.read(incident)).ended is None
    (skipped,) = _back_up(world, scheduled=True)
    assert "FROZEN while incident" in skipped
    assert incident in skipped
    taken, *_ = _back_up(world)
    assert "DOUBTFUL" in taken
    assert incident in taken
    assert 2 == len(store_of(world).points("files"))
    scan = run("scan", str(plan.path))
    assert "FILE_CONTENT_DIFFERS" in said(scan)
    proposal = proposed(world)
    assert good.id == used(proposal)
    assert "HOLDS_DAMAGE" in proposal["points"][0]["passed_over"][0][1]


def _back_up(world: SmallWorld, *, scheduled: bool = False) -> list[str]:
    return asyncio.run(back_up.fn(str(world.plan_file), scheduled))


def test_person_who_knows_can_trust_a_point_and_strike_out_a_lost_one(world: SmallWorld) -> None:
    """A wanted purge is no damage; a vanished point is told until somebody says that it is known."""
    world.back_up()
    _, gone, newest = only_clones(world, 0.75, 0.5, 0.25)
    store, plan = store_of(world), str(world.plan_file)
    _again(world, store, newest, entries=store.manifest(newest).entries[:2])
    assert "refused" in said(run("backups", plan))
    stranger = run("backups", "trust", plan, "files", newest.id, "--by", "mallory", "--reason", "purged")
    assert "not a person of the plan" in said(stranger)
    assert (
        0 == run("backups", "trust", plan, "files", newest.id, "--by", "lena", "--reason", "purged").exit_code
    )
    shown = json.loads(run("backups", plan, "--json").stdout)[0]
    assert newest.id == shown["chosen"]
    shutil.rmtree(store.root / "files" / gone.id)
    lost = run("backups", plan)
    assert 2 == lost.exit_code
    assert f"MANIFEST_GONE: the manifest of recovery point {gone.id} is gone" in said(lost)
    assert 0 == run("backups", "forget", plan, "files", gone.id).exit_code
    assert 0 == run("backups", plan).exit_code
    inventory = Path(str(open_store().folder("x"))).parents[1] / "documents/inventory/small/files.json"
    inventory.unlink()
    altered = run("backups", plan)
    assert 2 == altered.exit_code
    assert "INVENTORY_ALTERED" in said(altered)
    assert "INVENTORY_ALTERED" in said(run("scan", plan))
    assert 0 == run("backups", "recount", plan, "files", "--yes").exit_code
    assert 0 == run("backups", plan).exit_code


@pytest.fixture
def engine(world: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """The file set is backed up by a tool on the host: three points, the newest last."""
    made = FakeEngine(tmp_path / "repository", host=socket.gethostname())
    made.root.mkdir()
    monkeypatch.setattr("blocks.backups.open_engine", lambda *_: made)
    world.write_plan(
        {
            "backups": {"tool": {"kind": "tree", "path": str(made.root)}},
            "assets": {"files": {"backup": "tool"}},
        }
    )
    return made


def by_tool(engine: FakeEngine) -> dict[str, Any]:
    """What the plan says when a tool backs the file set up."""
    return {
        "backups": {"tool": {"kind": "tree", "path": str(engine.root)}}, "assets": {"files": {"backup": "tool"}}
    }  # fmt: skip


def three(world: SmallWorld, engine: FakeEngine) -> list[str]:
    """Take over three snapshots of the users' own cron; returns the tool's ids, newest last."""
    names = []
    for hours in (0.75, 0.5, 0.25):
        names.append(engine.take(str(world.files), f"cron-{hours}", now() - timedelta(hours=hours)).id)
        result = run("backups", "adopt", str(world.plan_file), "files")
        assert 0 == result.exit_code, said(result)
    return names


def _vanish(engine: FakeEngine, *names: str) -> None:
    for name in names:
        del engine.held[name]


ENGINE: dict[str, tuple[Callable[[FakeEngine, list[str]], object], int | None, str]] = {
    "snapshot vanished": (lambda engine, names: _vanish(engine, names[2]), 1, "SNAPSHOT_GONE"),
    "repository rolled back": (lambda engine, names: _vanish(engine, *names[1:]), 0, "rolled back"),
    "the tool's own error": (
        lambda engine, names: engine.held.update({names[2]: engine.held[names[2]].model_copy(update={"error": True})}),
        1, "SNAPSHOT_DAMAGED",
    ),
    "bytes corrupt": (lambda engine, names: engine.corrupt.add(names[2]), 1, "SNAPSHOT_DAMAGED"),
    "another repository": (lambda engine, names: setattr(engine, "id", "re-made"), None, "REPOSITORY_REPLACED"),
    "client below the floor": (lambda engine, names: setattr(engine, "too_old", True), None, "TOOL_REFUSED"),
}  # fmt: skip


@pytest.mark.parametrize("case", ENGINE)
def test_what_a_backup_tool_lost_or_made_unusable_is_refused_by_name(
    world: SmallWorld, engine: FakeEngine, case: str
) -> None:
    """Rules 4 and 5: the tool's list, its error flag, its repository and its version count; the host is not touched."""
    names = three(world, engine)
    world.write_plan(by_tool(engine) | {"recovery_points": {"verify": "whole"}})
    assert 0 == (shown := run("backups", str(world.plan_file))).exit_code, said(shown)
    assert [names[2]] == engine.verified, "only the best one is read, and what was read is remembered"
    ledger(world).store.put("verdicts/small/files.json", _no_verdicts(world))
    spoil, left, words = ENGINE[case]
    ids = [point.id for point in reversed(load_plan(str(world.plan_file)).backups()["tool"].points("files"))]
    spoil(engine, names)
    about = standing(world)
    assert words in json.dumps(about)
    assert (ids[left] if left is not None else "") == about["chosen"]
    assert "refused" == about["points"][0]["verdict"]
    if left in {None, 0}:
        damage(world)
        proposal = proposed(world)
        if left is None:
            assert [] == proposal["actions"]
            assert words in proposal["unmet"][0]["sentence"]
        else:
            assert ids[left] == used(proposal)


def _no_verdicts(world: SmallWorld) -> bytes:
    from blocks.journals.documents import seal
    from blocks.ledger import Verdicts

    del world
    return seal("verdicts/small/files.json", Verdicts(), signing_key())


def test_snapshot_of_another_host_or_path_is_not_taken_over(world: SmallWorld, engine: FakeEngine) -> None:
    """G7: whose it is and what it holds is proven before a byte is read; taken over, it is a point like any other."""
    plan = str(world.plan_file)
    mine = engine.take(str(world.files), "mine", now() - timedelta(hours=0.5))
    engine.held["theirs"] = mine.model_copy(update={"id": "theirs", "host": "other"})
    engine.held["etc"] = mine.model_copy(update={"id": "etc", "paths": ("/etc",)})
    assert "is of host other" in said(run("backups", "adopt", plan, "files", "theirs"))
    assert "holds /etc, not" in said(run("backups", "adopt", plan, "files", "etc"))
    assert "no snapshot" in said(run("backups", "adopt", plan, "files", "none"))
    assert [] == load_plan(plan).backups()["tool"].points("files")
    adopted = run("backups", "adopt", plan, "files")
    assert 0 == adopted.exit_code, said(adopted)
    assert "already" in said(run("backups", "adopt", plan, "files", "mine"))
    (point,) = load_plan(plan).backups()["tool"].points("files")
    manifest = load_plan(plan).backups()["tool"].manifest(point)
    assert (True, "mine", {".", "a.txt", "below", "below/b.bin"}) == (
        manifest.adopted, manifest.snapshot, {entry.path for entry in manifest.entries},
    )  # fmt: skip
    assert "ADOPTED" in said(run("backups", plan))
    assert 0 == run("scan", plan).exit_code, "what was taken over is what is there"
    left = Path(world.server.host.state_dir) / "staging"
    assert [] == (list(left.iterdir()) if left.is_dir() else [])


def propose_database(points: Callable[[DirectoryBackup], None], tmp_path: Path, rule: PointRule) -> Proposal:
    """The proposal for an unreadable table, with these recovery points."""
    head, rest = PLAN_TEXT.split("assets:\n")
    assets = "  it: {kind: postgresql, host: web-1, database: shop, backup: tree}\n"
    plan = read_plan(head + f"assets:\n{assets}" + rest[rest.index("signoff:") :])
    here = LocalConnection("web-1", tmp_path)
    here.host = here.host.model_copy(update={"machine_id": MACHINE})
    store = DirectoryBackup("tree", tmp_path / "backups", signing_key())
    points(store)
    finding = Finding(code=Code.DATABASE_TABLE_UNREADABLE, host="web-1", asset="it", subject="public.t0")
    known = Knowledge(rule=rule, rpo=86400.0)
    supplies = gather(plan, {"web-1": here}, [finding], {"tree": store}, {}, known=known)
    return propose(
        plan, "inc-20260101-000000-0000", "0" * 64, {"web-1": MACHINE}, [finding], supplies, {}, now(),
        timedelta(hours=1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "machine", "words"),
    [
        ((0, 0), MACHINE, "EMPTY: it has no rows at all, the points before it had 1,000"),
        ((90, 0), MACHINE, "SHRUNK: it has 90 rows, the points before it had 1,000 (−91 %)"),
        ((900, 100), "f" * 32, "WRONG_HOST: it is another host's"),
        ((300, 0), MACHINE, "SHRUNK: it has 300 rows"),
    ],
    ids=["empty dump", "-90 % rows", "wrong host", "-70 % rows: not preferred"],
)
def test_dump_that_lost_its_rows_or_is_another_hosts_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: tuple[int, int], machine: str, words: str
) -> None:
    """Must show 5: refused by name, and the dump before it is restored."""
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))

    def points(store: DirectoryBackup) -> None:
        for hours in (5, 4, 3):
            dump(store, now() - timedelta(hours=hours), (900, 100))
        dump(store, now() - timedelta(hours=1), rows, machine_id=machine)

    proposal = propose_database(points, tmp_path, PointRule())
    (action,) = proposal.actions
    assert isinstance(action, RestoreDatabase)
    (choice,) = proposal.points
    assert 3 * HOUR == pytest.approx(choice.age, abs=5)
    assert words in choice.passed_over[0][1]
    assert "3 h from" in proposal.reimport[0].sentence


def test_all_points_refused_is_unmet_and_each_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))

    def points(store: DirectoryBackup) -> None:
        for hours in (5, 4):
            dump(store, now() - timedelta(hours=hours), (900, 100), machine_id="f" * 32)

    proposal = propose_database(points, tmp_path, PointRule())
    assert () == proposal.actions
    assert 2 == proposal.unmet[0].sentence.count("WRONG_HOST")
    assert "must come from elsewhere" in proposal.reimport[0].sentence


def test_incident_that_is_not_examined_yet_makes_doubt(world: SmallWorld) -> None:
    open_incident(load_plan(str(world.plan_file)), open_store(), "It is slow.", "lena", Source.CLI)
    taken, *_ = _back_up(world)
    assert "DOUBTFUL" in taken


def test_recovery_from_an_older_point_ends_well_and_its_guide_is_in_the_report(world: SmallWorld) -> None:
    """R-RESP-6: the newest archive is gone; the older version comes back, is right from now on, and users are told."""
    world.back_up()
    time.sleep(1.1)  # a recovery point is named by its second
    (world.files / "a.txt").write_text("a newer sentence\n")
    world.back_up()
    newest, older = store_of(world).points("files")
    (store_of(world).root / newest.key).unlink()
    damage(world)
    plan = str(world.plan_file)
    incident = begin(plan)
    work = open_work(incident)
    for gate, ahead in ((Gate.DECIDE, 0), (Gate.ACCEPT, 30)):  # one person signs both: no code counts twice
        cast_vote(
            work, gate, person="lena", decision=Decision.APPROVE, reason="so",
            signed_digest=gate_digest(open_gate(work, gate), gate),
            code=pyotp.TOTP(secret_of(world.folder, "totp-lena")).at(now() + timedelta(seconds=ahead)),
        )  # fmt: skip
        begin(plan, incident)
    state = open_work(incident).state()
    assert state.ended is not None
    assert RunVerdict.RECOVERED is state.ended.verdict, state.ended.sentence
    assert "all is well\n" == (world.files / "a.txt").read_text()
    assert state.proposal is not None
    assert older.id == state.proposal.points[0].point
    report = build_report(open_work(incident))
    for text in (
        report_markdown(report),
        report_html(report),
        proposal_markdown(work.plan, state, state.proposal),
    ):
        assert "What users must bring back themselves" in text
        assert "Scan the paper forms of that day again" in text
        assert "OBJECT" in text
        assert "GONE" in text
    after = run("scan", plan)
    assert "Nothing is damaged" in said(after), "what was signed for and restored is right now"
    assert "OBJECT_GONE" in said(after), "and the lost archive is told until somebody forgets it"


def test_scan_on_a_schedule_says_what_is_missing_and_overdue(world: SmallWorld) -> None:
    world.back_up()
    _, newest = only_clones(world, 30, 29)
    shutil.rmtree(store_of(world).root / "files" / newest.id)
    sentence = asyncio.run(scan.fn(str(world.plan_file)))
    assert (
        f"MANIFEST_GONE: the manifest of recovery point {newest.id} is gone, while older ones are there"
        in sentence
    )
    assert "files is overdue" in sentence
    assert [] == open_store().incidents()


@pytest.mark.parametrize(
    ("status", "said_by"), [(1, "/x: Eicar-Test FOUND"), (2, "no database")], ids=["found", "error"]
)
def test_scanner_that_finds_something_refuses_the_point_and_one_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, said_by: str
) -> None:
    """G11: a scanner that could not look is not a pass; what it found names the point."""
    monkeypatch.setenv("REINSTATE_HOME", str(tmp_path / "home"))
    tools = tmp_path / "bin"
    tools.mkdir()
    script = '#!/bin/sh\nfor last; do :; done\nif grep -q bad "$last"; then echo "SAID"; exit STATUS; fi\n'
    (tools / "clamscan").write_text(script.replace("SAID", said_by).replace("STATUS", str(status)))
    (tools / "clamscan").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr("shutil.which", lambda name: str(tools / name) if name == "clamscan" else None)
    store = DirectoryBackup("tree", tmp_path / "backups", signing_key())
    for hours, rows in ((2, 100), (1, 100)):
        dump(store, now() - timedelta(hours=hours), (rows,))
    newest, older = store.points("it")
    (store.root / newest.key).write_bytes(b"bad" + bytes(newest.bytes - 3))
    looked = look("it", MACHINE, store, Knowledge(scanner=Scanner("clamav")))
    if status == 1:
        assert [older.id] == [supply.point.id for supply in looked.supplies]
        assert "INFECTED: the scanner found /x: Eicar-Test in it" in looked.judged[0].sentence
        assert [False, True] == [proof.ok for proof in looked.proofs]
    else:
        assert newest.id == looked.supplies[0].point.id
        assert "no scanner looked" in looked.remarks[0]
