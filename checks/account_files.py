"""The account files, line by line: what is wrong with them, and what they become with lines of their backup. Pure.

passwd(5), group(5), shadow(5), gshadow(5), as pwck(8) and grpck(8) look at them, without asking the host's tools.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PASSWD, GROUP, SHADOW, GSHADOW = "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"
FILES = (PASSWD, GROUP, SHADOW, GSHADOW)

FIELDS = {PASSWD: 7, GROUP: 4, SHADOW: 9, GSHADOW: 4}
_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@+-]{0,255}\$?")
_NUMBER = re.compile(r"[0-9]{1,10}")
_LIMIT = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that is wrong: the line's number (from 1; 0: the whole file), its name as far as it can be read."""

    line: int
    name: str
    what: str


@dataclass(frozen=True, slots=True)
class Mended:
    """What a file becomes.

    Attributes:
        text: the whole new content.
        returned: names whose line comes from the backup.
        dropped: numbers of lines nobody can read.
        left: what is still wrong with it.
    """

    text: str
    returned: tuple[str, ...]
    dropped: tuple[int, ...]
    left: tuple[Wrong, ...]


def lines(text: str) -> list[str]:
    """The lines of a file; the newline at its end makes no further one."""
    return text.removesuffix("\n").split("\n") if text else []


def name_of(line: str) -> str:
    """The name a line is about; empty when it has none that can be one."""
    name = line.partition(":")[0]
    return name if _NAME.fullmatch(name) else ""


def whole(path: str, line: str) -> str:
    """What is wrong with a line by itself; empty when it is whole."""
    if line.startswith(("+", "-")) and path in {PASSWD, GROUP, SHADOW}:
        return ""  # NIS compat entries
    fields = line.split(":")
    if len(fields) != FIELDS[path]:
        return f"{len(fields)} of {FIELDS[path]} fields"
    if not _NAME.fullmatch(fields[0]):
        return "no valid name"
    if "\x7f" in line or any(ord(char) < 32 and char != "\t" for char in line):
        return "control characters"
    return _values(path, fields)


def _values(path: str, fields: Sequence[str]) -> str:
    if path == PASSWD:
        if not (_is_id(fields[2]) and _is_id(fields[3])):
            return "a uid or gid that is no number"
        return "" if fields[5].startswith("/") or not fields[5] else "a home that is no absolute path"
    if path == GROUP:
        return "" if _is_id(fields[2]) else "a gid that is no number"
    if path == SHADOW:
        good = all(not value or re.fullmatch(r"-?[0-9]{1,10}", value) for value in fields[2:8])
        return "" if good else "a day that is no number"
    return ""


def _is_id(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and int(text) < _LIMIT


def wrong(path: str, text: str, known: Mapping[str, int] | None = None) -> list[Wrong]:
    """Everything that is wrong with a file.

    Args:
        path: which file.
        text: its content.
        known: ids by name, recorded while it was healthy; two that shared an id then may share it.
    """
    if not text.strip():
        return [Wrong(0, "", "it is empty")]
    found: list[Wrong] = []
    names: dict[str, int] = {}
    if not text.endswith("\n"):
        found.append(Wrong(len(lines(text)), "", "it ends in the middle of a line"))
    for number, line in enumerate(lines(text), start=1):
        said = whole(path, line)
        name = name_of(line)
        if said:
            found.append(Wrong(number, name, said))
        elif name in names and name:
            found.append(Wrong(number, name, f"{name} stands in line {names[name]} already"))
        elif name:
            names[name] = number
    if path in {PASSWD, GROUP}:
        found += _numbers(path, text, known or {})
    for name in dict.fromkeys(("root", *sorted(known or {}))):
        if name not in names and not any(w.name == name for w in found):
            found.append(Wrong(0, name, f"{name} is missing"))
    return found


def _numbers(path: str, text: str, known: Mapping[str, int]) -> list[Wrong]:
    """Ids that two names share, and a root that is none."""
    found: list[Wrong] = []
    owners: dict[int, str] = {}
    for number, line in enumerate(lines(text), start=1):
        if whole(path, line) or line.startswith(("+", "-")):
            continue
        fields = line.split(":")
        name, id_ = fields[0], int(fields[2])
        if name == "root" and id_ != 0:
            found.append(Wrong(number, name, f"root has the id {id_}"))
        elif (
            path == PASSWD
            and owners.get(id_, name) != name
            and not known.get(name, -1) == known.get(owners[id_], -2) == id_
        ):
            found.append(Wrong(number, name, f"{name} has the uid {id_} of {owners[id_]}"))
        owners.setdefault(id_, name)
    return found


def mend(path: str, text: str, backup: str, known: Mapping[str, int] | None = None) -> Mended:
    """Put broken lines back from a backup; every line that is whole today stays as it is.

    Names that only the backup has come back when the file is known to have lost them: the baseline recorded them, it
    is root, or there are lines nobody can read, which may have been theirs. Who was deleted on purpose stays deleted.

    Args:
        path: which file.
        text: its content now.
        backup: the content of its backup.
        known: ids by name, from the baseline.
    """
    recorded = known or {}
    spare = {name_of(line): line for line in lines(backup) if not whole(path, line) and name_of(line)}
    bad = {w.line: w for w in wrong(path, text, known) if w.line}
    kept: list[tuple[str, str]] = []
    returned: list[str] = []
    dropped: list[int] = []
    cut = bool(text) and not text.endswith("\n")
    for number, line in enumerate(lines(text), start=1):
        name = name_of(line)
        torn = number in bad and (bool(whole(path, line)) or (cut and number == len(lines(text))))
        if number not in bad or (not torn and spare.get(name) == line):
            kept.append((name, line))
        elif name in {have for have, _ in kept}:
            dropped.append(number)  # the first line of a name is the one that counts, for libc too
        elif name in spare:
            kept.append((name, spare[name]))
            returned += [name] if spare[name] != line else []
        elif torn and (not name or whole(path, line)):
            dropped.append(number)
        else:
            kept.append((name, line))
    have = {name for name, _ in kept}
    nameless = cut or not text.strip() or any(n in dropped and not w.name for n, w in bad.items())
    lost = [n for n in spare if n not in have and (nameless or n == "root" or n in recorded)]
    order = list(spare)
    for name in lost:
        place = next(
            (i + 1 for i in range(len(kept) - 1, -1, -1)
             if kept[i][0] in spare and order.index(kept[i][0]) < order.index(name)),
            0,
        )  # fmt: skip
        kept.insert(place, (name, spare[name]))
    after = "".join(f"{line}\n" for _, line in kept)
    return Mended(after, (*returned, *lost), tuple(dropped), tuple(wrong(path, after, known)))


def sha256(text: str) -> str:
    """SHA-256 of a file's content."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
