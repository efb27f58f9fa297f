"""What the state of a host can be brought back from: room to make, account backups, valid certificates. Read-only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from checks import clock, disks, system
from checks.account_files import FILES, mend, sha256
from checks.certificates import read_pem
from checks.disks import Mount
from checks.judging import Judging
from checks.stat import collect
from checks.stat import require as answered
from model.assets import FilesAsset, SystemAsset
from model.canonical import now
from model.command import Command, printable
from model.errors import PreconditionFailed, ReinstateError, Transient
from model.finding import Code, Finding
from model.host_state import RUNTIME, UNIT_FOLDERS, host_state
from model.manifest import Entry, FileType
from model.plan import Plan
from model.supplies import Mend, PointSupply, Removable, SystemSupply

LOOK_SECONDS = 180.0

# Cached packages, those of them that an index of apt still offers (by the name of the file in the pool, where the epoch
# is left out), rotated journals, and who takes the room of each full mount.
_ROOM = r"""
LC_ALL=C PATH=$PATH:/usr/sbin:/sbin; export LC_ALL PATH
part() { printf '\0%s\0' "$1"; }
cache=/var/cache/apt/archives lists=/var/lib/apt/lists
part debs; find "$cache" -maxdepth 1 -type f -name '*.deb' -printf '%f\n' 2>/dev/null
part offered
for list in "$lists"/*_Packages "$lists"/*_Packages.*; do
    [ -f "$list" ] || continue
    case $list in *_Packages) cat -- "$list" ;; *) /usr/lib/apt/apt-helper cat-file "$list" ;; esac 2>/dev/null |
        sed -n 's/^Filename: //p; s/^SHA256: //p'
done
part journals; find /var/log/journal -type f -name '*@*.journal*' -print 2>/dev/null
for mount; do
    part "bytes $mount"; timeout 60 du -x -k -d 3 -- "$mount" 2>/dev/null | sort -rn | head -n 9
    part "inodes $mount"; timeout 60 du -x --inodes -d 3 -- "$mount" 2>/dev/null | sort -rn | head -n 9
done
part end
exit 0
"""
_CACHE = "/var/cache/apt/archives"
_NEEDED = {Code.DISK_FULL: "disks", Code.DISK_READ_ONLY: "disks", Code.CLOCK_SKEWED: "clock"}


def gather(
    plan: Plan, name: str, asset: SystemAsset, connection: Connection, findings: Sequence[Finding],
    stores: Mapping[str, BackupStore], baseline: Sequence[Entry] = (),
) -> SystemSupply:  # fmt: skip
    """Look for what cures the findings of one host's state.

    Raises:
        Transient: the host or a store cannot be reached.
    """
    mine = [finding for finding in findings if finding.asset == name]
    parts = dict.fromkeys(_NEEDED[f.code] for f in mine if f.code in _NEEDED)
    supply: dict[str, object] = {"asset": name}
    if parts:
        looking = asset.model_copy(update={"watch": tuple(parts), "endpoints": (), "certificates": ()})
        data = system.collect(connection, looking)
        supply["daemon"] = clock.daemon(data)
        supply |= _disks(Judging(name, asset, data, None), connection, mine)
    present = _present(mine)
    if present:
        facts = collect(connection, present)
        supply["present"] = tuple(
            f.entry() for f in facts.values() if not f.error and f.type is not FileType.ABSENT
        )
    recorded = host_state(baseline)
    told: dict[str, str] = {}
    mends: list[Mend] = []
    for finding in mine:
        if finding.code is Code.ACCOUNTS_DAMAGED and finding.subject in FILES:
            known = recorded.users if recorded and finding.subject == FILES[0] else {}
            known = recorded.groups if recorded and finding.subject == FILES[1] else known
            made = mend_of(connection, finding.subject, known)
            if isinstance(made, Mend):
                mends.append(made)
            else:
                told[finding.subject] = made
    supply["mends"], supply["told"] = tuple(mends), told
    supply["certificates"] = dict(_certificates(plan, asset.host, mine, stores))
    return SystemSupply.model_validate(supply)


def _present(findings: Sequence[Finding]) -> list[str]:
    paths: list[str] = []
    for finding in findings:
        if finding.code is Code.UNIT_CHANGED and finding.subject.startswith("/"):
            paths.append(finding.subject)
        elif finding.code is Code.UNIT_MASKED:
            paths += [f"{folder}/{finding.subject}" for folder in (*UNIT_FOLDERS, RUNTIME)]
    return list(dict.fromkeys(paths))


def _disks(j: Judging, connection: Connection, findings: Sequence[Finding]) -> dict[str, object]:
    mounted = {mount.place: mount for mount in disks.mounts(j.data)}
    errors = {
        f.subject: said[-1]
        for f in findings
        if f.code is Code.DISK_READ_ONLY
        and f.subject in mounted
        and (said := disks.kernel_errors(j.data, mounted[f.subject]))
    }
    full = [f.subject for f in findings if f.code is Code.DISK_FULL]
    if not full:
        return {"errors": errors}
    room = disks.watched(j)
    short = {place: disks.short_of(j, room[place][1]) for place in full if place in room}
    inodes = {
        place: int(s.inodes * j.asset.free_percent / 100) - s.free_inodes
        for place in full if place in room for s in (room[place][1],)
    }  # fmt: skip
    chunks: list[bytes] = []
    command = Command(("sh", "-c", _ROOM, "reinstate-room", *full), sudo=True, timeout=LOOK_SECONDS)
    result = connection.run(command, on_stdout=chunks.append)
    answered(result, connection.name, "looking for room on full disks")
    parts = system.parse(b"".join(chunks), connection.name)
    removable = tuple(_removable(connection, parts, mounted))
    consumers = {
        place: tuple(_consumers(parts, place, "bytes" if short.get(place) else "inodes")) for place in full
    }
    # Where inodes are short, files that can be removed are never many enough: people decide.
    return {
        "errors": errors, "removable": removable, "consumers": consumers,
        "short": {place: count for place, count in short.items() if count and inodes.get(place, 0) <= 0},
    }  # fmt: skip


def _removable(
    connection: Connection, parts: Mapping[str, str], mounted: Mapping[str, Mount]
) -> Iterator[Removable]:
    words = parts.get("offered", "").split("\n")
    offered = set(words)
    pool = {word.rpartition("/")[2] for word in words if word.endswith(".deb")}
    debs = [
        f"{_CACHE}/{name}" for name in parts.get("debs", "").split("\n") if name and _pooled(name) in pool
    ]
    journals = [path for path in parts.get("journals", "").split("\n") if path]
    facts = collect(connection, [*debs, *journals])
    for path in sorted(facts, key=lambda path: (path not in debs, facts[path].mtime_ns, path)):
        fact = facts[path]
        if fact.type is not FileType.FILE or fact.error or (path in debs and fact.sha256 not in offered):
            continue
        yield Removable(entry=fact.entry(), mount=_mount_of(path, mounted), regenerable=path in debs)


def _pooled(name: str) -> str:
    """The name of a cached package in the pool: `a_1%3a2.0_all.deb` → `a_2.0_all.deb`."""
    package, _, rest = name.partition("_")
    epoch, found, version = rest.partition("%3a")
    return f"{package}_{version if found and epoch.isdigit() else rest}"


def _mount_of(path: str, mounted: Mapping[str, Mount]) -> str:
    above = [place for place in mounted if place == "/" or path == place or path.startswith(f"{place}/")]
    return max(above, key=len, default="/")


def _consumers(parts: Mapping[str, str], place: str, what: str) -> Iterator[str]:
    for line in parts.get(f"{what} {place}", "").split("\n"):
        count, tab, path = line.partition("\t")
        if tab and count.isdigit() and path.rstrip("/") != place.rstrip("/"):
            said = f"{int(count) / 1024:.1f} MiB" if what == "bytes" else f"{count} inodes"
            yield f"{printable(path)} ({said})"


def mend_of(connection: Connection, path: str, known: Mapping[str, int]) -> Mend | str:
    """What an account file becomes with lines of its backup, or why it cannot be mended.

    Raises:
        Transient: the connection was lost.
    """
    source = f"{path}-"
    try:
        spare = _text(connection.read_file(source))
    except PreconditionFailed:
        return f"{source} is not there"
    try:
        text = _text(connection.read_file(path))
    except PreconditionFailed:
        text = ""
    made = mend(path, text, spare, known)
    if made.left:
        return f"with the lines of {source} it would still be wrong: {made.left[0].what}"
    return Mend(
        path=path, source=source, before=sha256(text), source_sha256=sha256(spare), after=sha256(made.text),
        returned=made.returned, dropped=made.dropped, known=dict(known),
    )  # fmt: skip


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _certificates(
    plan: Plan, host: str, findings: Sequence[Finding], stores: Mapping[str, BackupStore]
) -> Iterator[tuple[str, str]]:
    """`ASSET@POINT:PATH` → end of validity, for recovery points whose copy of a certificate is valid now."""
    paths = [f.subject for f in findings if f.code is Code.CERTIFICATE_EXPIRED and f.subject.startswith("/")]
    for name, asset in plan.assets.items():
        if not isinstance(asset, FilesAsset) or asset.host != host:
            continue
        inside = [
            path for path in paths if path == asset.path or path.startswith(f"{asset.path.rstrip('/')}/")
        ]
        store = stores[asset.backup]
        for point in store.points(name)[:3] if inside else ():
            try:
                held = PointSupply(asset=name, point=point, manifest=store.manifest(point))
                for path in inside:
                    if ends := _valid_until(store, held, asset, path):
                        yield f"{name}@{point.id}:{path}", ends
            except Transient:
                raise
            except ReinstateError:
                continue  # a damaged recovery point is told by those that look for points


def _valid_until(store: BackupStore, held: PointSupply, asset: FilesAsset, path: str) -> str:
    relative = path[len(asset.path.rstrip("/")) + 1 :] or "."
    entry = next((e for e in held.manifest.entries if e.path == relative), None)
    if entry is None or entry.type is not FileType.FILE or entry.offset < 0:
        return ""
    content = b"".join(store.read(held.point.key, entry.offset, entry.size))
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        return ""
    found, broken = read_pem(content.decode("utf-8", "replace"))
    if broken or not found:
        return ""
    moment = now()
    first = min(certificate.ends for certificate in found)
    begun = max(certificate.begins for certificate in found)
    return f"{first:%Y-%m-%d}" if begun <= moment < first else ""
