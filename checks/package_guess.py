"""What will be asked about packages, guessed from the baseline: the host hashes while its dpkg database is read here.

A guess saves time and decides nothing: what the database then asks for and was not guessed is looked at as well, and
what was guessed in vain is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from blocks.hosts.base import Connection
from checks import dpkg, stat
from checks.dpkg import Database
from checks.fact import Fact
from checks.strangers import folders_of
from model.assets import DpkgAsset
from model.manifest import Entry, FileType

LARGE = 1 << 20
"""Bytes from which a file is worth an order of its own."""

OTHERS = "looked-at:"
"""How entries of a baseline begin that are no file of a package: paths that were looked at as well."""

CAPABILITIES = f"{OTHERS}capabilities"
"""The baseline's entry that says file capabilities were recorded, too."""


@dataclass
class Guess:
    """What was asked, and what came back.

    Attributes:
        database: as far as it is whole; None: it must be read again.
        facts: by path.
        around: what else lies in the folders that were guessed.
    """

    database: Database | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    around: stat.Around = field(default_factory=lambda: stat.Around(frozenset()))

    def enough(self, path: str, wanted: stat.Digests) -> bool:
        """Whether what is known of a path answers what is wanted."""
        fact = self.facts.get(path)
        if fact is None:
            return False
        if wanted == "none" or fact.type is not FileType.FILE or fact.error:
            return True
        return bool(fact.md5 or wanted == "sha256") and bool(fact.sha256 or wanted == "md5")


def largest_first(baseline: Sequence[Entry]) -> Iterator[str]:
    """Large files: whoever hashes one of them last keeps the others waiting."""
    large = sorted((-entry.size, entry.path) for entry in baseline if entry.size > LARGE)
    return (path for _, path in large)


def look(
    connection: Connection, asset: DpkgAsset, baseline: Sequence[Entry], agreed: set[str],
    prepare: Callable[[Database], None], progress: stat.Tell | None,
) -> Guess:  # fmt: skip
    """Ask for the database and for every path of the baseline by one command; `prepare` works while the host hashes.

    Raises:
        Transient: the connection was lost. PreconditionFailed: the host's tools are damaged.
    """
    root = asset.root.rstrip("/")
    configuration = f"{root}/etc/"
    wanted: dict[str, stat.Digests] = dict.fromkeys(largest_first(baseline), "sha256")
    files, links = [], {}
    for entry in baseline:
        path = entry.path
        if entry.sha256 and path[:1] == "/":
            files.append(path)
            both = path in agreed or path.startswith(configuration)  # edited or not is a question of MD5
            wanted[path] = "both" if both else "sha256"
        elif path[:1] == "/":
            wanted[path] = "sha256"
            if entry.type is FileType.LINK:
                links[path] = entry.link
        elif path.startswith(OTHERS + "/"):
            wanted[path[len(OTHERS) :]] = "none"
    aliases = dict(dpkg.aliases((path[len(root) :], to) for path, to in links.items()))
    around = stat.Around(
        folders_of(files, aliases, root), {root + link: root + target for link, target in aliases.items()}
    )
    guess = Guess(around=around)

    def take(output: bytes) -> None:
        database = dpkg.parse(output, connection.name)
        if not database.torn and not database.lost:
            guess.database = database
            prepare(database)

    ahead = stat.Ahead(dpkg.SCRIPT, asset.root, dpkg.END, take)
    known = {entry.path: entry for entry in baseline if entry.path[:1] == "/"}
    capable = any(entry.path == CAPABILITIES for entry in baseline)
    guess.facts = stat.collect(
        connection, wanted, wanted, around=around, ahead=ahead, expected=known if capable else None, progress=progress
    )  # fmt: skip
    return guess
