"""Facts about the packages of an asset: which paths are theirs, what those are now, and what else lies among them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from blocks.hosts.base import Connection
from checks import alternatives, hash_lists, stat, status_copies
from checks.dpkg import Database, Package
from checks.fact import Fact
from checks.many import making_many
from checks.package_rules import Owned
from checks.strangers import folders, strangers
from model.accepted import Accepted
from model.assets import DpkgAsset
from model.manifest import Entry

COMPLETE = frozenset({"installed", "half-configured", "triggers-awaited", "triggers-pending"})
"""States in which every file of a package is in its place."""

LARGE = 1 << 20
"""Bytes from which a file is worth an order of its own."""


@dataclass(frozen=True, slots=True)
class PackagesData:
    """Facts about the packages of an asset.

    Attributes:
        database: the whole dpkg database.
        owned: the paths looked at.
        facts: by place.
        strangers: what belongs to no package, by path; None: not looked for.
        skipped: paths left out because of path excludes and `ignore`.
        root: the dpkg root.
        rootless: files belong to a user, so root is not expected as their owner.
    """

    database: Database
    owned: tuple[Owned, ...]
    facts: Mapping[str, Fact]
    strangers: Mapping[str, Fact] | None = None
    skipped: int = 0
    root: str = "/"
    rootless: bool = False

    @property
    def capable(self) -> bool:
        """Whether the host could be asked for file capabilities."""
        return any(fact.capabilities is not None for fact in self.facts.values())


@making_many
def collect(
    connection: Connection,
    asset: DpkgAsset,
    baseline: Sequence[Entry] = (),
    digests: stat.Digests = "md5",
    *,
    accepted: Sequence[Accepted] = (),
    progress: stat.Tell | None = None,
) -> PackagesData:
    """Look at every path of the asset's packages, and for what is nobody's.

    With a baseline the SHA-256 recorded there is compared for packages that did not change since: it is trusted more
    than MD5 from the damaged host, and on today's processors it takes half the time.

    Raises:
        Transient: the connection was lost. PreconditionFailed: no dpkg database, or the host's tools are damaged.
    """
    read = status_copies.read(connection, asset)
    database = read.database
    # What belongs to a package nobody remembers would look as if it belonged to nobody.
    remembered = not database.lost and (not database.torn or read.mended is not None)
    root = asset.root.rstrip("/")
    owned, skipped = _owned(database, asset)
    agreed = {one.entry.path for one in accepted}
    wanted = _wanted(database, owned, baseline, agreed, digests)
    for path in alternatives.paths(database, root):
        wanted.setdefault(path, "none")
    around = None
    if (
        remembered
        and not asset.packages
        and all(package.paths for package in database.packages.values() if whole(package))
    ):
        aliases = {root + link: root + target for link, target in database.aliases.items()}
        around = stat.Around(folders(owned, database.aliases, root), aliases)
    facts = stat.collect(connection, wanted, wanted, around=around, progress=progress)
    others = None
    if around is not None:
        known = skipped | {entry.path for entry in baseline}
        names = [
            path for path in strangers(around.found, database, known, root) if not _ignored(asset)(path, path)
        ]
        others = stat.collect(connection, names)
    return PackagesData(database, tuple(owned), facts, others, len(skipped), asset.root, asset.rootless)


def _wanted(
    database: Database, owned: Sequence[Owned], baseline: Sequence[Entry], agreed: set[str], digests: stat.Digests
) -> dict[str, stat.Digests]:  # fmt: skip
    """Which hashes each path needs."""
    marked = hash_lists.recorded(database.packages, baseline)
    kept = {entry.path for entry in baseline if entry.sha256}
    # The largest first, as far as they are known: else one process is busy with one of them when the others are done.
    large = sorted((-entry.size, entry.path) for entry in baseline if entry.size > LARGE)
    places = {one.place for one in owned} if large else set()
    wanted: dict[str, stat.Digests] = dict.fromkeys((path for _, path in large if path in places), "none")
    for package, path, place in owned:
        if digests != "md5" or place in agreed:
            wanted[place] = "both"
        elif path in package.conffiles or package.name not in marked:
            wanted[place] = "md5"
        elif place in kept:
            wanted[place] = "sha256" if wanted.get(place, "none") == "none" else wanted[place]
        elif path in package.md5sums or wanted.get(place, "none") == "none":
            wanted[place] = "md5" if path in package.md5sums else "sha256"
    return wanted


def _ignored(asset: DpkgAsset) -> Callable[[str, str], bool]:
    """Whether the plan's `ignore` names a path, as the package or as the host calls it."""
    if not asset.ignore:
        return lambda _path, _place: False
    globs = re.compile("|".join(fnmatch.translate(glob) for glob in asset.ignore))
    return lambda path, place: bool(globs.match(path) or globs.match(place))


def _owned(database: Database, asset: DpkgAsset) -> tuple[list[Owned], set[str]]:
    """The paths to look at, and those left out on purpose."""
    ignored, root = _ignored(asset), asset.root.rstrip("/")
    listed = {path for package in database.packages.values() for path in package.paths or ()}
    owned, skipped = [], set()
    # Nearly every host: no path lies elsewhere, and none is left out.
    plain = not root and not asset.ignore and not database.filters and not database.diversions
    for package in database.packages.values():
        if not whole(package) or not named(package, asset):
            continue
        # A path with a hash that stands in nobody's list was lost from a damaged list.
        lost = [path for path in package.md5sums if path not in listed]
        paths = tuple(dict.fromkeys((*(package.paths or ()), *lost))) if lost else package.paths or ()
        if plain:
            owned += [Owned(package, path, path) for path in paths]
            continue
        for path in paths:
            place = root + database.placed(package.name, path)
            if ignored(path, place) or (database.filters and database.filtered(path)):
                skipped.add(place)
            else:
                owned.append(Owned(package, path, place or "/"))
    return owned, skipped


def whole(package: Package) -> bool:
    """Whether every file of it is in its place."""
    return package.state in COMPLETE


def named(package: Package, asset: DpkgAsset) -> bool:
    """Whether the asset is about this package."""
    return not asset.packages or package.name.partition(":")[0] in asset.packages
