"""What is missing, what it comes to, until when it is proven, and what changed (R-PREV-1, R-PREV-4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from model.assets import FilesAsset, MariadbAsset, PostgresAsset, ServiceAsset, SqliteAsset
from model.errors import (
    BadInput,
    Damaged,
    PreconditionFailed,
    Refused,
    ReinstateError,
    Transient,
    Unsupported,
)
from model.outcome import Gate
from model.planfile import plan_digest, read_plan
from model.points import Judgement, Measure, Reason, Weight, Why
from model.readiness import (
    KEPT,
    Gap,
    Lack,
    PlanReadiness,
    Qualification,
    Readiness,
    ReadinessHistory,
    ReadinessRule,
    changes,
    roll_up,
    until,
)
from model.readiness_rules import (
    Need,
    Room,
    needs_of,
    of_error,
    of_packages,
    of_people,
    of_points,
    of_publication,
    of_reach,
    of_room,
    of_source,
    of_tools,
)
from model.versions import PlanVersion, Signed
from tests.model.builders import PLAN_TEXT, plan

AT = datetime(2026, 3, 2, 10, 17, tzinfo=UTC)
NEXT = datetime(2026, 3, 2, 10, 30, tzinfo=UTC)
Q, D, B = Qualification.QUALIFIED, Qualification.DEGRADED, Qualification.BLOCKED


def gap(lack: Lack = Lack.DISK_FULL, *, blocks: bool = True, place: str = "web-1 /srv") -> Gap:
    return Gap(lack=lack, place=place, what="It is so.", remedy="Mend it.", blocks=blocks)


def row(asset: str = "files", *gaps: Gap, checked: tuple[str, ...] = ("access",)) -> Readiness:
    return Readiness(asset=asset, checked=checked, gaps=gaps, proven_until=NEXT)


def seen(*rows: Readiness, at: datetime = AT) -> PlanReadiness:
    return PlanReadiness(plan="shop", at=at, rows=rows)


@pytest.mark.parametrize(
    ("one", "state"),
    [
        (row(), Q),
        (row("files", gap(blocks=False)), D),
        (row("files", gap(blocks=False), gap()), B),
        (row("files", checked=()), B),
    ],
    ids=["nothing missing", "less than promised", "one blocks", "nothing looked at (G11)"],
)
def test_state_is_what_the_gaps_come_to(one: Readiness, state: Qualification) -> None:
    assert state is one.state


@pytest.mark.parametrize(
    ("states", "worst"),
    [((Q, Q), Q), ((Q, D), D), ((D, B, Q), B)],
    ids=["all well", "one less", "one blocked"],
)
def test_plan_is_as_bad_as_its_worst_row(states: tuple[Qualification, ...], worst: Qualification) -> None:
    gaps = {Q: (), D: (gap(blocks=False),), B: (gap(),)}
    rows = [row(f"a{number}", *gaps[state]) for number, state in enumerate(states)]
    assert worst is seen(row(""), *rows).state


def test_asset_of_a_plan_that_nobody_can_sign_is_blocked_and_what_rests_on_a_blocked_one_is_degraded() -> (
    None
):
    own = Readiness(checked=("people",), gaps=(gap(Lack.QUORUM_OUT_OF_REACH),), proven_until=NEXT)
    rows = roll_up(own, [row("files")], {"files": []})
    assert (B, Lack.PLAN_BLOCKED) == (rows[1].state, rows[1].gaps[0].lack)
    assert "QUORUM_OUT_OF_REACH" in rows[1].gaps[0].what
    healthy = Readiness(checked=("people",), proven_until=NEXT)
    needs = {"web": ["database", "packages"], "database": [], "packages": []}
    rows = roll_up(healthy, [row("database", gap()), row("packages"), row("web")], needs)
    assert [Q, B, Q, D] == [one.state for one in rows]
    assert [("database", Lack.DEPENDENCY_BLOCKED)] == [(g.place, g.lack) for g in rows[3].gaps]


@pytest.mark.parametrize(
    ("schedule", "expiries", "expected"),
    [
        ("*/30 * * * *", [], NEXT),
        ("*/30 * * * *", [AT + timedelta(minutes=5)], AT + timedelta(minutes=5)),
        ("*/30 * * * *", [AT + timedelta(days=1)], NEXT),
        ("0 3 * * *", [AT + timedelta(hours=2)], AT + timedelta(hours=2)),
        ("", [], AT + timedelta(minutes=30)),
        ("*/30 * * * *", [AT - timedelta(hours=1)], AT),
    ],
    ids=["next look", "point leaves the RPO", "next look first", "rare looks", "by hand", "over already"],
)
def test_proven_until_is_the_earliest_moment_a_fact_runs_out(
    schedule: str, expiries: list[datetime], expected: datetime
) -> None:
    assert expected == until(ReadinessRule(schedule=schedule), "shop", AT, expiries)


def test_rule_runs_every_half_hour_by_itself_and_never_more_often() -> None:
    assert "*/30 * * * *" == ReadinessRule().schedule
    assert "" == ReadinessRule(schedule="").schedule
    with pytest.raises(ValidationError, match="29 minutes apart"):
        ReadinessRule(schedule="0,29 * * * *")


def test_look_is_out_of_date_once_the_next_one_is_missing() -> None:
    look = seen(row(""), row("files"))
    assert not look.outdated(AT + timedelta(minutes=39))
    assert look.outdated(AT + timedelta(minutes=41)), "by hand: it counts for half an hour"
    rare = look.model_copy(update={"next_at": AT + timedelta(hours=8)})
    assert not rare.outdated(AT + timedelta(hours=8, minutes=9))
    assert rare.outdated(AT + timedelta(hours=8, minutes=11))


def test_changes_name_what_appeared_and_what_is_closed() -> None:
    before = seen(row(""), row("files", gap()), row("old"))
    after = seen(row(""), row("files", gap(Lack.POINT_OVERDUE, place="disk")), row("new"))
    found = {one.asset: one for one in changes(before, after)}
    assert {"files", "old", "new"} == set(found)
    assert (("POINT_OVERDUE disk",), ("DISK_FULL web-1 /srv",)) == (
        found["files"].appeared,
        found["files"].closed,
    )
    assert (B, B) == (found["files"].before, found["files"].after)
    assert (None, Q) == (found["new"].before, found["new"].after)
    assert (Q, None) == (found["old"].before, found["old"].after)
    assert () == changes(None, after), "a first look changes nothing"
    assert () == changes(after, after)
    assert "files: blocked → blocked; now POINT_OVERDUE disk; no longer DISK_FULL" in found["files"].sentence


def test_history_keeps_the_newest_in_full_and_the_others_in_short() -> None:
    history = ReadinessHistory()
    for number in range(KEPT + 3):
        gaps = (gap(),) if number % 2 else ()
        history = history.with_run(seen(row("", *gaps), row("files"), at=AT + timedelta(minutes=30 * number)))
    assert KEPT == len(history.runs)
    assert history.latest is not None
    assert history.latest.at == history.runs[-1].at
    assert [B, Q] == [run.state for run in history.runs[-2:]]
    assert ["blocked → qualified"] == [
        one.sentence.partition("; ")[0].partition(": ")[2] for one in history.runs[-1].changes
    ]
    assert ReadinessHistory.model_validate_json(history.model_dump_json()) == history


@pytest.mark.parametrize(
    ("step", "error", "lack"),
    [
        ("connect", Transient("gone.", "web", "wait"), Lack.HOST_UNREACHABLE),
        ("connect", Refused("another key.", "web", "see"), Lack.HOST_KEY_DIFFERS),
        ("connect", PreconditionFailed("not this key.", "web", "see"), Lack.LOGIN_REFUSED),
        ("connect", BadInput("no such file.", "file:key", "put it"), Lack.SECRET_MISSING),
        ("connect", Unsupported("too old.", "web", "update"), Lack.HOST_UNREACHABLE),
        ("sudo", PreconditionFailed("no sudo.", "web", "add"), Lack.SUDO_REFUSED),
        ("identity", Refused("another machine.", "web", "see"), Lack.IDENTITY_DIFFERS),
        ("identity", Transient("gone.", "web", "wait"), Lack.HOST_UNREACHABLE),
        ("look", Damaged("cut off.", "web", "see"), Lack.NOT_CHECKED),
    ],
)
def test_host_that_fails_us_blocks_with_place_and_remedy(
    step: str, error: ReinstateError, lack: Lack
) -> None:
    found = of_error(step, "web", error)  # type: ignore[arg-type]  # the table is plain text
    assert (lack, error.where, error.what, error.remedy, True) == (
        found.lack, found.place, found.what, found.remedy, found.blocks,
    )  # fmt: skip


def test_source_that_cannot_be_asked_blocks() -> None:
    assert Lack.SOURCE_UNREACHABLE is of_source("disk", Transient("no answer.")).lack
    assert (Lack.SECRET_MISSING, "disk") == (
        of_source("disk", BadInput("gone.")).lack,
        of_source("disk", BadInput("gone.")).place,
    )


def test_broken_tools_block_unless_they_can_be_lent() -> None:
    assert [] == of_tools("web", [], lendable=False)
    (lent,) = of_tools("web", [("tar", "it is not there")], lendable=True)
    (alone,) = of_tools("web", [("tar", "it is not there")], lendable=False)
    assert (False, True) == (lent.blocks, alone.blocks)
    assert "tar (it is not there)" in alone.what


GIB = 1 << 30


@pytest.mark.parametrize(
    ("rooms", "lacks"),
    [
        ([Room("/var/lib/reinstate", "1", 5 * GIB), Room("/srv", "2", 5 * GIB)], []),
        ([Room("/var/lib/reinstate", "1", 3 * GIB), Room("/srv", "1", 3 * GIB)], []),
        ([Room("/var/lib/reinstate", "1", 2 * GIB), Room("/srv", "2", 5 * GIB)], [Lack.DISK_FULL]),
        ([Room("/var/lib/reinstate", "1", 5 * GIB), Room("/srv", "2", 2 * GIB)], [Lack.DISK_FULL]),
        (
            [Room("/var/lib/reinstate", "1", 5 * GIB, 9999, 10), Room("/srv", "1", 5 * GIB, 9999, 10)],
            [Lack.DISK_FULL],
        ),
        (
            [Room("/var/lib/reinstate", "1", 5 * GIB), Room("/srv", "2", 5 * GIB, writable=False)],
            [Lack.DISK_READ_ONLY],
        ),
        ([Room("/var/lib/reinstate", "1", 5 * GIB)], [Lack.NOT_CHECKED]),
    ],
    ids=["room", "one disk", "stage full", "data full", "no inodes", "read-only", "not known"],
)
def test_room_is_what_is_written_and_the_head_room(rooms: list[Room], lacks: list[Lack]) -> None:
    needs = [Need("/var/lib/reinstate", 2 * GIB), Need("/srv", 2 * GIB)]
    found = of_room("web", needs, {room.path: room for room in rooms}, GIB)
    assert lacks == [one.lack for one in found]
    assert all(one.blocks and one.place.startswith("web /") for one in found)


def test_needs_are_the_stage_and_beside_the_live_one() -> None:
    files = FilesAsset(kind="files", host="web", path="/srv/a", backup="tree")
    sqlite = SqliteAsset(kind="sqlite", host="web", path="/srv/db/a.db", backup="tree")
    dump = PostgresAsset(kind="postgresql", host="web", database="shop", backup="tree")
    cluster = dump.model_copy(update={"data_directory": "/var/lib/pg/main"})
    service = ServiceAsset(kind="service", host="web", unit="web.service")
    assert ["/state", "/srv/a"] == [need.path for need in needs_of(files, "/state", 7)]
    assert ["/state", "/srv/db"] == [need.path for need in needs_of(sqlite, "/state", 7)]
    assert ["/state"] == [need.path for need in needs_of(dump, "/state", 7)]
    assert ["/state", "/var/lib/pg"] == [need.path for need in needs_of(cluster, "/state", 7)]
    mariadb = MariadbAsset(
        kind="mariadb", host="web", database="shop", backup="tree", method="mariabackup", service="web",
        data_directory="/var/lib/mysql",
    )  # fmt: skip
    assert [Need("/var/lib", 14)] == list(needs_of(mariadb, "/state", 7))
    assert [Need("/state", 0)] == list(needs_of(service, "/state", 0))


def test_package_that_nobody_has_blocks_and_an_empty_look_is_no_proof() -> None:
    assert [] == of_packages("web os", [], 3, (), "stock")
    (found,) = of_packages("web os", [f"p{n} 1.0" for n in range(7)], 9, ["store: unsigned."], "stock")
    assert (Lack.PACKAGE_GONE, True) == (found.lack, found.blocks)
    assert "7 of 9" in found.what
    assert "p4 1.0 and 2 more" in found.what
    assert "unsigned" in found.what
    assert [Lack.NOT_CHECKED] == [one.lack for one in of_packages("web os", [], 0, (), "stock")]


def judgement(*reasons: Reason) -> Judgement:
    return Judgement(
        asset="files",
        point="p1",
        source="tree",
        taken_at=AT,
        measure=Measure(files=1, bytes=7),
        reasons=reasons,
    )


REFUSED = Reason(why=Why.OBJECT_GONE, weight=Weight.REFUSES, sentence="it is gone")
DOUBT = Reason(why=Why.DOUBTFUL, weight=Weight.AGAINST, sentence="an incident was open")


@pytest.mark.parametrize(
    ("given", "lacks", "blocks"),
    [
        ({}, [], []),
        ({"chosen": "", "judged": []}, [Lack.POINT_MISSING], [True]),
        ({"chosen": "", "judged": [judgement(REFUSED)]}, [Lack.POINT_MISSING], [True]),
        (
            {"chosen": "", "judged": [], "remarks": ["the bucket does not answer"]},
            [Lack.SOURCE_UNREACHABLE],
            [True],
        ),
        ({"remarks": ["the tool was not asked"]}, [Lack.NOT_CHECKED], [True]),
        ({"overdue": "too old."}, [Lack.POINT_OVERDUE], [True]),
        ({"lost": ["p0 is gone."]}, [Lack.POINT_VANISHED], [False]),
        ({"judged": [judgement(DOUBT)]}, [Lack.POINT_DOUBTFUL], [False]),
        ({"unproven": "never restored."}, [Lack.POINT_UNPROVEN], [False]),
    ],
)
def test_recovery_point_must_be_there_fresh_and_proven(
    given: dict[str, object], lacks: list[Lack], blocks: list[bool]
) -> None:
    right = {
        "chosen": "p1", "judged": [judgement()], "lost": [], "overdue": "", "unproven": "", "remarks": [],
    }  # fmt: skip
    found = of_points("tree", **(right | given))  # type: ignore[arg-type]  # a table of plain values
    assert (lacks, blocks) == ([one.lack for one in found], [one.blocks for one in found])
    assert all(one.remedy and one.place == "tree" for one in found)


def lacks_of_people(
    text: str, unable: dict[str, str], instead: dict[str, str] | None = None
) -> dict[str, Lack]:
    given = {gate: instead or {} for gate in Gate}
    return {one.place.removeprefix("signoff."): one.lack for one in of_people(read_plan(text), unable, given)}


def test_gate_that_too_few_can_sign_blocks_and_one_without_a_deputy_degrades() -> None:
    """Ann, Bob and Cyd lead; *decide* wants two of them, *accept* and *publish* one."""
    assert {} == lacks_of_people(PLAN_TEXT, {})
    assert {"decide": Lack.NOBODY_TO_SPARE} == lacks_of_people(PLAN_TEXT, {"cyd": "no proof in the plan"})
    two = lacks_of_people(PLAN_TEXT, {"cyd": "revoked", "bob": "revoked"})
    spare = {"accept": Lack.NOBODY_TO_SPARE, "publish": Lack.NOBODY_TO_SPARE}
    assert {"decide": Lack.QUORUM_OUT_OF_REACH, **spare} == two
    none = dict.fromkeys(("ann", "bob", "cyd"), "not enrolled")
    found = list(of_people(plan(), none, {}))
    assert [True, True, False] == [one.blocks for one in found], "publishing can wait"
    assert "2 must sign and 0" in found[0].what
    assert "ann (not enrolled)" in found[0].what


def test_stand_in_who_can_prove_it_fills_the_seat() -> None:
    unable = {"cyd": "revoked", "bob": "revoked"}
    assert Lack.NOBODY_TO_SPARE is lacks_of_people(PLAN_TEXT, unable, {"bob": "dan"})["decide"]
    assert (
        Lack.QUORUM_OUT_OF_REACH
        is lacks_of_people(PLAN_TEXT, unable | {"dan": "x"}, {"bob": "dan"})["decide"]
    )


def test_signer_whom_nobody_can_tell_degrades() -> None:
    assert [] == list(of_reach(plan())), "the room reaches everybody"
    alone = PLAN_TEXT[: PLAN_TEXT.index("communication:")]
    found = list(of_reach(read_plan(alone)))
    assert ["people.bob", "people.cyd"] == [one.place for one in found]
    assert not any(one.blocks for one in found)


def test_plan_file_must_be_the_published_version() -> None:
    mine, other = plan_digest(PLAN_TEXT), plan_digest(PLAN_TEXT + "\n")
    version = PlanVersion(
        plan="shop", number=1, version="1.0", digest=mine, text=PLAN_TEXT, before="", publication="pub-1",
        proposed_by="dan", published_at=AT - timedelta(days=1),
        signed=(Signed(person="ann", role="leading_group", at=AT, proof="totp"),),
    )  # fmt: skip
    assert [] == of_publication([version], mine, "plan.yaml", AT)
    (changed,) = of_publication([version], other, "plan.yaml", AT)
    assert (Lack.PLAN_CHANGED, "plan.yaml", True) == (changed.lack, changed.place, changed.blocks)
    assert "publish" in changed.remedy
    (never,) = of_publication([], mine, "plan.yaml", AT)
    assert (Lack.PLAN_NOT_PUBLISHED, False) == (never.lack, never.blocks)
