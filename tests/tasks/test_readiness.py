"""`readiness` on a real SSH server: each condition turned on, seen in the next cycle, mended, well again (R-PREV-1).

Must show 6 of the issue: backup too old, key rotated, package version gone, approver removed, plan edited; a full disk
needs a host of the laboratory (`tests.tasks.test_lab_readiness`).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pyotp
import pytest
from typer.testing import CliRunner, Result

from blocks.home import open_store, signing_key
from deployments.cli.app import app
from flows.readiness import look_now, readiness
from flows.verify_backups import verify_backups
from model.errors import BadInput, BadPlan
from model.journal import Noted
from model.outcome import Gate
from model.readiness import Lack, PlanReadiness, Qualification, Readiness
from tasks import package_index, proofs
from tasks.gate_page import asked_markdown
from tasks.readiness import basis
from tasks.readiness_page import history_of, in_short, page
from tasks.work import load_plan, open_work, register_plan
from tests.support.labworld import write_secret
from tests.support.locally import begin
from tests.support.pythonworld import STORE, environment_here, plan_changes
from tests.support.site import PEOPLE, Site, server, site
from tests.tasks.localhost import quiet

__all__ = ["server", "site"]

Q, D, B = Qualification.QUALIFIED, Qualification.DEGRADED, Qualification.BLOCKED


def sees(site: Site) -> PlanReadiness:
    """One cycle."""
    return asyncio.run(look_now(site.plan))[0]


def lacks(row: Readiness | None) -> set[Lack]:
    assert row is not None
    return {gap.lack for gap in row.gaps}


@pytest.fixture
def ready(site: Site) -> Site:
    """A site that is qualified: backed up, restored once, published, people enrolled and reachable."""
    people = {
        one: {"name": one.title(), "totp": f"file:secrets/totp-{one}", "email": f"{one}@x.org"}
        for one in PEOPLE
    }
    site.write(people=people)
    site.world.back_up()
    asyncio.run(verify_backups.fn(site.plan))
    site.publish()
    return site


def test_site_with_everything_is_qualified_and_says_what_was_looked_at(ready: Site) -> None:
    """G11: qualified only because each fact was looked at."""
    seen = sees(ready)
    assert [Q, Q] == [row.state for row in seen.rows], [gap.sentence for row in seen.rows for gap in row.gaps]
    own, files = seen.rows
    assert ("published", "people", "reach", "channels", "room") == own.checked
    assert ("access", "rights", "identity", "recovery points", "tools", "room") == files.checked
    assert files.point_at is not None
    assert files.proven_at is not None
    assert seen.at < files.proven_until <= seen.at + timedelta(minutes=30)
    assert files.proven_until <= files.point_at + timedelta(hours=1)


def break_and_mend(
    site: Site, turn_on: Callable[[], object], mend: Callable[[], object], lack: Lack, asset: str = "files"
) -> Readiness:
    """Qualified, then blocked in the very next cycle for this reason, then qualified again; the row in between."""
    assert Q is sees(site).state
    turn_on()
    seen = sees(site)
    row = seen.row(asset)
    assert row is not None
    assert (B, B) == (seen.state, row.state)
    assert lack in {gap.lack for gap in row.gaps if gap.blocks}, [gap.sentence for gap in row.gaps]
    assert all(gap.remedy and gap.place for gap in row.gaps)
    assert any(lack in text for text in asked(site, row.asset).appeared)
    mend()
    after = sees(site)
    assert Q is after.state, [gap.sentence for row in after.rows for gap in row.gaps]
    assert any(lack in text for text in asked(site, row.asset).closed)
    return row


def asked(site: Site, asset: str) -> Any:  # noqa: ANN401 - the change, or a failure
    """What the newest run says that changed of an asset."""
    changes = history_of(site.store, "small").runs[-1].changes
    return next(one for one in changes if one.asset == asset)


def test_backup_too_old_blocks_until_the_next_backup(ready: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Must show 6: the clock that judges recovery points goes on by two hours; the plan allows one."""
    from model.canonical import now

    passed = [timedelta()]
    for module in ("tasks.recovery_points", "tasks.ready_hosts", "checks.point_facts"):
        monkeypatch.setattr(f"{module}.now", lambda: now() + passed[0])

    def two_hours_later() -> None:
        passed[0] = timedelta(hours=2)

    def back_in_time() -> None:
        passed[0] = timedelta()

    row = break_and_mend(ready, two_hours_later, back_in_time, Lack.POINT_OVERDUE)
    (late,) = (gap for gap in row.gaps if gap.lack is Lack.POINT_OVERDUE)
    assert ("disk", True) == (late.place, "2 h old" in late.what)


def test_login_key_that_was_rotated_blocks_until_the_plan_has_the_new_one(ready: Site) -> None:
    """Must show 6: the host no longer takes the key."""
    key = ready.world.folder / "secrets" / "ssh-key"
    right, stranger = key.read_text(), (ready.world.server.folder / "stranger").read_text()
    row = break_and_mend(
        ready, lambda: key.write_text(stranger), lambda: key.write_text(right), Lack.LOGIN_REFUSED
    )
    assert "tools" not in row.checked, "what was not looked at is not said to be"


def test_host_key_that_was_rotated_blocks_until_it_is_published(ready: Site) -> None:
    """Must show 6, G7: another host key is another host, until people sign that it is the same."""
    pinned = ready.world.server.host.host_key
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()

    def rotate(line: str) -> Callable[[], None]:
        def change() -> None:
            ready.write(hosts={"web": {"host_key": line}})
            ready.publish()

        return change

    break_and_mend(ready, rotate(other), rotate(pinned), Lack.HOST_KEY_DIFFERS)


def test_host_that_is_another_machine_blocks(ready: Site) -> None:
    """G7."""
    path = Path(ready.world.server.host.machine_id_file)
    right = path.read_text()
    break_and_mend(
        ready, lambda: path.write_text("f" * 32), lambda: path.write_text(right), Lack.IDENTITY_DIFFERS
    )


def test_secret_of_the_login_that_is_gone_blocks(ready: Site) -> None:
    key = ready.world.folder / "secrets" / "ssh-key"
    kept = key.rename(key.with_name("kept"))
    kept.rename(key)
    break_and_mend(ready, lambda: key.rename(kept), lambda: kept.rename(key), Lack.SECRET_MISSING)


def test_approver_who_was_revoked_blocks_until_another_one_is_enrolled(ready: Site) -> None:
    """Must show 6: of the two who lead one is revoked, and the other one's secret is gone."""
    file = load_plan(ready.plan)
    place = ready.world.folder / "secrets" / "totp-omar"
    secret = place.read_text()

    def remove() -> None:
        proofs.revoke(file, ready.store, "lena", "rita", "She has left.")
        place.unlink()

    def enrol() -> None:
        write_secret(ready.world.folder, "totp-omar", secret)
        shown: list[str] = []
        proofs.enrol(
            file,
            ready.store,
            "lena",
            lambda _address, new: shown.append(new),
            lambda: pyotp.TOTP(shown[0]).now(),
        )

    row = break_and_mend(ready, remove, enrol, Lack.QUORUM_OUT_OF_REACH, asset="")
    (decide, accept) = (gap for gap in row.gaps if gap.lack is Lack.QUORUM_OUT_OF_REACH and gap.blocks)
    assert ("signoff.decide", "signoff.accept") == (decide.place, accept.place)
    assert "lena (revoked)" in decide.what
    assert "omar (not enrolled)" in decide.what


def test_one_approver_of_two_degrades(ready: Site) -> None:
    proofs.revoke(load_plan(ready.plan), ready.store, "lena", "rita", "She has left.")
    seen = sees(ready)
    assert D is seen.state
    assert {Lack.NOBODY_TO_SPARE} == lacks(seen.row(""))
    assert Q is seen.rows[1].state, "it can still be signed"


def test_plan_that_was_edited_blocks_until_it_is_published_or_put_back(ready: Site) -> None:
    """Must show 6, R-REV-3."""
    text = ready.world.plan_file.read_text()
    edited = text.replace('"30m"', '"31m"')
    assert edited != text
    path = ready.world.plan_file
    row = break_and_mend(
        ready, lambda: path.write_text(edited), lambda: path.write_text(text), Lack.PLAN_CHANGED, ""
    )
    assert row.gaps[0].place == str(path)
    ready.write(objectives={"rto": "31m"})
    seen = sees(ready)
    assert {Lack.PLAN_BLOCKED} == lacks(seen.row("files")), "nothing can be recovered by it"
    ready.publish()
    assert Q is sees(ready).state


def test_plan_file_that_went_wrong_blocks_what_was_known_of_it(ready: Site) -> None:
    """A registered plan is looked at by its name, as the schedule does."""
    register_plan(load_plan(ready.plan), ready.store)
    assert "qualified" in asyncio.run(readiness.fn("small"))
    path, text = ready.world.plan_file, ready.world.plan_file.read_text()
    path.write_text(text + "{")
    said = asyncio.run(readiness.fn("small"))
    assert "blocked" in said
    latest = history_of(ready.store, "small").latest
    assert latest is not None
    assert [B, B] == [row.state for row in latest.rows]
    assert {Lack.PLAN_WRONG} == lacks(latest.row(""))
    assert basis(ready.store, "small", path) == latest.basis, "the next look waits for the next change"
    with pytest.raises(BadPlan):
        asyncio.run(readiness.fn(str(path)))
    with pytest.raises(BadInput):
        asyncio.run(readiness.fn("unknown"))
    path.write_text(text)
    assert "qualified" in asyncio.run(readiness.fn("small"))


@pytest.fixture
def python(ready: Site) -> Iterator[Path]:
    """The site with a Python environment as well, whose wheels are in a signed store; gives the store's folder."""
    folder = ready.world.folder
    venv = environment_here(folder)
    ready.write(**plan_changes("web", {"app": str(venv)}))
    package_index.index_folder(folder / STORE, signing_key(), ready.store, quiet)
    ready.publish()
    yield folder / STORE
    shutil.rmtree(folder / "opt")


def test_package_version_that_is_gone_blocks_until_it_is_stocked_again(ready: Site, python: Path) -> None:
    """Must show 6, R-PREV-4: one wheel of the environment is in no store any more."""
    wheel = next(python.glob("tiny_mod-*.whl"))
    kept = wheel.with_name("elsewhere.keep")
    row = break_and_mend(
        ready, lambda: wheel.rename(kept), lambda: kept.rename(wheel), Lack.PACKAGE_GONE, asset="app"
    )
    (gone,) = (gap for gap in row.gaps if gap.lack is Lack.PACKAGE_GONE)
    assert "1 of 4" in gone.what
    assert "tiny-mod 0.3" in gone.what
    assert "packages" in row.checked


def test_store_of_packages_without_a_signed_index_blocks(ready: Site, python: Path) -> None:
    index = python / "packages.json"
    kept = python.parent / "kept.json"
    break_and_mend(
        ready, lambda: index.rename(kept), lambda: kept.rename(index), Lack.NOT_CHECKED, asset="app"
    )


def test_vanished_and_unproven_recovery_points_degrade(site: Site) -> None:
    """Nothing was ever restored, and nobody published: a recovery can be done, with less than was promised."""
    site.world.back_up()
    seen = sees(site)
    assert D is seen.state
    assert {Lack.POINT_UNPROVEN} == lacks(seen.row("files"))
    assert {Lack.PLAN_NOT_PUBLISHED, Lack.PERSON_NOT_REACHED} == lacks(seen.row(""))
    shutil.rmtree(site.world.folder / "backups")
    (site.world.folder / "backups").mkdir()
    gone = sees(site)
    assert B is gone.rows[1].state
    assert {Lack.POINT_MISSING, Lack.POINT_VANISHED} <= lacks(gone.row("files"))


def test_host_that_is_away_blocks_its_assets_and_no_others(ready: Site) -> None:
    """Hosts are asked side by side; a host of no asset that is away only degrades (staging, spare)."""
    plan = json.loads(ready.world.plan_file.read_text())
    gone = plan["hosts"]["web"] | {"port": 1}
    ready.write(hosts={"away": gone}, assets={"lost": plan["assets"]["files"] | {"host": "away"}})
    ready.publish()
    seen = sees(ready)
    assert {"": Q, "files": Q, "lost": B} == {row.asset: row.state for row in seen.rows}
    assert {Lack.HOST_UNREACHABLE, Lack.POINT_MISSING, Lack.POINT_OVERDUE, Lack.POINT_UNPROVEN} >= lacks(
        seen.row("lost")
    )
    assert Lack.HOST_UNREACHABLE in lacks(seen.row("lost"))
    ready.changes["assets"] = {}
    ready.write()
    ready.publish()
    spare = sees(ready)
    assert {"": D, "files": Q} == {row.asset: row.state for row in spare.rows}
    assert {Lack.STAGING_DOWN} == lacks(spare.row(""))


def test_page_shows_what_is_missing_the_days_since_proven_and_the_runs(ready: Site) -> None:
    sees(ready)
    ready.world.plan_file.write_text(ready.world.plan_file.read_text() + "\n")
    seen = sees(ready)
    text = page(seen, history_of(ready.store, "small"))
    assert "# small: ✗ blocked" in text
    assert "PLAN\\_CHANGED" in text
    assert "`■✗`" in text
    assert "| files | 0.0 | ░░░░░░░░░░ |" in text
    assert "the plan itself: qualified → blocked" in text


@pytest.fixture
def reinstate(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`reinstate WORDS`."""
    monkeypatch.setenv("COLUMNS", "200")
    runner = CliRunner()
    return lambda *words: runner.invoke(app, [str(word) for word in words], env=dict(os.environ))


def test_command_ends_with_2_when_something_is_blocked(ready: Site, reinstate: Callable[..., Result]) -> None:
    well = reinstate("readiness", ready.plan, "--json")
    assert 0 == well.exit_code, well.output
    assert {"qualified"} == {row["state"] for row in json.loads(well.stdout)["rows"]}
    (ready.world.folder / "secrets" / "ssh-key").rename(ready.world.folder / "away")
    blocked = reinstate("readiness", ready.plan)
    assert 2 == blocked.exit_code
    assert "SECRET_MISSING" in blocked.stdout
    assert "Changed: files: qualified → blocked" in blocked.stdout
    history = reinstate("readiness", ready.plan, "--history")
    assert 0 == history.exit_code
    assert "Newest looks" in history.stdout
    assert ["qualified", "blocked"] == [
        run["state"]
        for run in json.loads(reinstate("readiness", ready.plan, "--history", "--json").stdout)["runs"]
    ]


def test_recover_and_propose_say_first_what_is_known(ready: Site, reinstate: Callable[..., Result]) -> None:
    """From what is kept only: nobody is asked in the middle of an incident."""
    never = reinstate("propose", ready.plan)
    assert "Readiness of small was never looked at" in never.stderr
    sees(ready)
    ready.damage()
    shutil.rmtree(ready.world.folder / "backups")
    (ready.world.folder / "backups").mkdir()
    sees(ready)
    runs = len(history_of(ready.store, "small").runs)
    said = reinstate("recover", ready.plan, "--by", "rita", "--local").stderr
    assert "Plan small is blocked" in said
    assert "files is blocked: POINT_MISSING disk" in said.replace("\n", " ")
    assert runs == len(history_of(open_store(), "small").runs)
    (incident,) = open_store().incidents()
    work = open_work(incident)
    notes = [r.payload.sentence for r in work.store.read(incident) if isinstance(r.payload, Noted)]
    assert any("files is blocked: POINT_MISSING" in note for note in notes), "the report stage says so"


def test_proposal_names_what_was_blocked(ready: Site) -> None:
    """What a look found wrong with the very asset that is to be repaired stands above what is signed."""
    ready.damage()
    incident = begin(ready.plan)
    work = open_work(incident)
    assert "is blocked" not in asked_markdown(work, work.state(), Gate.DECIDE)
    (ready.world.folder / "secrets" / "totp-lena").unlink()
    (ready.world.folder / "secrets" / "totp-omar").unlink()
    sees(ready)
    text = asked_markdown(work, work.state(), Gate.DECIDE)
    assert "the plan itself is blocked: QUORUM\\_OUT\\_OF\\_REACH signoff.decide" in text
    assert "files is blocked: PLAN\\_BLOCKED" in text


def test_kept_look_that_is_old_is_called_out_of_date(ready: Site) -> None:
    seen = sees(ready)
    history = history_of(ready.store, "small")

    def first(moment: datetime) -> str:
        return in_short(history, "small", moment)[0]

    assert first(seen.at).endswith("the plan itself is qualified.")
    assert "is proven any more" in first(seen.proven_until + timedelta(minutes=5))
    assert "OUT OF DATE" in first(seen.at + timedelta(hours=2))
