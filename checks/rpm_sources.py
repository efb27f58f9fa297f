"""Where an .rpm of exactly one version can be had, in order: the host's cache, the plan's store, its repositories.

A file of the cache is trusted by its SHA-256 in the store's signed index or in a repository's, or by the packager's
signature; a file of the store by its signed index. Before anything is installed, its signature is checked as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from blocks.hosts.base import Connection
from blocks.packages import PackageStore
from checks import rpm_signature
from checks.package_sources import Offer, Sources, Wanted, index_of, offer_of, on_the_shelf, whole
from model.assets import RpmAsset
from model.command import Command, printable
from model.errors import Transient
from model.shelf import PackageFile, StoreIndex

PROBE = Path(__file__).with_name("dnf_probe.py")
RUN_PROBE = r"""
for python in /usr/libexec/platform-python python3; do
    command -v "$python" >/dev/null 2>&1 && "$python" -I -c 'import dnf' 2>/dev/null && exec "$python" -I -c "$@"
done
echo "there is no dnf 4 with its Python library" >&2
exit 97
"""
"""Arguments: our program, and what it takes."""

_FIND = r"""
d=$(mktemp -d) || exit 90
trap 'rm -rf -- "$d"' EXIT
program=$1 probe=$2; shift 2
sh -c "$program" reinstate-dnf "$probe" find "$d" "$@"
"""
_CACHED = r"""
LC_ALL=C; export LC_ALL
for folder in /var/cache/dnf /var/cache/libdnf5 /var/cache/yum /var/cache/zypp/packages; do
    [ -d "$folder" ] || continue
    for name; do find "$folder" -type f -name "$name" -exec sha256sum -- {} + -exec stat -c 'size %s' -- {} +; done
done
exit 0
"""


def find(
    connection: Connection, asset: RpmAsset, wanted: Sequence[Wanted], store: PackageStore | None
) -> Sources:
    """Look for files of exactly these packages.

    Args:
        connection: the host.
        asset: says which keys count.
        wanted: name, version and architecture; nothing else is looked for.
        store: the plan's store.

    Raises:
        Transient: the host or the store does not answer.
    """
    result = Sources()
    if not wanted:
        return result
    index = index_of(store, result)
    listed = _repositories(connection, wanted, result)
    cached = _cached(connection, wanted)
    for one in wanted:
        file = _shelved(index, one) if index is not None else None
        measures = [
            m for m in (file.sha256 if file else "", listed[one].sha256 if one in listed else "") if m
        ]
        if (offer := _of_cache(connection, asset, one, cached.get(one), measures, result)) is not None:
            result.offers[one] = offer
        elif file is not None and store is not None and whole(store, file, result):
            result.offers[one] = offer_of(store, file)
        if one not in result.offers and one in listed:
            result.offers[one] = listed[one]
    return result


def _shelved(index: StoreIndex, wanted: Wanted) -> PackageFile | None:
    name, version, architecture = wanted
    return index.find("rpm", name, version, (architecture,))


def missing(
    connection: Connection, asset: RpmAsset, wanted: Sequence[Wanted], store: PackageStore | None
) -> tuple[list[Wanted], list[str]]:
    """Those of these packages that nobody has, as `find` would look, but none of the store is read.

    Returns:
        What cannot be had, and which sources were refused.

    Raises:
        Transient: the host or the store does not answer.
    """
    result = Sources()
    shelved, left = on_the_shelf(store, wanted, _shelved, result)
    listed = _repositories(connection, left, result) if left else {}
    left = [one for one in left if one not in listed]
    cached = _cached(connection, left) if left else {}
    measures = {one: [shelved[one].sha256] if one in shelved else [] for one in left}
    lacking = [
        one
        for one in left
        if _of_cache(connection, asset, one, cached.get(one), measures[one], result) is None
    ]
    return lacking, result.refused


def words(wanted: Wanted) -> tuple[str, str, str, str, str]:
    """Name, epoch, version, release and architecture."""
    name, version, architecture = wanted
    epoch, colon, rest = version.rpartition(":")
    number, _, release = rest.rpartition("-")
    return name, epoch if colon else "0", number, release, architecture


def file_name(wanted: Wanted) -> str:
    """The name a repository gives the file."""
    name, _, version, release, architecture = words(wanted)
    return f"{name}-{version}-{release}.{architecture}.rpm"


def _repositories(connection: Connection, wanted: Sequence[Wanted], result: Sources) -> dict[Wanted, Offer]:
    """What the host's own repositories say of the packages."""
    arguments = [word for one in wanted for word in words(one)]
    probe = PROBE.read_text(encoding="utf-8")
    answer = connection.run(
        Command(("sh", "-c", _FIND, "reinstate-dnf", RUN_PROBE, probe, *arguments), sudo=True, timeout=600.0)
    )
    if answer.status is None:
        raise Transient(
            "the connection was lost while repositories were asked.", connection.name, "run it again"
        )
    if not answer.ok:
        result.refused.append(f"the host's repositories cannot be asked: {answer.tail(1)}.")
    by_words: dict[tuple[str, ...], Wanted] = {words(one): one for one in wanted}
    found = {}
    for line in answer.text.splitlines():
        fields = line.split("\t")
        one = by_words.get(tuple(fields[:5]))
        if one is not None and len(fields) == 8 and fields[5].isdigit():
            found[one] = Offer("mirror", fields[7], fields[6], int(fields[5]), one[1], one[2])
    return found


def _cached(connection: Connection, wanted: Sequence[Wanted]) -> dict[Wanted, tuple[str, str, int]]:
    """Files of the host's cache with a wanted name: path, SHA-256, size."""
    names = {file_name(one): one for one in wanted}
    command = Command(("sh", "-c", _CACHED, "reinstate-cache", *names), sudo=True, timeout=600.0)
    answer = connection.run(command)
    found: dict[Wanted, tuple[str, str, int]] = {}
    digest, path = "", ""
    for line in answer.text.splitlines():
        if line.startswith("size ") and path:
            one = names.get(path.rpartition("/")[2])
            if one is not None:
                found[one] = (path, digest, int(line.removeprefix("size ")))
            digest, path = "", ""
        else:
            digest, _, path = line.partition("  ")
    return found


def _of_cache(
    connection: Connection, asset: RpmAsset, wanted: Wanted, cached: tuple[str, str, int] | None,
    measures: Sequence[str], result: Sources,
) -> Offer | None:  # fmt: skip
    if cached is None:
        return None
    path, sha256, count = cached
    why = "" if sha256 in measures else rpm_signature.problem(connection, path, asset.keys)
    if measures and sha256 not in measures and not why:
        why = "it is signed, but not the file that the index names"
    if why:
        result.refused.append(f"{printable(path)}: {why}.")
        return None
    return Offer("host-cache", path, sha256, count, wanted[1], wanted[2])


def known_keys(asset: RpmAsset, files: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Public keys by rpm's name for them: where each is (`plan`, or a path on the host) and its text; plan first."""
    found: dict[str, tuple[str, str]] = {}
    for where, text in (*(("plan", key) for key in asset.keys), *files.items()):
        name = rpm_signature.key_name(text)
        if name:
            found.setdefault(name, (where, text))
    return found
