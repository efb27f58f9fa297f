"""The dpkg database of a host, read from its own files: works also where dpkg itself is damaged. One command, no dpkg.

`status` and `updates/` hold the states, `info/*.list` the paths, `info/*.md5sums` the hashes; diversions, statoverrides
and path excludes say what differs on purpose (dpkg(1), deb-md5sums(5), dpkg.cfg(5)).
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from blocks.hosts.base import Connection
from checks.stat import require
from model.assets import DpkgAsset
from model.command import Command
from model.errors import PreconditionFailed

SCRIPT = r"""
LC_ALL=C; export LC_ALL
root=${1%/}
cd "$root/var/lib/dpkg" || exit 3
part() { printf '\0%s\0' "$1"; }
unread='\n==> .unread <==\n'
# A damaged file may hold NUL, which parts ours.
text() { tr '\000' '\001'; }
part status; [ ! -r status ] || text <status
part updates; for f in updates/[0-9]*; do [ -f "$f" ] && text <"$f"; done
part arch; [ -f arch ] && cat arch
part diversions; [ -f diversions ] && cat diversions
part statoverride; [ -f statoverride ] && cat statoverride
part users; [ -s statoverride ] && cat "$root/etc/passwd"
part groups; [ -s statoverride ] && cat "$root/etc/group"
part links
for d in bin sbin lib lib32 lib64 libx32; do
    [ -L "$root/$d" ] && printf '/%s\t%s\n' "$d" "$(readlink -- "$root/$d")"
done
part alternatives; set -- alternatives/*; [ -e "$1" ] && tail -n +1 -v -- "$@" | text
part chosen
[ ! -d "$root/etc/alternatives" ] || find "$root/etc/alternatives" -maxdepth 1 -type l -printf '%f\t%l\n'
part config
for f in /etc/dpkg/dpkg.cfg.d/* /etc/dpkg/dpkg.cfg "$root"/etc/dpkg/dpkg.cfg.d/* "$root/etc/dpkg/dpkg.cfg"; do
    [ -f "$f" ] && cat "$f" && echo
done
cd info || exit 5
part names; ls -1
part list; set -- *.list; [ -e "$1" ] && { tail -n +1 -v -- "$@" || printf "$unread"; } | text
part md5sums; set -- *.md5sums; [ -e "$1" ] && { tail -n +1 -v -- "$@" || printf "$unread"; } | text
part end
exit 0
"""

END = b"\0end\0"
"""How the output of `SCRIPT` ends."""

_LINE = re.compile(r"[ \t]|[A-Za-z0-9][A-Za-z0-9-]*:")
_HEADER = re.compile(rb"\n==> ([^\n/]+) <==\n")


@dataclass(frozen=True, slots=True)
class Package:
    """One package of the database.

    Attributes:
        name: `bash`, or `libc6:i386` for an architecture that is not the host's own.
        want: what dpkg was told: install, hold, deinstall, purge.
        flag: `ok` or `reinstreq`.
        state: installed, unpacked, half-installed, half-configured, triggers-pending, config-files …
        paths: as in its list, without the root; None when the list is missing.
        md5sums: path → hash of the files as delivered.
        conffiles: path → hash when delivered; obsolete ones are left out.
        kept: all its configuration files, obsolete ones too: none of them stands in `md5sums`.
        info: names of its files in `info/`.
        stem: how its files in `info/` begin.
        odd: lines of `md5sums` that are none.
        fingerprint: SHA-256 of its list.
        sums_fingerprint: SHA-256 of its hashes; with the same list, the same contents.
    """

    name: str
    version: str
    architecture: str
    want: str
    flag: str
    state: str
    paths: tuple[str, ...] | None = ()
    md5sums: Mapping[str, str] = field(default_factory=dict)
    conffiles: Mapping[str, str] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    info: tuple[str, ...] = ()
    stem: str = ""
    odd: int = 0
    fingerprint: str = ""
    sums_fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Database:
    """All of a dpkg database.

    Attributes:
        packages: by name.
        diversions: path → (where it went, package it is diverted for; empty: a local diversion).
        aliases: links of a merged /usr, `/bin` → `/usr/bin`.
        alternatives: what `alternatives/NAME` says, by name.
        chosen: where the links in /etc/alternatives lead, by name.
        overrides: path → owner, group and mode set by dpkg-statoverride; -1: a name the host does not know.
        filters: path-exclude (True) and path-include (False) patterns in their order; the last match decides.
        lost: names of lists whose package the status file does not know: it lost something.
        torn: what is wrong with the status file itself, in words; empty when it is whole.
        native: the host's own architecture; empty when not recorded.
    """

    packages: Mapping[str, Package]
    diversions: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    alternatives: Mapping[str, str] = field(default_factory=dict)
    chosen: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    filters: tuple[tuple[bool, str], ...] = ()
    lost: tuple[str, ...] = ()
    torn: str = ""
    native: str = ""

    def filtered(self, path: str) -> bool:
        """Whether dpkg was told not to unpack this path."""
        verdict = False
        for exclude, pattern in self.filters:
            if fnmatch.fnmatchcase(path, pattern):
                verdict = exclude
        return verdict

    def placed(self, package: str, path: str) -> str:
        """Where a package's path lies: elsewhere when it is diverted for another package."""
        if path not in self.diversions:
            return path
        target, owner = self.diversions[path]
        return path if owner == package.partition(":")[0] else target


def read(connection: Connection, asset: DpkgAsset) -> Database:
    """Read the database below the asset's root.

    Raises:
        Transient: the connection was lost. PreconditionFailed: there is no dpkg database, or it cannot be read.
    """
    return parse(read_raw(connection, asset), connection.name)


def read_raw(connection: Connection, asset: DpkgAsset) -> bytes:
    """Everything `parse` needs.

    Raises:
        Transient: the connection was lost. PreconditionFailed: there is no dpkg database, or it cannot be read.
    """
    chunks: list[bytes] = []
    command = Command(
        ("sh", "-c", SCRIPT, "reinstate-dpkg", asset.root), sudo=not asset.rootless, timeout=300.0
    )
    result = connection.run(command, on_stdout=chunks.append)
    require(result, connection.name, f"reading the dpkg database below {asset.root}")
    return b"".join(chunks)


def status_of(output: bytes) -> str:
    """The status file in what `read_raw` read; NUL bytes stand there as U+0001."""
    pieces = output.split(b"\0")
    found = dict(zip(pieces[1::2], pieces[2::2], strict=False)).get(b"status", b"")
    return found.decode("utf-8", "surrogateescape")


def parse(output: bytes, where: str = "", status: str | None = None) -> Database:
    """The database from the script's output; `status` takes the place of the status file where that is damaged.

    Raises:
        PreconditionFailed: the output is not whole.
    """
    pieces = output.split(b"\0")
    parts = dict(zip(pieces[1::2], pieces[2::2], strict=False))
    if b"end" not in parts:
        raise PreconditionFailed(
            "the dpkg database was cut off.", where, "restore /var/lib/dpkg from a backup by hand"
        )
    text = {name.decode(): value.decode("utf-8", "surrogateescape") for name, value in parts.items()}
    lists, sums = _files(parts[b"list"]), _files(parts[b"md5sums"])
    if "" in lists or "" in sums:
        raise PreconditionFailed(
            "a list of the dpkg database cannot be read.",
            where,
            "look at the host's disk and at dpkg's `info` folder",
        )
    if status is not None:
        text["status"] = status
    native = (text["arch"].split() or [""])[0]
    names: dict[str, list[str]] = {}
    for info in text["names"].split("\n"):
        names.setdefault(info.rpartition(".")[0], []).append(info)
    packages: dict[str, Package] = {}
    known: set[str] = set()
    torn = tear(text["status"]) or ("it is missing or empty" if lists and not text["status"].strip() else "")
    for stanza in (*stanzas(text["status"]), *stanzas(text["updates"])):
        name, says = stanza.get("Package", ""), stanza.get("Status", "").split()
        if not name or len(says) != 3 or (says[2] == "installed" and not stanza.get("Version")):
            torn = torn or f"the entry of {name or 'a package without a name'} is incomplete"
            continue
        package = _package(stanza, says, native, lists, sums, names)
        if package.name in packages and says[2] == "not-installed":
            del packages[package.name]
        elif says[2] != "not-installed":
            packages[package.name] = package
        known |= {name, f"{name}:{package.architecture}"}
    return Database(
        packages=packages,
        diversions=_diversions(text["diversions"]),
        aliases=dict(aliases(_pairs(text.get("links", "")))),
        alternatives=_alternatives(text.get("alternatives", "")),
        chosen=dict(_pairs(text.get("chosen", ""))),
        overrides=_overrides(text["statoverride"], _ids(text.get("users", "")), _ids(text.get("groups", ""))),
        filters=tuple(_filters(text["config"])),
        lost=tuple(sorted(stem for stem in lists if stem not in known)),
        torn=torn,
        native=native,
    )


def tear(status: str) -> str:
    """What is wrong with a status file, in words; empty when it is whole. dpkg ends each entry with a blank line."""
    if status.strip() and not status.endswith("\n\n"):
        return "it ends in the middle of an entry"
    for block in status.split("\n\n"):
        if block.strip() and (wrong := damaged_entry(block)):
            return wrong
    return ""


def damaged_entry(block: str) -> str:
    """What is wrong with an entry of a status file, in words; empty when it is whole."""
    lines = block.strip("\n").split("\n")
    name = (
        next((line[9:] for line in lines if line.startswith("Package: ")), "") or "a package without a name"
    )
    if "\x01" in block:
        return f"the entry of {name[:80]} holds NUL bytes"
    if any(not _LINE.match(line) for line in lines):
        return f"the entry of {name[:80]} is garbled"
    fields = dict(line.split(": ", 1) for line in lines if ": " in line and line[0] not in " \t")
    says = fields.get("Status", "").split()
    if "Package" not in fields or len(says) != 3 or (says[2] == "installed" and not fields.get("Version")):
        return f"the entry of {name[:80]} is incomplete"
    return ""


def _package(
    stanza: Mapping[str, str], status: list[str], native: str, lists: Mapping[str, bytes], sums: Mapping[str, bytes],
    names: Mapping[str, list[str]],
) -> Package:  # fmt: skip
    name, architecture = stanza["Package"], stanza.get("Architecture", "")
    foreign = native and architecture not in {native, "all"}
    stem = f"{name}:{architecture}" if f"{name}:{architecture}" in lists else name
    listed, summed = lists.get(stem), sums.get(stem, b"")
    md5sums, odd = parse_sums(summed)
    paths = None if listed is None else _paths(listed)
    if summed and not summed.endswith(b"\n") and md5sums and (last := list(md5sums)[-1]) not in (paths or ()):
        del md5sums[last]  # half a name: the file was cut
        odd += 1
    conffiles, kept = {}, set()
    for line in stanza.get("Conffiles", "").split("\n"):
        words = line.strip().split(" ")
        kept.add(words[0])
        if len(words) == 2 and words[0].startswith("/") and len(words[1]) == 32:  # a third word: obsolete
            conffiles[words[0]] = words[1]
    return Package(
        name=f"{name}:{architecture}" if foreign else name,
        version=stanza.get("Version", ""),
        architecture=architecture,
        want=status[0],
        flag=status[1],
        state=status[2],
        paths=paths,
        md5sums=md5sums,
        conffiles=conffiles,
        kept=frozenset(kept),
        info=tuple(names.get(stem, ())),
        stem=stem,
        odd=odd,
        fingerprint=hashlib.sha256(listed or b"").hexdigest(),
        sums_fingerprint=hashlib.sha256(summed).hexdigest(),
    )


def parse_sums(data: bytes) -> tuple[dict[str, str], int]:
    """Path → hash from an `md5sums` file (deb-md5sums(5)), and how many of its lines are none."""
    lines = [line for line in data.decode("utf-8", "surrogateescape").split("\n") if line]
    right = [line for line in lines if len(line) > 34 and line[32:34] in ("  ", " *")]
    md5sums = {
        "/" + (line[34:] if line[34] not in "./" else line[34:].removeprefix("./").lstrip("/")): line[:32]
        for line in right
    }
    odd = len(lines) - len(right)
    return md5sums, odd


def _paths(listed: bytes) -> tuple[str, ...]:
    lines = listed.decode("utf-8", "surrogateescape").split("\n")
    return tuple(
        [  # a list is filled in half the time of a generator
            line if line[-1] not in "/." else line.rstrip("/").removesuffix("/.") or "/"
            for line in lines
            if line[:1] == "/"
        ]
    )


def _files(part: bytes) -> dict[str, bytes]:
    """Contents by file name without its ending, from `tail -v`; one blank line stands before each later header."""
    pieces = _HEADER.split(b"\n" + part)
    return {
        name.decode("utf-8", "surrogateescape").rpartition(".")[0]: body
        for name, body in zip(pieces[1::2], pieces[2::2], strict=True)
    }


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """Fields of each entry."""
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        key = ""
        for line in block.split("\n"):
            if line[:1] in {" ", "\t"} and key:
                fields[key] += "\n" + line
            elif ":" in line:
                key, _, value = line.partition(":")
                fields[key] = value.strip()
        if block.strip():
            yield fields


def _diversions(text: str) -> dict[str, tuple[str, str]]:
    lines = text.split("\n")
    triples = zip(lines[0::3], lines[1::3], lines[2::3], strict=False)
    return {path: (target, "" if owner == ":" else owner) for path, target, owner in triples if path}


def aliases(links: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Only links from the top to the folder of that name in /usr: the ones Debian makes."""
    return (
        (link, f"/usr{link}")
        for link, target in links
        if target.lstrip("/") == f"usr{link}" and link.count("/") == 1
    )


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.split("\n"):
        name, _, target = line.partition("\t")
        if target:
            yield name, target


def _alternatives(text: str) -> dict[str, str]:
    pieces = re.split(r"(?:\A|\n)==> alternatives/([^\n/]+) <==\n", text)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def _overrides(
    text: str, users: Mapping[str, int], groups: Mapping[str, int]
) -> dict[str, tuple[int, int, int]]:
    def number(name: str, known: Mapping[str, int]) -> int:
        return int(name[1:]) if name[:1] == "#" and name[1:].isdigit() else known.get(name, -1)

    words = [line.split(" ", 3) for line in text.split("\n")]
    return {
        path: (number(user, users), number(group, groups), int(mode, 8) & 0o7777)
        for user, group, mode, path in (line for line in words if len(line) == 4 and line[2].isdigit())
    }


def _ids(text: str) -> dict[str, int]:
    """Name → number from passwd(5) or group(5)."""
    fields = [line.split(":") for line in text.split("\n")]
    return {line[0]: int(line[2]) for line in fields if len(line) > 2 and line[2].isdigit()}


def _filters(text: str) -> Iterator[tuple[bool, str]]:
    for line in text.split("\n"):
        words = re.split(r"\s*=\s*|\s+", line.strip().lstrip("-"), maxsplit=1)
        if words[0] in {"path-exclude", "path-include"} and len(words) == 2:
            yield words[0] == "path-exclude", words[1].strip().strip('"').strip("'")
