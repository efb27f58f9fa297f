"""Cause hints: what the logs show around the onset, ranked by nearness in time and by whether it names the damage."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from checks.commands_given import commands, names
from checks.log_lines import Line
from checks.logs import Facts
from checks.onset import Window, at
from checks.package_history import interrupted, operations
from checks.signatures import match
from checks.usage import Usage
from model.diagnosis import Cause, CauseHint, Confidence, LogLine, shown
from model.finding import Code, Finding

NEAR = 900.0
"""Seconds from the onset within which a line counts as near."""

SLACK = 5.0
"""Seconds before the last evidence of health from which on a line still counts: clocks and checks take time."""

HINTS, PER_CODE, LINES = 8, 2, 4
"""Hints of a host, hints of one code, lines of a hint."""

DEPTH = {Cause.PACKAGE_OPERATION: 3, Cause.INTERRUPTED_PACKAGE_OPERATION: 3, Cause.PERSONS_COMMAND: 3}
_LASTING = frozenset({Cause.IO_ERROR, Cause.HARDWARE})
"""What does not go away when the damage is repaired: it counts also from before the last evidence of health."""

_PLAIN = frozenset({"index.html", "config", "README", "data", "main", "default"})
_BROKEN = frozenset({Code.PACKAGE_STATE_BROKEN, Code.PACKAGE_NOT_INSTALLED, Code.PACKAGE_DATABASE_DAMAGED})


@dataclass(frozen=True)
class Subject:
    """What names a finding in a log: words by how surely, its units and the log files that are its own."""

    finding: Finding
    window: Window
    words: tuple[tuple[re.Pattern[str], float], ...]
    units: frozenset[str]
    logs: frozenset[str]


@dataclass
class Candidate:
    """One thing that was seen, before it is ranked.

    Attributes:
        links: finding id → how surely it is about that finding: 3 names its path, 2 its name or unit, 1 its package.
        why: what links them, in words.
    """

    code: Cause
    depth: int
    sentence: str
    at: float | None
    line: LogLine
    links: dict[str, float] = field(default_factory=dict)
    why: str = ""


def subject(finding: Finding, window: Window, units: Iterable[str], logs: Iterable[str]) -> Subject:
    """The words by which logs name a finding."""
    words: list[tuple[re.Pattern[str], float]] = []

    def word(text: str, level: float) -> None:
        words.append((re.compile(rf"(?<![\w-]){re.escape(text)}(?![\w-])"), level))

    name = finding.subject
    if name.startswith("/"):
        path = PurePosixPath(name)
        words.append((re.compile(re.escape(name.removeprefix("/usr"))), 3.0))
        if len(path.name) >= 5 and path.name not in _PLAIN:
            word(path.name, 2.0)
        stem, dot, _ = path.name.partition(".so")
        if dot and len(stem) >= 5:
            words.append((re.compile(rf"(?<![\w-]){re.escape(stem)}\.so"), 2.0))
    elif len(name) >= 4:
        word(name, 2.0)
        word(
            name.rpartition(".")[2] if finding.code.startswith("DATABASE") else name.removesuffix(".service"),
            1.0,
        )
    if len(finding.package) >= 4:
        word(finding.package.partition(":")[0], 1.0)
    return Subject(finding, window, tuple(words), frozenset(units), frozenset(logs))


def hints(
    host: str, lines: Sequence[Line], known: Facts, usage: Usage, subjects: Sequence[Subject], skew: float
) -> tuple[CauseHint, ...]:
    """The cause hints of one host, most probable first.

    Args:
        host: its name.
        lines: its logs around the onset.
        known: its disks and times.
        usage: its units.
        subjects: its findings as logs name them; at least one.
        skew: seconds its clock is ahead of ours.
    """
    candidates = [
        *_from_lines(lines, subjects, skew), *_from_packages(lines, subjects, skew),
        *_from_people(lines, subjects, skew), *_from_units(usage, subjects, skew), *_from_disks(known, subjects),
        *_silent(subjects),
    ]  # fmt: skip
    groups: dict[tuple[Cause, str], list[Candidate]] = {}
    for candidate in candidates:
        if _older(candidate, subjects):
            continue
        groups.setdefault((candidate.code, candidate.sentence), []).append(candidate)
    ranked = []
    for (code, sentence), group in groups.items():
        best = max(group, key=lambda c: _score(c, subjects))
        hint = _hint(host, code, sentence, group, best, subjects)
        if hint is not None:
            ranked.append((_score(best, subjects), hint))
    ranked.sort(key=lambda pair: (-pair[0], pair[1].code, pair[1].sentence))
    kept: list[CauseHint] = []
    for _, hint in ranked:
        if sum(one.code is hint.code for one in kept) < PER_CODE:
            kept.append(hint)
    return tuple(kept[:HINTS])


def _line(line: Line, skew: float) -> LogLine:
    moment = None if line.at is None else at(line.at - skew)
    who = f"{line.ident}: " if line.ident and not line.text.startswith(f"{line.ident}") else ""
    return LogLine(source=shown(line.source, 120), at=moment, text=shown(f"{who}{line.text}"))


def _links(text: str, unit: str, source: str, subjects: Sequence[Subject]) -> tuple[dict[str, float], str]:
    links: dict[str, float] = {}
    best, why = 0.0, ""
    for one in subjects:
        level, said = 0.0, ""
        for pattern, weight in one.words:
            if weight > level and (found := pattern.search(text)):
                level, said = weight, f"it names {found[0]}"
        if level < 2.0 and (unit in one.units or any(name in text for name in one.units)):
            level, said = 2.0, f"it is about {unit if unit in one.units else 'a service that uses it'}"
        if level < 1.5 and source in one.logs:
            level, said = 1.5, f"it stands in the log of {one.finding.asset}"
        if level:
            links[one.finding.id] = level
        if level > best:
            best, why = level, said
    return links, why


def _from_lines(lines: Sequence[Line], subjects: Sequence[Subject], skew: float) -> Iterator[Candidate]:
    for line in lines:
        if line.ident == "sudo" or line.source.startswith(("/var/log/dpkg", "/var/log/apt/history")):
            continue
        found = match(line.text)
        if found is None:
            continue
        links, why = _links(line.text, line.unit, line.source, subjects)
        moment = None if line.at is None else line.at - skew
        yield Candidate(found.code, found.depth, found.sentence, moment, _line(line, skew), links, why)


def _from_packages(lines: Sequence[Line], subjects: Sequence[Subject], skew: float) -> Iterator[Candidate]:
    unfinished = list(interrupted(lines))
    for left in unfinished:
        sentence = (
            f"An operation on package {shown(left.package, 100)} was begun and never ended: dpkg left it "
            f"{left.state}."
        )
        links = {s.finding.id: 3.0 if s.finding.code in _BROKEN else 2.0
                 for s in subjects if s.finding.package.partition(":")[0] == left.package
                 or s.finding.subject.partition(":")[0] == left.package}  # fmt: skip
        links |= {s.finding.id: 2.0 for s in subjects if left.package in {s.finding.package, *s.units}}
        for line in left.lines:
            yield Candidate(
                Cause.INTERRUPTED_PACKAGE_OPERATION, 3, sentence, left.at - skew, _line(line, skew), links,
                f"it is the package {left.package}",
            )  # fmt: skip
    for done in operations(lines):
        if any(left.package == done.package for left in unfinished):
            continue
        links = {s.finding.id: 2.0 for s in subjects if s.finding.package.partition(":")[0] == done.package}
        sentence = f"Package {shown(done.package, 100)} was {done.verb} just before."
        linked = [s.window.high for s in subjects if s.finding.id in links]
        if linked and max(linked) - NEAR <= done.at - skew <= max(linked) + 2 and done.verb != "configured":
            yield Candidate(
                Cause.PACKAGE_OPERATION, 3, sentence, done.at - skew, _line(done.line, skew), links,
                f"it is the package {done.package}",
            )  # fmt: skip


def _from_people(lines: Sequence[Line], subjects: Sequence[Subject], skew: float) -> Iterator[Candidate]:
    for given in commands(lines):
        links: dict[str, float] = {}
        why = ""
        for one in subjects:
            path = one.finding.subject if one.finding.subject.startswith("/") else ""
            unit = next((u for u in one.units if names(given, "", "", u)), "")
            named = names(given, path, one.finding.package.partition(":")[0], unit)
            before = one.window.high - NEAR <= given.at - skew <= one.window.high + 2
            if named and before:
                links[one.finding.id] = 3.0 if path and named.startswith("/") else 2.0
                why = f"it names {shown(named, 120)}"
        if links:
            sentence = (
                f"A command given as {shown(given.who, 40)} just before names what is damaged. It may have a good "
                "reason: ask before you conclude."
            )
            yield Candidate(
                Cause.PERSONS_COMMAND, 3, sentence, given.at - skew, _line(given.line, skew), links, why
            )


def _from_units(usage: Usage, subjects: Sequence[Subject], skew: float) -> Iterator[Candidate]:
    """What systemd remembers of a main process that did not end by itself; the journal need not hold it."""
    for state in usage.units.values():
        code = {9: Cause.KILLED_PROCESS, 11: Cause.SEGFAULT, 4: Cause.SEGFAULT, 7: Cause.SEGFAULT}.get(
            state.signal
        )
        if state.result == "oom-kill":
            code = Cause.OUT_OF_MEMORY
        if code is None or not state.down:
            continue
        links = {
            s.finding.id: 2.0 for s in subjects if state.name in s.units or s.finding.subject == state.name
        }
        moment = state.exited or state.left_active or state.became_inactive
        sentence = {
            Cause.KILLED_PROCESS: f"Something ended {state.name} by force (SIGKILL).",
            Cause.SEGFAULT: f"{state.name} crashed in its own code (segmentation fault).",
            Cause.OUT_OF_MEMORY: f"The host ran out of memory and the kernel ended {state.name}.",
        }[code]
        line = Line(moment, "systemctl show", f"{state.name}: {state.ended or state.result}")
        depth = 3 if code is Cause.OUT_OF_MEMORY else 2
        yield Candidate(
            code, depth, sentence, moment - skew, _line(line, skew), links, f"it is about {state.name}"
        )


def _from_disks(known: Facts, subjects: Sequence[Subject]) -> Iterator[Candidate]:
    for place, sentence in known.full.items():
        links = {s.finding.id: 2.0 for s in subjects
                 if s.finding.subject == place
                 or (s.finding.subject.startswith("/") and known.mount_of(s.finding.subject) == place)
                 or any(known.mount_of(log) == place for log in s.logs)}  # fmt: skip
        yield Candidate(
            Cause.NO_SPACE, 3, "There is no room left on the disk.", None,
            LogLine(source="df", at=None, text=shown(sentence)), links, f"what is damaged lies on {place}",
        )  # fmt: skip
    for place in known.read_only:
        links = {s.finding.id: 2.0 for s in subjects
                 if s.finding.subject == place or s.finding.subject.startswith(f"{place.rstrip('/')}/")}  # fmt: skip
        if links:
            yield Candidate(
                Cause.READ_ONLY_FILE_SYSTEM, 3, "A file system is read-only where something wants to write.", None,
                LogLine(source="mounts", at=None, text=f"{shown(place)} is mounted read-only"), links,
                f"what is damaged lies on {place}",
            )  # fmt: skip


def _silent(subjects: Sequence[Subject]) -> Iterator[Candidate]:
    for one in subjects:
        if one.window.silent:
            said = f"{one.finding.subject}: its content differs, its change time is older than the proof of its health"
            yield Candidate(
                Cause.SILENT_CHANGE, 3,
                "The content changed beneath the file system: suspect the disk, the memory, or a raw write.", None,
                LogLine(source="stat", at=None, text=shown(said)), {one.finding.id: 3.0}, "it is the damaged file",
            )  # fmt: skip


def _about(candidate: Candidate, subjects: Sequence[Subject]) -> list[Window]:
    """The windows of what it is about; of everything when it names nothing."""
    return [s.window for s in subjects if s.finding.id in candidate.links] or [s.window for s in subjects]


def _older(candidate: Candidate, subjects: Sequence[Subject]) -> bool:
    """Whether all it is about was seen whole after it: then it belongs to an older incident."""
    moment = candidate.at
    if moment is None or candidate.code in _LASTING:
        return False
    return all(w.low is not None and moment < w.low - SLACK for w in _about(candidate, subjects))


def _distance(candidate: Candidate, subjects: Sequence[Subject]) -> float:
    """Seconds from the onset of what it is about; 0 for what holds now and is about a finding."""
    if candidate.at is None:
        return 0.0 if candidate.links else NEAR
    moment = candidate.at
    return min(abs(moment - window.high) for window in _about(candidate, subjects))


def _score(candidate: Candidate, subjects: Sequence[Subject]) -> float:
    level = max(candidate.links.values(), default=0.0)
    return 2.0 * candidate.depth + 2.0 * level + 3.0 / (1.0 + _distance(candidate, subjects) / 600.0)


def _hint(
    host: str,
    code: Cause,
    sentence: str,
    group: list[Candidate],
    best: Candidate,
    subjects: Sequence[Subject],
) -> CauseHint | None:
    links: dict[str, float] = {}
    for candidate in group:
        for finding, level in candidate.links.items():
            links[finding] = max(level, links.get(finding, 0.0))
    level, distance = max(links.values(), default=0.0), _distance(best, subjects)
    near = distance <= NEAR
    if not links and (best.depth < 3 or not near or best.at is None):
        return None
    confidence = Confidence.LOW
    if code is Cause.PERSONS_COMMAND:
        because = f"{best.why}; that somebody gave a command does not show that it did the damage"
    elif level >= 1.5 and near and (best.depth >= 2 or level >= 2.0):
        confidence = Confidence.HIGH if best.depth >= 2 else Confidence.MEDIUM
        because = f"{best.why}{_when(best, distance)}"
    elif level and (near or level >= 2.0):
        confidence, because = Confidence.MEDIUM, f"{best.why}{_when(best, distance)}"
    else:
        because = "nothing in it names what is damaged; it only happened on the same host at that time"
    newest = sorted(group, key=lambda c: (-_score(c, subjects), c.at or 0.0))
    lines = dict.fromkeys(candidate.line for candidate in newest)
    chosen = sorted(
        list(lines)[:LINES], key=lambda line: (line.at is None, line.at.timestamp() if line.at else 0.0)
    )
    return CauseHint(
        code=code, host=host, sentence=sentence, confidence=confidence, because=shown(because), lines=tuple(chosen),
        findings=tuple(sorted(links)),
    )  # fmt: skip


def _when(candidate: Candidate, distance: float) -> str:
    if candidate.at is None:
        return " and holds now"
    if distance < 120:
        return f" and comes within {max(1, round(distance))} s of the onset"
    if distance < 7200:
        return f" and lies {distance / 60:.0f} min from the onset"
    return f" and lies {distance / 3600:.0f} h from the onset"


def first_signs(hints_of: Sequence[CauseHint], codes: Mapping[Cause, str]) -> dict[str, tuple[float, str]]:
    """The first moment a log shows each finding's damage, for the codes that show damage itself."""
    found: dict[str, tuple[float, str]] = {}
    for hint in hints_of:
        if hint.code not in codes or hint.confidence is Confidence.LOW:
            continue
        moments = [line.at.timestamp() for line in hint.lines if line.at is not None]
        for finding in hint.findings if moments else ():
            first = (min(moments), f"a log showed it first then ({hint.lines[0].source})")
            found[finding] = min(first, found.get(finding, first))
    return found
