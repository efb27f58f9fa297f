"""The rpm database of a host in one command: packages, files, and what rpm says about itself while it answers.

`rpm -qa` ends with 0 also where its database is damaged, and makes an empty one where there is none (lab.md): so its
words count, `rpmdb --verifydb` is asked as well, and nothing is asked where there is no database. rpm verifies digest
and signature of every record it reads; a record that fails is left out of its answer and named among its words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from blocks.hosts.base import Connection
from checks.fact import require
from checks.sections import sections
from model.command import Command, printable

RECORD, FIELD = "\x1e", "\x1f"
"""What parts packages and files from another, and their fields: no name of a file that rpmbuild can read has them."""

_PACKAGE = (
    "NAME", "EPOCHNUM", "VERSION", "RELEASE", "ARCH", "FILEDIGESTALGO", "SHA256HEADER", "INSTALLTIME",
)  # fmt: skip
_FILE = (
    "FILENAMES", "FILEDIGESTS", "FILEMODES", "FILEUSERNAME", "FILEGROUPNAME", "FILEFLAGS", "FILEVERIFYFLAGS",
    "FILELINKTOS", "FILESTATES", "FILECAPS",
)  # fmt: skip
_SIGNED = "%|RSAHEADER?{1}:{%|DSAHEADER?{1}:{0}|}|"
QUERY = (
    RECORD + FIELD.join(["P", *(f"%{{{tag}}}" for tag in _PACKAGE), _SIGNED]) + "["
    + RECORD + FIELD.join(["F", *(f"%{{{tag}}}" for tag in _FILE)]) + "]"
)  # fmt: skip

_SCRIPT = r"""
LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export LC_ALL PATH
part() { printf '\0%s\0' "$1"; }
db=$(rpm --eval %_dbpath) || exit 3
part folder; printf '%s' "$db"
part files; there=
for f in "$db"/* "$db"/.rpm.lock; do [ -f "$f" ] && printf '%s\n' "${f##*/}"; done
for f in rpmdb.sqlite Packages Packages.db; do [ -s "$db/$f" ] && there=$f; done
part main; printf '%s' "$there"
part users; cat /etc/passwd
part groups; cat /etc/group
if [ -n "$there" ]; then
    part packages
    { errs=$(rpm -qa --qf "$1" 2>&1 >&3); rc=$?; } 3>&1
    part errors; printf '%s\n' "$errs"; [ "$rc" -eq 0 ] || echo "rpm -qa ended with $rc"
    part structure; rpmdb --verifydb 2>&1 || echo "rpmdb --verifydb ended with $?"
    part needs; rpm -Va --nofiles --nodigest --nosignature 2>/dev/null
fi
part end
exit 0
"""

CONFIG, DOCUMENTATION, MISSING_OK, NO_REPLACE, GHOST, LICENSE, README = 1, 2, 8, 16, 64, 128, 256
"""Bits of a file's flags (rpm's rpmfiles.h)."""

DIGEST, LINK, USER, GROUP, MODE, CAPABILITIES = 1, 4, 8, 16, 64, 256
"""Bits of what rpm is to verify of a file; a packager clears them with `%verify(not …)`."""

_MD5, _SHA256 = 1, 8
_NEEDS = re.compile(r"^Unsatisfied dependencies for (?P<who>\S+):$")
_STALE = re.compile(r"^(Page \d+ is never used|\s*)$")


class RpmFile(NamedTuple):
    """One path of a package, as rpm recorded it.

    Attributes:
        mode: with the bits of its type.
        state: 0 when it was installed; 1 replaced by another package's, 2 left out, 3 shared, 4 of another colour.
        capabilities: as text, `cap_net_raw=ep`.
    """

    path: str
    digest: str
    mode: int
    user: str
    group: str
    flags: int
    verify: int
    link: str
    state: int
    capabilities: str


@dataclass(frozen=True, slots=True)
class RpmPackage:
    """One installed package.

    Attributes:
        version: `epoch:version-release`; an epoch of 0 is left out.
        algorithm: of the files' digests, as in RFC 4880; 1 MD5, 8 SHA-256.
        header: SHA-256 of its record as the packager made it; equal to that of the .rpm.
        signed: whether the record carries a signature.
        needs: what it requires and nothing provides.
    """

    name: str
    version: str
    architecture: str
    algorithm: int = _SHA256
    header: str = ""
    installed: int = 0
    signed: bool = True
    files: tuple[RpmFile, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """`NAME-VERSION.ARCHITECTURE`; a key has no architecture."""
        return nevra(self.name, self.version, self.architecture)


def nevra(name: str, version: str, architecture: str) -> str:
    """How a package is named in full."""
    return f"{name}-{version}.{architecture}" if architecture else f"{name}-{version}"


@dataclass(frozen=True, slots=True)
class RpmDatabase:
    """All of an rpm database.

    Attributes:
        folder: where it is on the host.
        main: the file that holds the records; empty when there is none or it is empty.
        files: names of the files in the folder.
        packages: those that can be read, sorted; keys (`gpg-pubkey`) are in `keys`.
        users, groups: ids on this host by name.
        errors: what rpm said while it was read; any word is damage.
        structure: what is wrong with the file's own structure.
    """

    folder: str
    main: str
    files: tuple[str, ...] = ()
    packages: tuple[RpmPackage, ...] = ()
    keys: tuple[RpmPackage, ...] = ()
    users: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    structure: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The main file, or where it should be."""
        return f"{self.folder}/{self.main or 'rpmdb.sqlite'}"

    @property
    def damaged(self) -> str:
        """What is wrong with the database, in a few words; empty when it is whole."""
        if not self.main:
            return "missing or empty"
        return printable("; ".join((*self.errors[:3], *self.structure[:2])))

    @property
    def all_files(self) -> tuple[str, ...]:
        """Absolute paths of its files, also those that come and go."""
        names = {*self.files, ".rpm.lock"}
        if self.main in {"", "rpmdb.sqlite"}:
            names |= {"rpmdb.sqlite", "rpmdb.sqlite-wal", "rpmdb.sqlite-shm"}
        return tuple(f"{self.folder}/{name}" for name in sorted(names))


def folder(connection: Connection) -> str:
    """Where a host's rpm database is.

    Raises:
        Transient: the connection was lost. PreconditionFailed: rpm is missing or does not start.
    """
    result = connection.run(Command(("rpm", "--eval", "%_dbpath"), sudo=True))
    require(result, connection.name, "asking rpm where its database is")
    return result.text.strip().rstrip("/")


def read(connection: Connection) -> RpmDatabase:
    """Read the database of a host.

    Raises:
        Transient: the connection was lost. PreconditionFailed: rpm is missing or does not start.
    """
    chunks: list[bytes] = []
    command = Command(("sh", "-c", _SCRIPT, "reinstate-rpm", QUERY), sudo=True, timeout=900.0)
    result = connection.run(command, on_stdout=chunks.append)
    require(result, connection.name, "reading the rpm database (sh, rpm)")
    return parse(b"".join(chunks), connection.name)


def parse(output: bytes, where: str = "") -> RpmDatabase:
    """The database from the script's output.

    Raises:
        PreconditionFailed: the output is not whole.
    """
    parts = sections(output, "the rpm database", where, "look at `rpm -qa` on the host")
    needs = dict(_needs(parts.get("needs", "")))
    packages = sorted(_packages(parts.get("packages", ""), needs), key=lambda p: (p.name, p.installed, p.id))
    structure = [line for line in parts.get("structure", "").split("\n") if not _STALE.match(line)]
    return RpmDatabase(
        folder=parts["folder"].rstrip("/"),
        main=parts["main"],
        files=tuple(name for name in parts["files"].split("\n") if name),
        packages=tuple(p for p in packages if p.name != "gpg-pubkey"),
        keys=tuple(p for p in packages if p.name == "gpg-pubkey"),
        users=_ids(parts["users"]),
        groups=_ids(parts["groups"]),
        errors=tuple(line for line in parts.get("errors", "").split("\n") if line.strip()),
        structure=tuple(structure),
    )


def _packages(text: str, needs: Mapping[str, tuple[str, ...]]) -> Iterator[RpmPackage]:
    package: RpmPackage | None = None
    files: list[RpmFile] = []
    for record in text.split(RECORD):
        values = record.split(FIELD)
        if values[0] == "P" and len(values) == len(_PACKAGE) + 2:
            if package is not None:
                yield _whole(package, files, needs)
            package, files = _package(values[1:]), []
        elif values[0] == "F" and len(values) == len(_FILE) + 1 and package is not None:
            files.append(_file(values[1:]))
    if package is not None:
        yield _whole(package, files, needs)


def _package(values: list[str]) -> RpmPackage:
    name, epoch, version, release, architecture, algorithm, header, installed, signed = values
    return RpmPackage(
        name=name,
        version=evr(epoch, version, release),
        architecture="" if architecture == "(none)" else architecture,
        algorithm=int(algorithm) if algorithm.isdigit() else _MD5,
        header=header if re.fullmatch(r"[0-9a-f]{64}", header) else "",
        installed=int(installed) if installed.isdigit() else 0,
        signed=signed == "1",
    )


def evr(epoch: str, version: str, release: str) -> str:
    """`epoch:version-release`, without an epoch of 0."""
    return f"{epoch}:{version}-{release}" if epoch not in {"", "0", "(none)"} else f"{version}-{release}"


def _whole(package: RpmPackage, files: list[RpmFile], needs: Mapping[str, tuple[str, ...]]) -> RpmPackage:
    return RpmPackage(
        package.name, package.version, package.architecture, package.algorithm, package.header, package.installed,
        package.signed, tuple(files), needs.get(package.id, ()),
    )  # fmt: skip


def _file(values: list[str]) -> RpmFile:
    path, digest, mode, user, group, flags, verify, link, state, capabilities = values
    return RpmFile(
        path.rstrip("/") or "/", digest, int(mode) & 0o177777, user, group, int(flags), int(verify) & 0xFFFFFFFF, link,
        int(state) if state.isdigit() else 0, "" if capabilities == "(none)" else capabilities,
    )  # fmt: skip


def _needs(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What `rpm -Va --nofiles` says is required and not there, by package."""
    who, missing = "", list[str]()
    for line in (*text.split("\n"), "Unsatisfied dependencies for :"):
        match = _NEEDS.match(line)
        if match or line.startswith("Unsatisfied"):
            if who:
                yield who, tuple(missing)
            who, missing = match["who"] if match else "", []
        elif " is needed by " in line and who:
            missing.append(line.strip().partition(" is needed by ")[0])


def _ids(text: str) -> dict[str, int]:
    words = [line.split(":") for line in text.split("\n")]
    return {w[0]: int(w[2]) for w in reversed(words) if len(w) > 2 and w[2].isdigit()}
