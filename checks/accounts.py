"""Accounts: are passwd, group, shadow, gshadow and sudoers whole, and is everybody there who was?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from checks.account_files import FILES, GROUP, GSHADOW, PASSWD, SHADOW, lines, name_of, whole, wrong
from checks.judging import Judging, SystemData
from model.finding import Code, Degree

SUDOERS = "/etc/sudoers"
_ALIAS = re.compile(r"(User|Runas|Host|Cmnd|Cmd)_Alias\s+[A-Z][A-Z0-9_]*\s*=\s*\S")
_DEFAULTS = re.compile(r"Defaults([@:!>]\S+)?(\s+\S|$)")
_INCLUDE = re.compile(r"[@#]include(dir)?\s+\S")
_SPEC = re.compile(r"(?!\w+_Alias\b)[^\s=]\S*(\s*,\s*\S+)*\s+[^=]+=\s*\S")


def record(data: SystemData) -> tuple[dict[str, int], dict[str, int]]:
    """Users and groups by name: for the baseline."""
    users = {
        name_of(line): int(line.split(":")[2])
        for line in lines(data.parts.get("passwd", ""))
        if not whole(PASSWD, line) and name_of(line)
    }
    groups = {
        name_of(line): int(line.split(":")[2])
        for line in lines(data.parts.get("group", ""))
        if not whole(GROUP, line) and name_of(line)
    }
    return users, groups


def judge(j: Judging) -> None:
    """Add the files that are not whole; one finding per file, which names its lines but never what a secret is."""
    if j.without("accounts", ("passwd", "accountfiles"), "the host said nothing about them"):
        return
    modes = dict(_modes(j.data))
    for path in FILES:
        if path.rpartition("/")[2] not in j.data.parts:
            j.note(f"{path}: the host has no working `sed` to leave the passwords out")
            continue
        text = j.data.parts.get(path.rpartition("/")[2], "")
        if path not in modes and path in {SHADOW, GSHADOW} and not _shadowed(j.data, path):
            continue  # a host without shadow passwords
        j.examined += 1
        if path not in modes:
            j.find(Code.ACCOUNTS_DAMAGED, path, "a whole file", "absent", Degree.TOTAL)
            continue
        known = _known(j, path)
        said = [f"line {w.line}: {w.what}" if w.line else w.what for w in wrong(path, text, known)]
        # sed ends the last line of what it prints, so that a cut shadow file cannot be told from a whole one.
        mode = modes[path][0]
        if mode & 0o022:
            said.append(f"mode {mode:04o}: others may write it")
        if said:
            j.find(Code.ACCOUNTS_DAMAGED, path, "whole lines, root, everybody recorded", _few(said))
    if "stat" in j.data.lines("missing"):
        j.note("modes of account files: the host has no `stat`")
    if j.known is None:
        j.note("whether users or groups are missing: there is no baseline")
    _sudoers(j, modes)


def _known(j: Judging, path: str) -> Mapping[str, int]:
    if j.known is None:
        return {}
    return j.known.users if path == PASSWD else j.known.groups if path == GROUP else {}


def _modes(data: SystemData) -> Iterator[tuple[str, tuple[int, int, int]]]:
    for line in data.lines("accountfiles"):
        words = line.split(" ", 4)
        if len(words) == 5 and words[0].isdigit():
            yield words[4], (int(words[0], 8), int(words[1]), int(words[2]))
        elif len(words) == 5:  # the host has no `stat`
            yield words[4], (0, 0, 0)


def _shadowed(data: SystemData, path: str) -> bool:
    """Whether `x` in passwd or group says that the password is in the shadow file."""
    part = "passwd" if path == SHADOW else "group"
    if path == GSHADOW:
        return False  # group files say `x` also where gshadow never was
    return any(line.split(":")[1:2] == ["x"] for line in lines(data.parts.get(part, "")))


def _few(said: list[str]) -> str:
    return "; ".join(said[:5]) + (f"; {len(said) - 5} more" if len(said) > 5 else "")


def _sudoers(j: Judging, modes: Mapping[str, tuple[int, int, int]]) -> None:
    texts = {SUDOERS: j.data.parts.get("sudoers", "")} if SUDOERS in modes else {}
    texts |= j.data.named("sudoers")
    visudo = j.data.parts.get("visudo", "")
    for path, text in texts.items():
        j.examined += 1
        said = [f"line {number}: not understood" for number in not_understood(text)]
        if path == SUDOERS and modes[path][0] & 0o022:
            said.append(f"mode {modes[path][0]:04o}: sudo refuses it")
        if path == SUDOERS and modes[path][1] != 0:
            said.append(f"owner {modes[path][1]}: sudo refuses it")
        said += [line.strip() for line in visudo.splitlines() if f"{path}:" in line and "error" in line][:3]
        if said:
            j.find(
                Code.ACCOUNTS_DAMAGED, path, "rules that sudo understands", _few(list(dict.fromkeys(said)))
            )


def not_understood(text: str) -> list[int]:
    """Numbers of the logical lines of a sudoers file that are no rule (sudoers(5)), by their first line."""
    found: list[int] = []
    number, start, logical = 0, 1, ""
    for number, line in enumerate(text.split("\n"), start=1):
        start = start if logical else number
        logical += line
        if line.endswith("\\"):
            logical = logical[:-1] + " "
            continue
        rule = logical.strip()
        if rule.startswith("#") and not _INCLUDE.match(rule) and not re.match(r"#[0-9]", rule):
            rule = ""
        shapes = (_ALIAS, _DEFAULTS, _INCLUDE, _SPEC)
        if rule and ("\x7f" in rule or not any(shape.match(rule) for shape in shapes)):
            found.append(start)
        logical = ""
    return found
