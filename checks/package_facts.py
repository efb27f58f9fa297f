"""Facts about the packages of an asset: which paths are theirs, what those are now, and what else lies among them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import NamedTuple

from blocks.hosts.base import Connection
from checks import alternatives, hash_lists, package_guess, stat, status_copies
from checks.dpkg import Database, Package
from checks.fact import Fact, Facts
from checks.many import making_many
from checks.package_guess import largest_first
from checks.package_rules import Owned
from checks.strangers import folders, strangers
from model.accepted import Accepted
from model.assets import DpkgAsset
from model.manifest import Entry, FileType

COMPLETE = frozenset({"installed", "half-configured", "triggers-awaited", "triggers-pending"})
"""States in which every file of a package is in its place."""


@dataclass(frozen=True, slots=True)
class PackagesData:
    """Facts about the packages of an asset.

    Attributes:
        database: the whole dpkg database.
        owned: the paths looked at.
        facts: by place; those in `facts.same` are as the baseline says.
        strangers: what belongs to no package, by path; None: not looked for.
        skipped: paths left out because of path excludes and `ignore`.
        root: the dpkg root.
        rootless: files belong to a user, so root is not expected as their owner.
    """

    database: Database
    owned: tuple[Owned, ...]
    facts: Facts
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
    root = asset.root.rstrip("/")
    agreed = {one.entry.path for one in accepted}
    guess = package_guess.Guess()
    prepared: list[_Asked] = []

    def prepare(database: Database, remembered: bool = True) -> None:
        prepared.append(_ask(database, asset, baseline, agreed, digests, remembered))

    if baseline and digests == "md5" and not asset.packages and not asset.rootless:
        guess = package_guess.look(connection, asset, baseline, agreed, prepare, progress)
    if guess.database is None:
        read = status_copies.read(connection, asset)
        # What belongs to a package nobody remembers would look as if it belonged to nobody.
        whole_again = not read.database.torn or read.mended is not None
        prepare(read.database, whole_again and not read.database.lost)
    asked = prepared[-1]
    facts, found = _look(connection, asked.wanted, asked.around, guess, progress)
    others = None
    if asked.around is not None:
        known = asked.skipped | {entry.path for entry in baseline} if found else set[str]()
        ignored = _ignored(asset)
        nobodys = strangers(found, asked.database, known, root) if found else ()
        others = stat.collect(connection, [path for path in nobodys if not ignored(path, path)])
    return PackagesData(
        asked.database, tuple(asked.owned), facts, others, len(asked.skipped), asset.root, asset.rootless
    )


class _Asked(NamedTuple):
    """What a database asks to be looked at."""

    database: Database
    owned: list[Owned]
    skipped: set[str]
    wanted: dict[str, stat.Digests]
    around: stat.Around | None


def _ask(
    database: Database, asset: DpkgAsset, baseline: Sequence[Entry], agreed: set[str], digests: stat.Digests,
    remembered: bool,
) -> _Asked:  # fmt: skip
    root = asset.root.rstrip("/")
    owned, skipped = _owned(database, asset)
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
    return _Asked(database, owned, skipped, wanted, around)


def _look(
    connection: Connection, wanted: Mapping[str, stat.Digests], around: stat.Around | None, guess: package_guess.Guess,
    progress: stat.Tell | None,
) -> tuple[Facts, list[str]]:  # fmt: skip
    """Every fact that is wanted, and what else lies around; what was guessed is not asked again."""
    same = guess.same
    left = {
        path: kind
        for path, kind in wanted.items()
        if not (path in same and kind == "sha256") and not guess.enough(path, kind)  # nearly every path
    }
    folders_ = around.folders if around else frozenset()
    rest = stat.Around(folders_ - guess.around.folders, around.aliases if around else {})
    # What else lies in a folder is told only beside all that belongs there.
    beside = dict.fromkeys(wanted, "none") if rest.folders and guess.facts else {}
    asked: dict[str, stat.Digests] = {**beside, **left}  # type: ignore[dict-item]  # the literal is widened
    more = stat.collect(connection, asked, asked, around=rest, progress=None if guess.facts else progress)
    looked = {
        path: more[path] if path in left else guess.facts[path]
        for path in wanted
        if path in left or path not in same
    }
    facts = Facts(looked, {path: same[path] for path in wanted if path not in looked})
    # What was guessed and nothing asks for any more is found there like anything else.
    guessed = Facts(guess.facts, same)
    there = (
        path for path in {*guess.facts, *same}.difference(wanted) if guessed[path].type is not FileType.ABSENT
    )
    before = (
        path
        for path in (*guess.around.found, *there)
        if path not in wanted and path.rpartition("/")[0] in folders_
    )
    return facts, sorted({*before, *rest.found})


def _wanted(
    database: Database, owned: Sequence[Owned], baseline: Sequence[Entry], agreed: set[str], digests: stat.Digests
) -> dict[str, stat.Digests]:  # fmt: skip
    """Which hashes each path needs."""
    marked = hash_lists.recorded(database.packages, baseline)
    kept = {entry.path for entry in baseline if entry.sha256}
    places = {place for _, _, place in owned} if baseline else set()
    wanted: dict[str, stat.Digests] = {path: "sha256" for path in largest_first(baseline) if path in places}
    for package, path, place in owned:
        if digests != "md5" or place in agreed:
            wanted[place] = "both"
        elif (
            path in package.conffiles
            or package.name not in marked
            or (place not in kept and path in package.md5sums)
        ):
            wanted[place] = "md5"
        elif place not in wanted:
            wanted[place] = "sha256"
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
    listed = set(chain.from_iterable(package.paths or () for package in database.packages.values()))
    owned, skipped = list[Owned](), set[str]()
    # Nearly every host: no path lies elsewhere, and none is left out.
    plain = not root and not asset.ignore and not database.filters and not database.diversions
    for package in database.packages.values():
        if not whole(package) or not named(package, asset):
            continue
        # A path with a hash that stands in nobody's list was lost from a damaged list.
        paths = package.paths or ()
        if not listed.issuperset(package.md5sums):
            paths = tuple(dict.fromkeys((*paths, *(path for path in package.md5sums if path not in listed))))
        if plain:
            owned += map(Owned._make, zip(repeat(package), paths, paths))
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
