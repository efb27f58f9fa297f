"""Log lines as values: the time formats of journald, syslog, kernel, package managers, databases and web servers."""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

TEXT_LIMIT = 1000
"""Characters of a line that are looked at: signatures lie at its beginning."""

_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}
_ISO = re.compile(
    r"^\[?(\d{4})[-/](\d\d)[-/](\d\d)[T ]{1,2}(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\]?"
    r"(?: ?(Z|UTC|[+-]\d\d:?\d\d)\b)?[ \t]*"
)
_SYSLOG = re.compile(r"^([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) ")
_APACHE = re.compile(
    r"^\[(?:[A-Z][a-z]{2} )?([A-Z][a-z]{2}) (\d\d) (\d\d):(\d\d):(\d\d)(?:\.\d+)? (\d{4})\] ?"
)
_LABEL = re.compile(r"^(?:Start-Date|End-Date|Log started|Log ended): +")
_IDENT = re.compile(r"^(?:\S+ )?([A-Za-z0-9_.@/-]{1,64})(?:\[\d+\])?: ")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log.

    Attributes:
        at: seconds since 1970 by the host's clock; None when it carries no time.
        source: `journal`, `kernel` or the file's path.
        text: what it says, without its time; tainted.
        unit: the systemd unit it comes from or is about, where that is known.
        ident: the program that wrote it, where that is known.
    """

    at: float | None
    source: str
    text: str
    unit: str = ""
    ident: str = ""


def stamp(text: str, zone: int, now: float) -> tuple[float | None, str]:
    """The moment at the beginning of a line, and the rest of the line.

    Args:
        text: the line.
        zone: seconds east of UTC of the host's local time, for stamps that name no zone.
        now: the present, to find the year syslog leaves out.
    """
    line = _LABEL.sub("", text)
    local = timezone(timedelta(seconds=zone))
    try:
        if found := _ISO.match(line):
            *whole, fraction, named = found.groups()
            moment = datetime(*(int(part) for part in whole), tzinfo=_zone(named) or local)  # type: ignore[misc, arg-type]
            return moment.timestamp() + float(f"0.{fraction or 0}"), line[found.end() :]
        if (found := _APACHE.match(line)) and found[1] in _MONTHS:
            month, day, hour, minute, second, year = found.groups()
            moment = datetime(
                int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=local
            )
            return moment.timestamp(), line[found.end() :]
        if (found := _SYSLOG.match(line)) and found[1] in _MONTHS:
            month, day, hour, minute, second = found.groups()
            year = datetime.fromtimestamp(now, local).year
            moment = datetime(
                year, _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=local
            )
            if moment.timestamp() > now + 86400:  # December, read in January
                moment = moment.replace(year=year - 1)
            return moment.timestamp(), line[found.end() :]
    except (ValueError, OverflowError):
        return None, text
    return None, text


def _zone(named: str | None) -> timezone | None:
    if not named:
        return None
    if named in {"Z", "UTC"}:
        return UTC
    sign, digits = (-1 if named[0] == "-" else 1), named[1:].replace(":", "")
    return timezone(sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:])))


def of_journal(output: bytes) -> Iterator[Line]:
    """Lines of `journalctl -o json`; what is no whole entry is left out."""
    for raw in output.split(b"\n"):
        try:
            entry = json.loads(raw)
        except ValueError:
            continue
        if not isinstance(entry, dict) or "MESSAGE" not in entry:
            continue
        message, micro = entry["MESSAGE"], str(entry.get("__REALTIME_TIMESTAMP", ""))
        if isinstance(message, list):  # bytes that are not UTF-8 come as numbers
            message = bytes(n for n in message if isinstance(n, int) and 0 <= n < 256).decode(
                "utf-8", "replace"
            )
        yield Line(
            at=int(micro) / 1e6 if micro.isdigit() else None,
            source="kernel" if entry.get("_TRANSPORT") == "kernel" else "journal",
            text=str(message)[:TEXT_LIMIT],
            unit=str(entry.get("UNIT") or entry.get("_SYSTEMD_UNIT") or ""),
            ident=str(entry.get("SYSLOG_IDENTIFIER") or ""),
        )


def of_file(path: str, content: bytes, zone: int, now: float) -> Iterator[Line]:
    """Lines of a log file; a line without a time of its own has that of the line before it."""
    at: float | None = None
    for raw in content.decode("utf-8", "replace").split("\n"):
        if not raw.strip():
            continue
        found, text = stamp(raw[: TEXT_LIMIT + 64], zone, now)
        at = found if found is not None else at
        named = _IDENT.match(text) if found is not None else None
        yield Line(
            at, path, (text if found is not None else raw)[:TEXT_LIMIT], ident=named[1] if named else ""
        )


def of_history(path: str, content: bytes) -> Iterator[Line]:
    """Commands of a bash history that keeps times (`#SECONDS` before each); others have none and are left out."""
    at: float | None = None
    for raw in content.decode("utf-8", "replace").split("\n"):
        if raw.startswith("#") and raw[1:].isdigit() and len(raw) < 14:
            at = float(raw[1:])
        elif raw.strip() and at is not None:
            yield Line(at, path, raw[:TEXT_LIMIT], ident="bash")
            at = None


def without_doubles(lines: Iterable[Line]) -> list[Line]:
    """Lines in order of time; what the journal and a syslog file both have is kept once."""
    ordered = sorted(lines, key=lambda line: (line.at is None, line.at or 0.0, line.source != "journal"))
    kept: list[Line] = []
    seen: dict[tuple[str, int], str] = {}
    for line in ordered:
        second = int(line.at or 0)
        tail = line.text[-200:]
        other = seen.get((tail, second)) or seen.get((tail, second - 1))
        if other is not None and other != line.source:
            continue
        seen[tail, second] = line.source
        kept.append(line)
    return kept
