"""Units: those that failed, those that were masked, and what people's folders hold that the baseline does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from checks.judging import Judging, SystemData
from model.finding import Code, Degree
from model.host_state import RUNTIME, UNIT_FOLDERS, HostState, masks, sha256_of, unit_of
from model.manifest import Entry, FileType

ADDED = "absent"
"""Expected of what must go again: a drop-in, or a unit that hides that of a package."""

UNRECORDED = "in the baseline"
"""Expected of what may have been added for a reason."""

KEPT_BYTES = 64 << 10
_TYPES = {"f": FileType.FILE, "d": FileType.DIRECTORY, "l": FileType.LINK}
_ENABLING = (".wants", ".requires", ".upholds")


@dataclass(frozen=True, slots=True)
class Unit:
    """What systemd says of a unit."""

    load: str
    active: str
    sub: str


def listed(data: SystemData) -> dict[str, Unit]:
    """All units systemd has loaded, by name."""
    found: dict[str, Unit] = {}
    for line in data.lines("units"):
        words = line.lstrip().removeprefix("●").removeprefix("*").split(None, 4)
        if len(words) >= 4 and "." in words[0]:
            found[words[0]] = Unit(*words[1:4])
    return found


def files(data: SystemData) -> dict[str, Entry]:
    """What lies in the folders of units, by path."""
    contents = data.named("unit")
    found: dict[str, Entry] = {}
    for line in data.parts.get("unitfiles", "").split("\n"):
        fields = line.split("\t")
        if len(fields) != 8:
            continue
        kind, mode, uid, gid, size, moment, path, link = fields
        type_ = _TYPES.get(kind, FileType.OTHER)
        seconds, _, fraction = moment.partition(".")
        text = contents.get(path)
        found[path] = Entry(
            path=path, type=type_, mode=int(mode, 8) & 0o7777, uid=int(uid), gid=int(gid),
            size=int(size) if type_ is FileType.FILE else 0,
            mtime_ns=int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, "0") or 0),
            sha256=sha256_of(text) if text is not None and type_ is FileType.FILE else "", link=link,
        )  # fmt: skip
    return found


def record(data: SystemData) -> tuple[dict[str, Entry], dict[str, str], frozenset[str]]:
    """Unit files, their contents by hash, and what runs: for the baseline."""
    units = {path: entry for path, entry in files(data).items() if not path.startswith(RUNTIME)}
    texts = {sha256_of(text): text for text in data.named("unit").values() if len(text) <= KEPT_BYTES}
    running = frozenset(
        name
        for name, unit in listed(data).items()
        if unit.active == "active" and name.endswith((".service", ".timer", ".socket", ".path"))
    )
    return units, texts, running


def judge(j: Judging) -> None:
    """Add units that failed, are masked, stopped being watched by their timer, or differ from the baseline."""
    units = listed(j.data)
    if not units:
        j.note("units: systemd does not answer on this host")
    j.examined += len(units)
    for name, unit in units.items():
        if unit.active == "failed":
            j.find(Code.UNIT_FAILED, name, "active or inactive", f"failed ({unit.load})")
    now = files(j.data)
    j.examined += len(now)
    if "find" in j.data.lines("missing"):
        j.note("unit files: the host has no `find`")
    elif j.known is None:
        masked = sorted(unit_of(path) for path, entry in now.items() if masks(entry))
        said = f" ({', '.join(masked[:10])} are masked)" if masked else ""
        j.note(f"changed, masked and stopped units: there is no baseline{said}")
    else:
        _compare(j, j.known, now)
        for name in sorted(j.known.active):
            if name.endswith(".timer") and units and (name not in units or units[name].active != "active"):
                said = f"{units[name].active} ({units[name].load})" if name in units else "not loaded"
                if not any(masks(now.get(f"{folder}/{name}")) for folder in (*UNIT_FOLDERS, RUNTIME)):
                    j.find(Code.UNIT_CHANGED, name, "active", said)


def _compare(j: Judging, known: HostState, now: dict[str, Entry]) -> None:
    vendor = set(j.data.lines("vendor"))
    for path in sorted({*known.units, *now}):
        was, is_ = known.units.get(path), now.get(path)
        if masks(is_) and not masks(was):
            j.find(
                Code.UNIT_MASKED,
                unit_of(path),
                "not masked",
                f"masked by {path}",
                detail=_was(j, unit_of(path)),
            )
        elif was is None and is_ is not None:
            _added(j, path, is_, vendor)
        elif was is not None:
            for expected, actual in _differences(was, is_):
                j.find(Code.UNIT_CHANGED, path, expected, actual)


def _was(j: Judging, unit: str) -> str:
    return "It ran when the baseline was recorded." if j.known and unit in j.known.active else ""


def _added(j: Judging, path: str, entry: Entry, vendor: set[str]) -> None:
    if entry.type is FileType.DIRECTORY or path.startswith(f"{RUNTIME}/"):
        return
    folder, _, name = path.rpartition("/")
    drop_in = folder.endswith(".d") and name.endswith(".conf")
    hides = folder in UNIT_FOLDERS and name in vendor and entry.type is FileType.FILE
    actual = f"a link to {entry.link}" if entry.type is FileType.LINK else str(entry.type.value)
    if drop_in or hides:
        sets = ", ".join(_keys(j.data.named("unit").get(path, ""))[:8])
        j.find(Code.UNIT_CHANGED, path, ADDED, actual, detail=f"It sets {sets}." if sets else "")
    else:
        j.find(Code.UNIT_CHANGED, path, UNRECORDED, actual, Degree.SLIGHT)


def _keys(text: str) -> list[str]:
    """Names of what a unit file sets; values may be secrets."""
    keys = (line.partition("=")[0].strip() for line in text.splitlines() if "=" in line)
    return list(dict.fromkeys(key for key in keys if key.isalnum()))


def _differences(was: Entry, now: Entry | None) -> Iterator[tuple[str, str]]:
    if now is None:
        if was.type is not FileType.DIRECTORY:  # what lay in it is found by itself
            yield _nature(was), "absent"
    elif now.type is not was.type:
        yield _nature(was), _nature(now)
    elif was.type is FileType.LINK:
        if was.link.removeprefix("/usr") != now.link.removeprefix("/usr"):
            yield _nature(was), _nature(now)
    elif was.type is FileType.FILE and (was.sha256, was.size) != (now.sha256, now.size):
        yield f"content as recorded ({was.size} bytes)", f"another content ({now.size} bytes)"
    elif (was.mode, was.uid, was.gid) != (now.mode, now.uid, now.gid):
        yield (
            f"mode {was.mode:04o}, owner {was.uid}:{was.gid}",
            f"mode {now.mode:04o}, owner {now.uid}:{now.gid}",
        )


def _nature(entry: Entry) -> str:
    return f"link to {entry.link}" if entry.type is FileType.LINK else str(entry.type.value)
