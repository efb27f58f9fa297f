"""Pending updates: what a host's own sources offer beyond what is installed, and what mends vulnerabilities (R-PREV-3).

Nothing of the host changes: the package lists are read as they are, or fetched into our own folder. How old they are is
part of the answer, and so is where no source says which vulnerabilities an update mends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from packaging.version import Version

from blocks.hosts.base import Connection
from checks import advisories, pip_facts
from checks.stat import require
from model.assets import Asset, DpkgAsset, PipAsset, RpmAsset
from model.command import Command, Result, printable
from model.errors import PreconditionFailed, ReinstateError, Transient
from model.updates import Update, UpdatesReport

SECONDS = 600.0
CHANGELOGS = 40
"""Changelogs read per host at most: each is a file of its own."""

_C = {"LC_ALL": "C", "LANG": "C"}
_INST = re.compile(
    r"^Inst (?P<name>\S+)(?: \[(?P<old>[^\]]+)\])? \((?P<new>\S+)(?P<from>[^)]*?)(?: \[[^\]]*\])?\)"
)
_CVE = re.compile(r"CVE-[0-9]{4}-[0-9]{4,7}")
_ENTRY = re.compile(r"^[a-z0-9][a-z0-9.+-]* \((?P<version>[^)]+)\) ")
_DNF = re.compile(
    r"^(?P<id>[A-Za-z]+-[A-Za-z0-9:_-]+)\s+(?P<kind>\S+)\s+(?P<package>\S+?)-(?P<evr>(?:[0-9]+:)?[^-\s]+-[^-\s]+)"
    r"\.(?P<arch>[a-z0-9_]+)\s*$"
)

# What apt would do, told without locks and without writing its caches; with a folder: from lists fetched into it.
_APT = r"""
set -u
own=$1
set -- -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Debug::NoLocking=1
if [ -n "$own" ]; then
    umask 077; mkdir -p -- "$own/lists/partial" || exit 3
    set -- "$@" -o "Dir::State::lists=$own/lists" -o "Dir::Cache=$own/cache" -o APT::Sandbox::User=root
    mkdir -p -- "$own/cache/archives/partial" || exit 3
    apt-get -q -q "$@" -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 update >&2 || exit 100
    lists=$own/lists
else
    lists=/var/lib/apt/lists
fi
find "$lists" -maxdepth 1 -type f -name '*_*' -printf 'lists %T@\n' 2>/dev/null | sort -k2 -n | tail -n 1
apt-mark "$@" showhold 2>/dev/null | sed 's/^/hold /'
exec apt-get -s -q -q --ignore-hold --allow-change-held-packages "$@" dist-upgrade
"""

# The changelog in the package that is going to be installed, where the host has it already.
_CHANGELOG = r"""
for deb in /var/cache/apt/archives/"$1"_*.deb; do
    [ -f "$deb" ] || continue
    [ "$(dpkg-deb --field "$deb" Version 2>/dev/null)" = "$2" ] || continue
    for name in changelog.Debian.gz changelog.gz; do
        dpkg-deb --fsys-tarfile "$deb" | tar --extract --to-stdout --file=- "./usr/share/doc/$1/$name" 2>/dev/null |
            gzip --decompress --stdout 2>/dev/null | head -c 200000 && exit 0
    done
done
exit 0
"""
_FETCH = r"""
exec apt-get -q -q -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o "Dir::State::lists=$1/lists" \
    -o Acquire::http::Timeout=15 changelog -- "$2=$3" </dev/null
"""


def look(
    name: str, asset: Asset, connection: Connection, *, refresh: bool = False, known: Path | None = None
) -> UpdatesReport | None:
    """What one asset could be updated to; None for assets that have no versions.

    Args:
        name: the asset's name.
        asset: the asset.
        connection: an open connection to its host.
        refresh: fetch the package lists, into our own folder.
        known: advisories about Python distributions.

    Raises:
        Transient: the connection was lost.
    """
    try:
        if isinstance(asset, DpkgAsset):
            return _apt(name, asset, connection, refresh) if asset.root == "/" else None
        if isinstance(asset, PipAsset):
            return _pip(name, asset, connection, known)
        if isinstance(asset, RpmAsset):
            return _dnf(name, asset.host, connection, refresh)
    except Transient:
        raise
    except ReinstateError as error:
        return UpdatesReport(
            host=asset.host, asset=name, looked=False, sentence=f"It could not be told: {error}"
        )
    return None


def _apt(name: str, asset: DpkgAsset, connection: Connection, refresh: bool) -> UpdatesReport:
    own = f"{connection.host.state_dir.rstrip('/')}/apt" if refresh else ""
    command = Command(("sh", "-c", _APT, "reinstate-updates", own), sudo=True, env=_C, timeout=SECONDS)
    result = connection.run(command)
    _told(result, connection, "asking apt what it would update")
    found, lists_at = parse_apt(result.text)
    wanted = set(asset.packages)
    found = [update for update in found if not wanted or update.package in wanted]
    notes: list[str] = []
    told: list[Update] = []
    unknown = 0
    for number, update in enumerate(found):
        if update.security and number < CHANGELOGS:
            cves = _mended(connection, update, own)
            unknown += not cves
            update = update.model_copy(update={"cves": cves})
        told.append(update)
    if unknown:
        notes.append(
            f"which vulnerabilities {unknown} of the security updates mend: apt's lists do not say, and their "
            "changelogs are not on the host"
        )
    if lists_at is None:
        notes.append("the host has no package lists: `apt-get update` was never run, or use `refresh`")
    return UpdatesReport(
        host=asset.host, asset=name, looked=lists_at is not None, updates=tuple(told), lists_at=lists_at,
        refreshed=refresh, notes=tuple(notes), sentence=_sentence(told, lists_at, refresh),
    )  # fmt: skip


def parse_apt(text: str) -> tuple[list[Update], datetime | None]:
    """What `apt-get -s dist-upgrade` would install, and how old its lists are."""
    lists_at: datetime | None = None
    held: set[str] = set()
    found: list[Update] = []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "lists":
            lists_at = datetime.fromtimestamp(int(float(rest)), UTC)
        elif word == "hold":
            held.add(rest.strip())
        elif (match := _INST.match(line)) and match["old"]:
            origins = match["from"].strip()
            found.append(
                Update(
                    package=match["name"].partition(":")[0], installed=match["old"], candidate=match["new"],
                    origin=printable(origins), security=_secure(origins), held=match["name"] in held,
                )
            )  # fmt: skip
    return found, lists_at


def _secure(origins: str) -> bool:
    """Whether a source is a security archive: `Debian-Security:12/stable-security`, `Ubuntu:22.04/jammy-security`."""
    for origin in origins.split(", "):
        label, _, suite = origin.strip().partition(":")
        if label.lower().endswith("-security") or suite.partition("/")[2].lower().endswith("-security"):
            return True
    return False


def _mended(connection: Connection, update: Update, own: str) -> tuple[str, ...]:
    words = ("sh", "-c", _CHANGELOG, "reinstate-changelog", update.package, update.candidate)
    text = connection.run(Command(words, sudo=True, env=_C, timeout=60.0)).text
    if not text and own:
        again = ("sh", "-c", _FETCH, "reinstate-changelog", own, update.package, update.candidate)
        result = connection.run(Command(again, sudo=True, env=_C, timeout=60.0))
        text = result.text if result.ok else ""
    return cves_of(text, update.installed)


def cves_of(changelog: str, installed: str) -> tuple[str, ...]:
    """CVE ids that entries above the installed version name."""
    found: set[str] = set()
    for line in changelog.splitlines():
        entry = _ENTRY.match(line)
        if entry and entry["version"] == installed:
            break
        found.update(_CVE.findall(line))
    return tuple(sorted(found))


def _dnf(name: str, host: str, connection: Connection, refresh: bool) -> UpdatesReport:
    options = ("--quiet", "--refresh") if refresh else ("--quiet", "--cacheonly")
    texts = []
    for what in (("--security",), ("cves",)):
        words = ("dnf", *options, "updateinfo", "list", *what)
        result = connection.run(Command(words, sudo=True, env=_C, timeout=SECONDS))
        _told(result, connection, "asking dnf for security updates")
        texts.append(result.text)
    installed = connection.run(
        Command(("rpm", "-qa", "--qf", "%{NAME}.%{ARCH} %{EVR}\\n"), env=_C, timeout=120.0)
    )
    versions = dict(line.split(" ", 1) for line in installed.text.splitlines() if " " in line)
    found = parse_dnf(texts[0], texts[1], versions)
    notes = [] if refresh else ["what dnf's cache does not hold: it was not refreshed"]
    if any(not update.cves for update in found):
        notes.append("which vulnerabilities some of the updates mend: their advisories name none")
    return UpdatesReport(
        host=host, asset=name, looked=True, updates=tuple(found), refreshed=refresh, notes=tuple(notes),
        sentence=_sentence(found, None, refresh),
    )  # fmt: skip


def parse_dnf(advised: str, cves: str, installed: Mapping[str, str]) -> list[Update]:
    """What `dnf updateinfo list --security` and `list cves` say, by package; the highest candidate stays.

    Args:
        advised: the first answer.
        cves: the second: the same lines with CVE ids in front.
        installed: `name.arch` → version.
    """
    known: dict[tuple[str, str, str], set[str]] = {}
    for line in cves.splitlines():
        if (match := _DNF.match(line.strip())) and match["id"].startswith("CVE-"):
            known.setdefault((match["package"], match["evr"], match["arch"]), set()).add(match["id"])
    found: dict[str, Update] = {}
    for line in advised.splitlines():
        match = _DNF.match(line.strip())
        if match is None:
            continue
        full = f"{match['package']}.{match['arch']}"
        before = found.get(full)
        ids = {match["id"], *(before.advisories if before else ())}
        mended = known.get((match["package"], match["evr"], match["arch"]), set()) | set(
            before.cves if before else ()
        )
        found[full] = Update(
            package=match["package"], installed=installed.get(full, ""), candidate=match["evr"].removeprefix("0:"),
            security=True, origin=match["kind"], advisories=tuple(sorted(ids)), cves=tuple(sorted(mended)),
        )  # fmt: skip
    return list(found.values())


def _pip(name: str, asset: PipAsset, connection: Connection, known: Path | None) -> UpdatesReport:
    if known is None:
        return UpdatesReport(
            host=asset.host, asset=name, looked=False,
            sentence="The plan names no advisories about Python distributions (`scan.advisories`).",
        )  # fmt: skip
    data = pip_facts.collect(connection, asset)
    book = advisories.load(known)
    found = judge_pip([(d.name, d.version) for d in data.distributions], book)
    newest = max(
        (p.stat().st_mtime for p in ([known] if known.is_file() else known.rglob("*")) if p.is_file()),
        default=0.0,
    )
    moment = datetime.fromtimestamp(int(newest), UTC)
    return UpdatesReport(
        host=asset.host, asset=name, looked=True, updates=tuple(found), lists_at=moment,
        sentence=_sentence(found, moment, False),
    )  # fmt: skip


def judge_pip(
    installed: Sequence[tuple[str, str]], book: Mapping[str, Sequence[advisories.Advisory]]
) -> list[Update]:
    """The installed distributions that advisories are about."""
    found = []
    for name, version in sorted((pip_facts.normal(name), version) for name, version in installed):
        mine = [one for one in book.get(name, ()) if one.affects(version)]
        if not mine:
            continue
        fixes = [one.fixed(version) for one in mine]
        candidate = max(fixes, key=Version) if all(fixes) else ""
        found.append(
            Update(
                package=name, installed=version, candidate=candidate, security=True,
                origin="advisories of the plan", advisories=tuple(sorted({one.id for one in mine})),
                cves=tuple(sorted({cve for one in mine for cve in one.cves})),
            )
        )  # fmt: skip
    return found


def _told(result: Result, connection: Connection, what: str) -> None:
    if result.status == 100:
        raise PreconditionFailed(
            f"{what} failed: {result.tail(3)}.", connection.name,
            "see that the host reaches its package sources, or leave `refresh` out",
        )  # fmt: skip
    require(result, connection.name, what)


def _sentence(found: Sequence[Update], lists_at: datetime | None, refreshed: bool) -> str:
    security = sum(update.security for update in found)
    source = (
        "fetched now"
        if refreshed
        else f"from {lists_at:%Y-%m-%d %H:%M} UTC"
        if lists_at
        else "of unknown age"
    )
    pending = f"{len(found)} pending update{'s' if len(found) != 1 else ''}"
    return f"{pending}, {security} of them for security; by lists {source}."
