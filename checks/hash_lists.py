"""The host's own lists of files and hashes may be damaged too, together with what they vouch for.

They are compared with each other, with the baseline of the same version, and with the package itself where the plan's
store holds it: whoever changes a program and its line in `md5sums` is found out (R-PREV-2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from checks.dpkg import Package
from checks.fact import Fact
from model.manifest import Entry, FileType

LIST, SUMS = "dpkg:", "dpkg-sums:"
"""How the baseline's entries for a package's list and hashes begin; `NAME=VERSION` follows."""

Delivered = Callable[[str, str, str], Mapping[str, str] | None]
"""Package, version, architecture in; path → MD5 out, from a .deb whose SHA-256 stands in a store's index; None: no such
package there."""


def marks(package: Package) -> tuple[Entry, Entry]:
    """What a baseline keeps of a package's lists."""
    name = f"{package.name}={package.version}"
    return (
        Entry(path=LIST + name, type=FileType.OTHER, sha256=package.fingerprint),
        Entry(path=SUMS + name, type=FileType.OTHER, sha256=package.sums_fingerprint),
    )


def recorded(packages: Mapping[str, Package], baseline: Sequence[Entry]) -> dict[str, tuple[str, str]]:
    """Fingerprints of list and hashes as recorded, of the packages that are at the version of the baseline."""
    known = {entry.path: entry.sha256 for entry in baseline if entry.path.startswith((LIST, SUMS))}
    found = {}
    for package in packages.values():
        name = f"{package.name}={package.version}"
        if LIST + name in known and SUMS + name in known:
            found[package.name] = known[LIST + name], known[SUMS + name]
    return found


def judge(
    package: Package, facts: Mapping[str, Fact], places: Mapping[str, str], mark: tuple[str, str] | None,
    delivered: Delivered | None,
) -> Iterator[tuple[str, str, str]]:  # fmt: skip
    """What is wrong with a package's list or hashes: which of the two, what was expected, what was found.

    Args:
        package: with its list.
        facts: by place.
        places: where the package's paths lie.
        mark: fingerprints from the baseline of this version; None: there are none.
        delivered: what packages themselves say.
    """
    if mark is not None:
        if package.fingerprint != mark[0]:
            yield "list", f"sha256 {mark[0][:16]}… of the baseline", f"sha256 {package.fingerprint[:16]}…"
        if package.sums_fingerprint != mark[1]:
            yield (
                "md5sums",
                f"sha256 {mark[1][:16]}… of the baseline",
                f"sha256 {package.sums_fingerprint[:16]}…",
            )
        return
    name = package.name.partition(":")[0]
    original = delivered(name, package.version, package.architecture) if delivered else None
    if original is not None and original != package.md5sums:
        wrong = sum(original.get(path) != package.md5sums.get(path) for path in {*original, *package.md5sums})
        yield "md5sums", "the hashes of the package itself", f"{wrong} other, missing or additional hashes"
        return
    listed = set(package.paths or ())
    unlisted = [path for path in package.md5sums if path not in listed]
    if unlisted:
        yield "list", "every path that has a hash", f"{len(unlisted)} paths missing, first {unlisted[0]}"
    unhashed = [
        path
        for path in listed
        if path not in package.md5sums
        and path not in package.kept
        and (fact := facts.get(places.get(path, ""))) is not None
        and fact.type is FileType.FILE
    ]
    if package.odd or (unhashed and not unlisted):
        said = f"{package.odd} lines that are none, {len(unhashed)} files without a hash"
        yield "md5sums", "a hash of every file", said
