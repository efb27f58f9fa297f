"""The diagnosis from plain data: windows, ranking of causes, reach of a damage; it never stops a confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from checks import causes, impact, onset, usage
from checks.causes import subject
from checks.diagnose import diagnose, why
from checks.examine import impact_scope
from checks.log_lines import Line
from checks.logs import Facts, Times
from checks.onset import Health, Window
from checks.usage import Hit, Need, UnitState, Usage
from model.diagnosis import Cause, Confidence, Listener, Reach, Running
from model.finding import CheckResult, Code, Finding, Verdict
from model.plan import Plan
from model.planfile import read_plan
from model.severity import Scope
from tests.checks.local import LocalConnection
from tests.model.builders import PLAN_TEXT

T = datetime(2026, 11, 25, 16, 0, tzinfo=UTC).timestamp()
LIBRARY = "/usr/lib/x86_64-linux-gnu/libGeoIP.so.1.6.12"
NOTHING = Health({}, {}, {})


@pytest.fixture
def plan() -> Plan:
    """The builders' plan with a probe of port 80 and a second service on the web's database."""
    text = PLAN_TEXT.replace("checks:", "  batch: {kind: service, host: web-1, unit: batch.service}\nchecks:")
    return read_plan(text)


def damaged(
    code: Code = Code.FILE_CONTENT_DIFFERS,
    what: str = LIBRARY,
    asset: str = "packages",
    package: str = "libgeoip1",
) -> Finding:
    return Finding(code=code, host="web-1", asset=asset, subject=what, package=package)


def result(*findings: Finding) -> CheckResult:
    return CheckResult(
        check="packages", host="web-1", asset="packages", verdict=Verdict.FAILED, examined=9, findings=findings,
        sentence="x",
    )  # fmt: skip


def unit(
    name: str, *, down: bool = False, signal: int = 0, left: float = 0.0, requires: tuple[str, ...] = ()
) -> UnitState:
    return UnitState(
        name, "failed" if down else "active", "x", "x", T - 900, left, left, left, "ended" if signal else "", signal,
        requires,
    )  # fmt: skip


def ranked(
    lines: Sequence[Line], *findings: Finding, units: tuple[str, ...] = ("nginx.service",), known: Facts | None = None,
    low: float | None = T - 600, state: Usage | None = None,
) -> list[tuple[Cause, Confidence]]:  # fmt: skip
    window = Window(low, "seen whole", T, "changed", dated=True)
    subjects = [subject(f, window, units, ()) for f in findings or (damaged(),)]
    hints = causes.hints("web-1", lines, known or Facts(now=T), state or Usage(), subjects, 0.0)
    return [(hint.code, hint.confidence) for hint in hints]


ELF = Line(
    T + 1,
    "journal",
    "dlopen() failed (/lib/x86_64-linux-gnu/libGeoIP.so.1: invalid ELF header)",
    "nginx.service",
    "nginx",
)
FAILED = Line(T + 2, "journal", "nginx.service: Failed with result 'exit-code'.", "nginx.service", "systemd")


def test_line_that_names_the_damage_comes_before_what_follows_from_it() -> None:
    assert [(Cause.ELF_ERROR, Confidence.HIGH), (Cause.UNIT_FAILED, Confidence.MEDIUM)] == ranked(
        [FAILED, ELF]
    )


def test_same_line_from_before_the_last_healthy_moment_is_another_incident() -> None:
    """Logs hold last week's incident too; nothing of it explains today's."""
    old = [Line(T - 700, one.source, one.text, one.unit, one.ident) for one in (ELF, FAILED)]
    assert [] == ranked(old)
    assert Cause.ELF_ERROR in {code for code, _ in ranked(old, low=None)}


def test_disk_errors_count_even_from_before_it() -> None:
    line = Line(T - 700, "kernel", f"EXT4-fs error (device sda1): comm nginx: {LIBRARY}: bad block")
    assert [Cause.IO_ERROR] == [code for code, _ in ranked([line])]


def test_ordinary_and_unrelated_lines_give_no_cause() -> None:
    """No hint out of noise (G11)."""
    noise = [
        Line(T, "journal", "Started cron.service.", "cron.service"),
        Line(T, "journal", "/etc/other.conf: No such file or directory", "cron.service", "cron"),
        Line(T, "journal", "cron.service: Failed with result 'exit-code'.", "cron.service"),
    ]
    assert [] == ranked(noise)


def test_hint_that_names_nothing_is_only_kept_for_deep_causes_and_with_low_confidence() -> None:
    oom = Line(T + 1, "kernel", "Out of memory: Killed process 77 (java) total-vm:1kB")
    assert [(Cause.OUT_OF_MEMORY, Confidence.LOW)] == ranked([oom])


def test_command_of_a_person_is_never_more_than_a_hint() -> None:
    """It may rank first; how sure stays low, and the sentence accuses nobody."""
    text = f" ops : PWD=/ ; USER=root ; COMMAND=/usr/bin/dd of={LIBRARY}"
    window = Window(T - 600, "seen whole", T, "changed", dated=True)
    (hint, *_) = causes.hints(
        "web-1", [Line(T - 1, "journal", text, ident="sudo"), ELF], Facts(now=T), Usage(),
        [subject(damaged(), window, ("nginx.service",), ())], 0.0,
    )  # fmt: skip
    assert (Cause.PERSONS_COMMAND, Confidence.LOW) == (hint.code, hint.confidence)
    assert "ask before you conclude" in hint.sentence


def test_command_after_the_damage_is_no_hint() -> None:
    text = f" ops : PWD=/ ; USER=root ; COMMAND=/usr/bin/rm {LIBRARY}"
    assert [] == ranked([Line(T + 60, "journal", text, ident="sudo")])


def test_process_killed_without_a_line_in_any_log_is_seen_in_its_unit() -> None:
    state = Usage(units={"nginx.service": unit("nginx.service", down=True, signal=9, left=T)})
    down = damaged(Code.SERVICE_DOWN, "nginx.service", "web", package="")
    assert [(Cause.KILLED_PROCESS, Confidence.HIGH)] == ranked([], down, state=state)


def test_full_disk_explains_what_lies_on_it_alone() -> None:
    full = Facts(now=T, full={"/usr": "/usr is 100 % full"}, mounts=("/", "/usr", "/srv"))
    assert [(Cause.NO_SPACE, Confidence.HIGH)] == ranked([], known=full)
    elsewhere = damaged(what="/srv/data.bin", package="")
    assert [(Cause.NO_SPACE, Confidence.HIGH)] != ranked([], elsewhere, known=full)


def window(
    finding: Finding, plan: Plan, times: dict[str, Times], health: Health = NOTHING, skew: float = 0.0
) -> Window:
    return onset.window(plan, finding, Facts(now=T, times=times), Usage(), health, skew, T + 100)


def test_change_time_bounds_the_damage_from_above_and_health_from_below(plan: Plan) -> None:
    found = window(damaged(), plan, {LIBRARY: Times(5.0, T)}, Health({}, {"packages": onset.at(T - 50)}, {}))
    assert (T - 50, T) == (found.low, found.high)
    assert not found.silent


def test_deleted_file_is_dated_by_its_folder(plan: Plan) -> None:
    gone = damaged(Code.FILE_MISSING, "/srv/shop/a/b.txt", "files", package="")
    assert T == window(gone, plan, {"/srv/shop": Times(T, T), "/srv": Times(1.0, 1.0)}).high


def test_health_later_than_the_change_means_a_change_beneath_the_file_system(plan: Plan) -> None:
    """A flipped bit moves no time: the disk or the memory is suspected."""
    found = window(
        damaged(), plan, {LIBRARY: Times(5.0, 5.0)}, Health({}, {"packages": onset.at(T - 50)}, {})
    )
    assert found.silent
    assert (T - 50, T + 100) == (found.low, found.high)
    subjects = [subject(damaged(), found, (), ())]
    assert [Cause.SILENT_CHANGE] == [
        h.code for h in causes.hints("web-1", [], Facts(now=T), Usage(), subjects, 0.0)
    ]


def test_times_of_a_host_whose_clock_is_wrong_are_corrected(plan: Plan) -> None:
    assert T == window(damaged(), plan, {LIBRARY: Times(5.0, T + 3600)}, skew=3600.0).high


def test_damage_without_any_evidence_of_health_has_an_open_beginning(plan: Plan) -> None:
    found = damaged(package="")
    one = window(found, plan, {})
    since = onset.onset([found], {found.id: one}, [])
    assert since.earliest is None
    assert since.holds(onset.at(1.0))
    assert not since.holds(onset.at(T + 200))


def test_what_follows_does_not_date_the_damage(plan: Plan) -> None:
    """A service was stopped for the night before its library was overwritten."""
    first, second = damaged(), damaged(Code.SERVICE_DOWN, "shop.service", "web", package="")
    windows = {
        first.id: Window(T - 60, "w", T, "w", dated=True),
        second.id: Window(T - 900, "w", T - 300, "w", dated=True),
    }
    since = onset.onset([first, second], windows, [])
    assert (onset.at(T - 60), onset.at(T + onset.TICK)) == (since.earliest, since.latest)


LISTEN = Listener(unit="shop.service", process="shop", protocol="tcp", address="0.0.0.0", port=80)


def reach(
    plan: Plan, used: Usage, *findings: Finding, recorded: Running | None = None
) -> dict[tuple[str, str], Reach]:
    impacts = impact.judge(
        plan, [result(*findings)], {"web-1": used}, {"web-1": recorded} if recorded else {}
    )
    assert all(i.chain for i in impacts)
    return {(i.kind, i.name): i.reach for i in impacts}


def test_damage_reaches_process_unit_port_service_and_probe(plan: Plan) -> None:
    """R-RESP-2: who is affected, with the reason per link."""
    used = Usage(
        hits=(Hit(7, "shop", "shop.service", LIBRARY, "mapped"),), listeners=(LISTEN,),
        units={
            "shop.service": unit("shop.service"), "front.service": unit("front.service", requires=("shop.service",)),
        },
    )  # fmt: skip
    found = reach(plan, used, damaged())
    assert {
        ("process", "shop (PID 7)"): Reach.USES, ("unit", "shop.service"): Reach.USES, ("service", "web"): Reach.USES,
        ("port", "tcp 80"): Reach.USES, ("probe", "home"): Reach.USES, ("unit", "front.service"): Reach.DEPENDS,
        ("asset", "packages"): Reach.USES,
    }.items() <= found.items()  # fmt: skip


def test_service_that_is_down_is_reached_by_what_was_recorded_while_it_ran(plan: Plan) -> None:
    """A dead process maps nothing and listens nowhere."""
    recorded = Running(at=onset.at(T - 900), listeners=(LISTEN,), files={"shop.service": (LIBRARY,)})
    used = Usage(units={"shop.service": unit("shop.service", down=True, left=T)})
    found = reach(plan, used, damaged(), recorded=recorded)
    assert Reach.STOPPED is found["service", "web"]
    assert Reach.STOPPED is found["port", "tcp 80"]


def test_damage_that_nothing_uses_reaches_no_service(plan: Plan) -> None:
    """That a plan restarts a service after repairs of packages does not make a manual page grave."""
    manual = damaged(what="/usr/share/man/man1/x.1.gz")
    impacts = impact.judge(
        plan, [result(manual)], {"web-1": Usage(units={"shop.service": unit("shop.service")})}, {}
    )
    assert all(i.reach is Reach.DEPENDS for i in impacts if i.kind == "service")
    assert Scope.PART is impact_scope([result(manual)], plan, impacts)


@pytest.mark.parametrize(
    ("units", "scope"),
    [(("shop.service",), Scope.SERVICE), (("shop.service", "batch.service"), Scope.SEVERAL)],
)
def test_scope_grows_with_the_services_that_use_what_is_damaged(
    plan: Plan, units: tuple[str, ...], scope: Scope
) -> None:
    """Nothing is down yet; the library is damaged under running services."""
    used = Usage(needs=tuple(Need(name, LIBRARY, ("it is linked with it",)) for name in units),
                 units={name: unit(name) for name in units})  # fmt: skip
    impacts = impact.judge(plan, [result(damaged())], {"web-1": used}, {})
    assert scope is impact_scope([result(damaged())], plan, impacts)


def test_library_is_traced_to_what_links_it_without_running_anything(here: LocalConnection) -> None:
    """The ELF reader on this machine's own programs."""
    used = usage.collect(here, [str(Path("/proc/self/exe").resolve())], record=True)
    assert used.files is not None
    assert any(hit.how in {"runs", "mapped"} for hit in used.hits)
    from checks.elf_probe import Elf

    libc = str(next(Path("/usr/lib").glob("*-linux-*/libc.so.6"), Path("/lib64/libc.so.6")).resolve())
    (way,) = Elf(lambda: False).way(str(Path("/bin/ls").resolve()), {libc: libc})
    assert (str(Path("/bin/ls").resolve()), libc) == (way[0], way[-1])


def test_files_that_are_no_elf_are_read_without_harm(tmp_path: Path) -> None:
    from checks.elf_probe import Elf

    real = Path("/bin/ls").read_bytes()
    for number, content in enumerate((b"", b"\x7fELF", b"text", real[:70], real[:64] + b"\xff" * 4000)):
        place = tmp_path / str(number)
        place.write_bytes(content)
        assert [] == Elf(lambda: False).needs(str(place))


def test_host_whose_tools_are_broken_gives_a_diagnosis_that_says_so(plan: Plan, tmp_path: Path) -> None:
    """A diagnosis that cannot collect never stops the confirmation."""
    deaf = LocalConnection(path=str(tmp_path))  # no command is found there
    found = diagnose(plan, {"web-1": deaf}, [result(damaged())], NOTHING, onset.at(T))
    assert found is not None
    assert ((), Confidence.LOW) == (found.causes, found.confidence)
    assert 3 == len(found.not_checked)
    assert diagnose(plan, {}, [result(damaged())], NOTHING, onset.at(T)) is not None


def test_defect_of_the_diagnosis_itself_is_said_and_does_not_stop(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onset, "window", lambda *args: 1 / 0)
    found = why(plan, {}, [result(damaged())], NOTHING, onset.at(T))
    assert found is not None
    assert "ZeroDivisionError" in found.not_checked[0]


def test_nothing_damaged_has_no_diagnosis(plan: Plan) -> None:
    assert diagnose(plan, {}, [], NOTHING, onset.at(T)) is None


@pytest.mark.parametrize("code", [Code.DISK_FULL, Code.CERTIFICATE_EXPIRED])
def test_change_time_of_what_filled_up_or_expired_dates_nothing(plan: Plan, code: Code) -> None:
    """A certificate was written long before it expired."""
    found = window(damaged(code, "/etc/ssl/shop.pem"), plan, {"/etc/ssl/shop.pem": Times(5.0, 5.0)})
    assert T + 100 == found.high
    assert not found.dated
