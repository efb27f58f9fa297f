"""Where a .deb of exactly one version can be had, in order: the host's cache, the plan's store, the host's mirrors.

Each is trusted for what a signature says only: a file of the cache by its SHA-256 in an index apt verified or in the
store's signed index, a file of the store by that index, a mirror by apt's own check of its Release file. A mirror that
is `[trusted=yes]`, which means that nobody checks anything, does not count unless the plan says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from blocks.hosts.base import Connection
from blocks.packages import PackageStore
from checks.fact import require
from model.assets import DpkgAsset
from model.command import Command, printable
from model.errors import PreconditionFailed, ReinstateError, Transient
from model.shelf import PackageFile, StoreIndex

CACHE = "/var/cache/apt/archives"
BATCH = 200
"""Packages apt is asked for at once."""

_URI = re.compile(r"^'(?P<uri>[^']*)' (?P<name>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})\s*$")
_UNCHECKED = re.compile(r"\b(trusted|allow-insecure)\s*[=:]\s*(yes|true|with|on|enable|1)\b", re.IGNORECASE)
_FORMAT = "$(REPO_URI)\t$(TRUSTED)\t$(SOURCESENTRY)"
# Looking must not rewrite the host's cache file.
_IN_MEMORY = ("--option=Dir::Cache::pkgcache=",)
# An index may hold SHA-512 as well, and apt names the strongest.
_OPTIONS = (
    "--option=Acquire::ForceHash=SHA256",
    *_IN_MEMORY,
    "--print-uris",
    "--quiet=2",
)
_HASH = 'LC_ALL=C; export LC_ALL; cd -- "$1" || exit 0; shift; sha256sum -- "$@" 2>/dev/null; exit 0'

_ABSENT = r"""for path; do [ -f "$path" ] || printf '%s\0' "$path"; done"""

Wanted = tuple[str, str, str]
"""Name (without architecture), version, architecture."""


@dataclass(frozen=True)
class Offer:
    """A file that can be had; `local` is where a mirror that is a folder of the host has it."""

    source: str
    filename: str
    sha256: str
    bytes: int
    version: str
    architecture: str
    local: str = ""


@dataclass
class Sources:
    """What was found, by what was wanted, and which sources were refused."""

    offers: dict[Wanted, Offer] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Listed:
    """What apt's index says of a file."""

    uri: str
    filename: str
    bytes: int
    sha256: str
    signed: bool

    @property
    def local(self) -> str:
        """Where a mirror that is a folder of the host has it; empty for others."""
        return unquote(self.uri.removeprefix("file:")) if self.uri.startswith("file:/") else ""


def find(
    connection: Connection, asset: DpkgAsset, wanted: Sequence[Wanted], store: PackageStore | None
) -> Sources:
    """Look for files of exactly these packages.

    Args:
        connection: the host.
        asset: says whether there is apt, and what counts as signed.
        wanted: packages; nothing else is looked for.
        store: the plan's store.

    Raises:
        Transient: the host or the store does not answer.
    """
    result = Sources()
    index = index_of(store, result)
    listed = _mirrors(connection, asset, wanted, result)
    shelved = {one: file for one in wanted if index and (file := _shelved(index, one))}
    cached = _cached(connection, asset, wanted, listed)
    for one in wanted:
        if (offer := _of_cache(asset, one, cached, listed.get(one), shelved.get(one), result)) is not None:
            result.offers[one] = offer
        elif one in shelved and store is not None and whole(store, shelved[one], result):
            result.offers[one] = offer_of(store, shelved[one])
        elif (known := listed.get(one)) is not None and known.signed:
            result.offers[one] = Offer(
                "mirror", known.filename, known.sha256, known.bytes, one[1], one[2], known.local
            )
    return result


def missing(
    connection: Connection, asset: DpkgAsset, wanted: Sequence[Wanted], store: PackageStore | None
) -> tuple[list[Wanted], list[str]]:
    """Those of these packages that nobody has, as `find` would look, but no package is read: what indexes say counts.

    Returns:
        What cannot be had, and which sources were refused.

    Raises:
        Transient: the host or the store does not answer.
    """
    result = Sources()
    shelved, left = on_the_shelf(store, wanted, _shelved, result)
    known = _versions(connection, asset, left)
    listed = _mirrors(connection, asset, [one for one in left if one[:2] in known], result)
    local = {found.local: one for one, found in listed.items() if found.local}
    gone = {local[path] for path in _absent(connection, list(local))}
    left = [one for one in left if one not in listed or not listed[one].signed or one in gone]
    cached = _cached(connection, asset, [one for one in left if one in listed or one in shelved], listed)
    lacking = [
        one for one in left
        if _of_cache(asset, one, cached, listed.get(one), shelved.get(one), result) is None
    ]  # fmt: skip
    return lacking, result.refused


def _versions(connection: Connection, asset: DpkgAsset, wanted: Sequence[Wanted]) -> set[tuple[str, str]]:
    """Name and version of what apt's lists have of these packages, in one look: asking for one they lack costs more."""
    found: set[tuple[str, str]] = set()
    for start in range(0, len(wanted) if asset.root == "/" else 0, BATCH):
        names = [one[0] for one in wanted[start : start + BATCH]]
        words = ("apt-cache", *_IN_MEMORY, "madison", "--", *names)
        answer = connection.run(Command(words, sudo=True, env={"LC_ALL": "C"}, timeout=120.0))
        fields = [line.split("|") for line in answer.text.splitlines()]
        found |= {(line[0].strip(), line[1].strip()) for line in fields if len(line) == 3}
    return found


def _absent(connection: Connection, paths: Sequence[str]) -> list[str]:
    """Those of these files of the host that are not there."""
    found: list[str] = []
    for start in range(0, len(paths), BATCH):
        words = ("sh", "-c", _ABSENT, "reinstate-absent", *paths[start : start + BATCH])
        answer = connection.run(Command(words, sudo=True, timeout=60.0))
        require(answer, connection.name, "looking for package files")
        found += [path for path in answer.stdout.decode("utf-8", "surrogateescape").split("\0") if path]
    return found


def offer_of(store: PackageStore, file: PackageFile) -> Offer:
    """A file of a store as an offer."""
    return Offer(
        f"store:{store.name}", file.filename, file.sha256, file.bytes, file.version, file.architecture
    )


def file_name(wanted: Wanted) -> str:
    """The name apt gives a file in its cache."""
    name, version, architecture = wanted
    return f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"


def index_of(store: PackageStore | None, result: Sources) -> StoreIndex | None:
    """The verified index of a store; why there is none is kept among what was refused."""
    if store is None:
        return None
    try:
        return store.index()
    except Transient:
        raise
    except ReinstateError as error:
        result.refused.append(f"package store {store.name}: {error}")
        return None


def on_the_shelf(
    store: PackageStore | None,
    wanted: Sequence[Wanted],
    find: Callable[[StoreIndex, Wanted], PackageFile | None],
    result: Sources,
) -> tuple[dict[Wanted, PackageFile], list[Wanted]]:
    """What the index of a store names of these packages, and those whose file is not there; none is read.

    Args:
        store: where there is one.
        wanted: packages.
        find: the file that an index names for one.
        result: told when the store is refused.
    """
    index = index_of(store, result)
    if store is None or index is None:
        return {}, list(wanted)
    named = {one: file for one in wanted if (file := find(index, one)) is not None}
    return named, [one for one in wanted if one not in named or not store.objects.exists(named[one].filename)]


def _shelved(index: StoreIndex, wanted: Wanted) -> PackageFile | None:
    name, version, architecture = wanted
    return index.find("deb", name, version, tuple(dict.fromkeys((architecture, "all"))))


def whole(store: PackageStore, file: PackageFile, result: Sources) -> bool:
    """Whether a file of a store is what its index says; why not is kept among what was refused."""
    try:
        store.get(file.filename, file.sha256, lambda _chunk: None)
    except Transient:
        raise
    except ReinstateError as error:
        result.refused.append(str(error))
        return False
    return True


def _of_cache(
    asset: DpkgAsset, wanted: Wanted, cached: Mapping[str, str], listed: _Listed | None, shelved: PackageFile | None,
    result: Sources,
) -> Offer | None:  # fmt: skip
    names = dict.fromkeys((*((listed.filename,) if listed else ()), file_name(wanted)))
    for name in names:
        if name not in cached:
            continue
        measures = [(listed.sha256, listed.bytes)] if listed and listed.signed else []
        measures += [(shelved.sha256, shelved.bytes)] if shelved else []
        for sha256, count in measures:
            if cached[name] == sha256:
                return Offer("host-cache", name, sha256, count, wanted[1], wanted[2])
        path = f"{asset.root.rstrip('/')}{CACHE}/{printable(name)}"
        why = "is not the file its signed index names" if measures else "stands in no signed index"
        result.refused.append(f"{path} {why}.")
    return None


def _cached(
    connection: Connection, asset: DpkgAsset, wanted: Sequence[Wanted], listed: Mapping[Wanted, _Listed]
) -> dict[str, str]:
    """SHA-256 of the files of the host's cache that have a wanted name."""
    names = sorted({file_name(one) for one in wanted} | {known.filename for known in listed.values()})
    found: dict[str, str] = {}
    for start in range(0, len(names), BATCH):
        words = (
            "sh",
            "-c",
            _HASH,
            "reinstate-cache",
            f"{asset.root.rstrip('/')}{CACHE}",
            *names[start : start + BATCH],
        )
        answer = connection.run(Command(words, sudo=not asset.rootless, timeout=300.0))
        for line in answer.text.splitlines():
            digest, _, name = line.partition("  ")
            found[name] = digest
    return found


def _mirrors(
    connection: Connection, asset: DpkgAsset, wanted: Sequence[Wanted], result: Sources
) -> dict[Wanted, _Listed]:
    """What the host's own apt sources say of the packages."""
    if asset.root != "/" or not wanted:
        return {}
    lines: list[str] = []
    for start in range(0, len(wanted), BATCH):
        lines += _print_uris(connection, wanted[start : start + BATCH])
    matches = [match for line in lines if (match := _URI.match(line.strip()))]
    unsigned = _unsigned(connection) if matches else ()
    named = {file_name(one): one for one in wanted} | {
        f"{name}_{version.partition(':')[2] or version}_{architecture}.deb": (name, version, architecture)
        for name, version, architecture in wanted
    }
    found = {}
    for match in matches:
        one = named.get(match["name"])
        if one is None:
            continue
        repository = next((uri for uri in unsigned if match["uri"].startswith(uri)), "")
        signed = not repository or asset.allow_unsigned_mirror
        found[one] = _Listed(match["uri"], match["name"], int(match["size"]), match["sha256"], signed)
        if not signed:
            sentence = (
                f"the mirror {printable(repository)} is unsigned ([trusted=yes]); sign it, or let the plan say "
                "`allow_unsigned_mirror: true`."
            )
            if sentence not in result.refused:
                result.refused.append(sentence)
    return found


def _print_uris(connection: Connection, wanted: Sequence[Wanted]) -> list[str]:
    """Lines of `apt-get download --print-uris`; apt says nothing at all when it does not know one of them."""
    names = [f"{name}{'' if arch == 'all' else f':{arch}'}={version}" for name, version, arch in wanted]
    words = ("apt-get", "download", *_OPTIONS, "--", *names)
    answer = connection.run(Command(words, sudo=True, env={"LC_ALL": "C"}, timeout=120.0))
    if answer.ok or len(wanted) == 1:
        return answer.text.splitlines() if answer.ok else []
    if not connection.run(Command(("apt-get", "--version"), sudo=True, timeout=60.0)).ok:
        return []  # apt itself is damaged: asking for each package alone helps nobody
    half = len(wanted) // 2
    return [*_print_uris(connection, wanted[:half]), *_print_uris(connection, wanted[half:])]


def _unsigned(connection: Connection) -> tuple[str, ...]:
    """Repositories apt uses without checking a signature, longest address first."""
    words = ("apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages")
    answer = connection.run(Command(words, sudo=True, env={"LC_ALL": "C"}, timeout=60.0))
    texts: dict[str, list[str]] = {}
    found = set()
    for line in answer.text.splitlines():
        uri, _, rest = line.partition("\t")
        trusted, _, entry = rest.partition("\t")
        path, _, number = entry.rpartition(":")
        if path not in texts:
            try:
                texts[path] = connection.read_file(path).decode("utf-8", "replace").splitlines()
            except PreconditionFailed:
                texts[path] = ["trusted=yes"]  # what it says is not known
        lines = texts[path]
        if path.endswith(".list") and number.isdigit() and int(number) <= len(lines):
            lines = lines[int(number) - 1 : int(number)]
        if trusted != "yes" or any(_UNCHECKED.search(one.partition("#")[0]) for one in lines):
            found.add(uri)
    return tuple(sorted(found, key=len, reverse=True))
