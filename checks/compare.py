"""How a path differs from what it should be: shared by the checks of packages and of file sets. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from checks.fact import Fact
from model.command import printable
from model.finding import Code, Degree
from model.manifest import ACL, Attribute, Entry, FileType

Difference = tuple[Code, str, str]
"""Code, what is expected, what was found."""


def mode_text(mode: int) -> str:
    """`mode 0755`."""
    return f"mode {mode:04o}"


def owner_text(uid: int, gid: int) -> str:
    """`owner 0:0`."""
    return f"owner {uid}:{gid}"


def moment(mtime_ns: int) -> str:
    """A modification time for people, UTC, whole seconds."""
    return datetime.fromtimestamp(mtime_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def nature(kind: FileType, link: str = "") -> str:
    """The type of a path for people: `file`, `link to /etc/hostname`."""
    return f"link to {link}" if kind is FileType.LINK else str(kind.value)


def capabilities_text(hexes: str) -> str:
    """`capabilities 0100…`, or that there are none."""
    return f"capabilities {hexes}" if hexes else "no capabilities"


def attributes_text(attributes: Sequence[Attribute]) -> str:
    """Attributes for people: their names, and short values; `no extended attributes`."""
    said = [
        "access control list" if one.name in ACL else f"{printable(one.name)} {one.value[:16] or 'empty'}"
        for one in attributes
    ]
    return (
        ", ".join(said[:3] + ([f"{len(said) - 3} more"] if len(said) > 3 else [])) or "no extended attributes"
    )


def differences(
    expected: Entry, fact: Fact, *, content: bool = True, link: bool = True, capabilities: bool = False
) -> list[Difference]:
    """How a present path differs from an entry; what is absent or of another type differs in nothing else.

    Args:
        expected: what it should be.
        fact: what it is.
        content: compare hashes where the entry has one.
        link: compare link targets.
        capabilities: compare file capabilities, where the host could be asked.

    Extended attributes count where both entry and fact know them, and capabilities with them.
    """
    if fact.type is FileType.ABSENT:
        return [(Code.FILE_MISSING, nature(expected.type, expected.link), "absent")]
    if fact.error and fact.type is FileType.OTHER:
        return [(Code.FILE_UNREADABLE, nature(expected.type, expected.link), fact.error)]
    if fact.type is not expected.type:
        return [(Code.FILE_TYPE_DIFFERS, nature(expected.type, expected.link), nature(fact.type, fact.link))]
    if fact.type is FileType.LINK:
        differs = link and fact.link != expected.link
        return (
            [(Code.FILE_LINK_DIFFERS, f"link to {expected.link}", f"link to {fact.link}")] if differs else []
        )
    found: list[Difference] = []
    if fact.mode != expected.mode:
        found.append((Code.FILE_MODE_DIFFERS, mode_text(expected.mode), mode_text(fact.mode)))
    if (fact.uid, fact.gid) != (expected.uid, expected.gid):
        found.append(
            (Code.FILE_OWNER_DIFFERS, owner_text(expected.uid, expected.gid), owner_text(fact.uid, fact.gid))
        )
    known = expected.attributes is not None and fact.attributes is not None
    if (
        (capabilities or known)
        and fact.capabilities is not None
        and fact.capabilities != expected.capabilities
    ):
        texts = capabilities_text(expected.capabilities), capabilities_text(fact.capabilities)
        found.append((Code.FILE_CAPABILITIES_DIFFER, *texts))
    if expected.attributes is not None and fact.attributes is not None:
        found += _attributes(expected.attributes, fact.attributes, mode_wrong=fact.mode != expected.mode)
    if content and expected.sha256:
        found += _content(expected, fact)
    return found


def _attributes(
    expected: Sequence[Attribute], found: Sequence[tuple[str, str]], *, mode_wrong: bool
) -> list[Difference]:
    there = [Attribute(name=name, value=value) for name, value in found]
    if list(expected) == there:
        return []
    acl = "system.posix_acl_access"
    names = {one.name for one in (*expected, *there)}
    if mode_wrong and names == {acl} and len(expected) == len(there):
        return []  # the bits of the group are the list's mask: one damage, not two
    wrong = [one for one in expected if one not in there], [one for one in there if one not in expected]
    return [(Code.FILE_ATTRIBUTES_DIFFER, attributes_text(wrong[0]), attributes_text(wrong[1]))]


def _content(expected: Entry, fact: Fact) -> list[Difference]:
    if fact.error:  # a mode without read permission is the finding then, not a second one
        return [(Code.FILE_UNREADABLE, "readable", fact.error)] if fact.mode & 0o400 else []
    name, wanted, found = "sha256", expected.sha256, fact.sha256
    if not found and fact.xxh128 and expected.xxh128:
        name, wanted, found = "xxh128", expected.xxh128, fact.xxh128
    if found == wanted:
        return []
    texts = f"{name} {wanted[:16]}… ({expected.size} bytes)", f"{name} {found[:16]}… ({fact.size} bytes)"
    return [(Code.FILE_CONTENT_DIFFERS, *texts)]


READING = (
    "/usr/share/doc/",
    "/usr/share/man/",
    "/usr/share/info/",
    "/usr/share/locale/",
    "/usr/share/doc-base/",
)


def degree(code: Code, path: str) -> Degree:
    """Damage degree of one path: documentation and a merely different owner or mode are slight."""
    if path.startswith(READING):
        return Degree.SLIGHT
    if code in {Code.FILE_MODE_DIFFERS, Code.FILE_OWNER_DIFFERS, Code.CONFFILE_MISSING}:
        return Degree.SLIGHT
    return Degree.SERIOUS
