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
        facts: by path, of those that are not as the baseline says.
        same: the others.
        around: what else lies in the folders that were guessed.
    """

    database: Database | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    same: Mapping[str, Entry] = field(default_factory=dict)
    around: stat.Around = field(default_factory=lambda: stat.Around(frozenset()))

    def enough(self, path: str, wanted: stat.Digests) -> bool:
        """Whether what is known of a path answers what is wanted."""
        if path in self.same:
            return wanted in {"none", "sha256"} or self.same[path].type is not FileType.FILE
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
    known = {entry.path: entry for entry in baseline if entry.path[:1] == "/"}
    files = [path for path, entry in known.items() if entry.sha256]
    wanted: dict[str, stat.Digests] = dict.fromkeys(largest_first(baseline), "sha256")
    wanted.update(dict.fromkeys(known, "sha256"))
    # Whether configuration was edited is a question of MD5.
    wanted.update((path, "both") for path in files if path.startswith(configuration) or path in agreed)
    others = (entry.path for entry in baseline if entry.path.startswith(OTHERS + "/"))
    wanted.update((path[len(OTHERS) :], "none") for path in others)
    links = ((path[len(root) :], entry.link) for path, entry in known.items() if entry.link)
    aliases = dict(dpkg.aliases(links))
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
    expected = stat.Expected(known if any(entry.path == CAPABILITIES for entry in baseline) else {})
    guess.facts = stat.collect(
        connection, wanted, wanted, around=around, ahead=ahead, expected=expected, progress=progress
    )
    guess.same = expected.same
    return guess
