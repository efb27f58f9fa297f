"""What is wrong with one path of an RPM package, by rpm's record of it. Pure."""

from __future__ import annotations

import stat as modes
from collections.abc import Mapping

from checks import capabilities, rpm_database
from checks.compare import Difference, degree, mode_text, nature, owner_text
from checks.fact import Digests, Fact
from checks.rpm_database import RpmDatabase, RpmFile, RpmPackage
from model.finding import Code, Degree
from model.manifest import FileType

HASHES: Mapping[int, Digests] = {1: "md5", 8: "sha256"}
"""Digests we can compare, by rpm's number."""

TYPES = {modes.S_IFREG: FileType.FILE, modes.S_IFDIR: FileType.DIRECTORY, modes.S_IFLNK: FileType.LINK}


def wrong(
    database: RpmDatabase, package: RpmPackage, file: RpmFile, fact: Fact, behind: Fact | None
) -> list[Difference]:
    """What is wrong with one path by one package's record.

    Args:
        database: knows the accounts of the host.
        package: whose record it is.
        file: the record.
        fact: what is there.
        behind: of a folder that became a link, what it leads to.
    """
    config = bool(file.flags & rpm_database.CONFIG)
    kind = TYPES.get(modes.S_IFMT(file.mode), FileType.OTHER)
    if fact.type is FileType.ABSENT:
        if file.flags & rpm_database.MISSING_OK:
            return []
        return [(Code.CONFFILE_MISSING if config else Code.FILE_MISSING, nature(kind, file.link), "absent")]
    if fact.type is FileType.OTHER and fact.error:
        return [(Code.FILE_UNREADABLE, "readable", fact.error)]
    if kind is FileType.DIRECTORY and fact.type is FileType.LINK and behind is not None:
        fact = behind  # rpm lets people move a folder and leave a link to it
    if fact.type is not kind:
        return [(Code.FILE_TYPE_DIFFERS, nature(kind, file.link), nature(fact.type, fact.link))]
    if kind is FileType.LINK:
        if file.verify & rpm_database.LINK and fact.link != file.link:
            return [(Code.FILE_LINK_DIFFERS, f"link to {file.link}", f"link to {fact.link}")]
        return _owner(database, file, fact)
    found = _dressed(database, file, fact)
    if kind is FileType.FILE and not config:
        found = [*_content(package, file, fact), *found]
    return found


def _content(package: RpmPackage, file: RpmFile, fact: Fact) -> list[Difference]:
    algorithm = HASHES.get(package.algorithm)
    if not file.digest or algorithm is None or not file.verify & rpm_database.DIGEST:
        return []
    if fact.error:
        return [(Code.FILE_UNREADABLE, "readable", fact.error)] if fact.mode & 0o400 else []
    now = fact.sha256 if algorithm == "sha256" else fact.md5
    if not now or now == file.digest:
        return []
    return [
        (
            Code.FILE_CONTENT_DIFFERS,
            f"{algorithm} {file.digest[:16]}…",
            f"{algorithm} {now[:16]}… ({fact.size} bytes)",
        )
    ]


def _dressed(database: RpmDatabase, file: RpmFile, fact: Fact) -> list[Difference]:
    """Mode, owner and capabilities."""
    found: list[Difference] = []
    wanted = modes.S_IMODE(file.mode)
    if file.verify & rpm_database.MODE and fact.mode != wanted:
        found.append((Code.FILE_MODE_DIFFERS, mode_text(wanted), mode_text(fact.mode)))
    found += _owner(database, file, fact)
    if (
        file.verify & rpm_database.CAPABILITIES
        and fact.type is FileType.FILE
        and fact.capabilities is not None
    ):
        expected = capabilities.encode(file.capabilities)
        if expected is not None and expected != fact.capabilities:
            found.append(
                (
                    Code.FILE_CAPABILITIES_DIFFER,
                    f"capabilities {file.capabilities or 'none'}",
                    f"capabilities {capabilities.decode(fact.capabilities)}",
                )
            )
    return found


def _owner(database: RpmDatabase, file: RpmFile, fact: Fact) -> list[Difference]:
    uid, gid = owner_ids(database, file)
    user = not file.verify & rpm_database.USER or fact.uid == uid
    group = not file.verify & rpm_database.GROUP or fact.gid == gid
    if user and group:
        return []
    unknown = [name for name, number in ((file.user, uid), (file.group, gid)) if number is None]
    said = f" (there is no {' and no '.join(unknown)} on this host)" if unknown else ""
    return [
        (Code.FILE_OWNER_DIFFERS, f"owner {file.user}:{file.group}{said}", owner_text(fact.uid, fact.gid))
    ]


def owner_ids(database: RpmDatabase, file: RpmFile) -> tuple[int | None, int | None]:
    """Ids of a path's recorded owner and group on this host; None: there is no such account."""
    uid = 0 if file.user == "root" else database.users.get(file.user)
    gid = 0 if file.group == "root" else database.groups.get(file.group)
    return uid, gid


def grade(code: Code, file: RpmFile) -> Degree:
    """Damage degree of one path; what its packager calls documentation is slight."""
    reading = rpm_database.DOCUMENTATION | rpm_database.LICENSE | rpm_database.README
    return Degree.SLIGHT if file.flags & reading else degree(code, file.path)
