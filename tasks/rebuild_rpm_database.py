"""Making an rpm database anew beside the damaged one, and swapping it in once it is proven whole (G5).

`rpmdb --rebuilddb` drops every record it cannot read and ends with 0: so what must be in the database is in the signed
proposal, and records that were lost come back from .rpm files whose hash and signature are proven (`--justdb`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from blocks.backups.base import BackupStore
from blocks.hosts.base import Connection
from blocks.packages import PackageStore
from checks import rpm_signature
from checks.rpm_database import evr, nevra
from checks.rpm_supplies import KEY_FOLDER
from checks.stat import collect, list_tree
from model.assets import RpmAsset
from model.command import printable
from model.errors import Damaged, PreconditionFailed, ReinstateError
from model.manifest import Entry, FileType
from model.proposal import RebuildRpmDatabase, RpmHeader
from tasks.fetch import fetch
from tasks.fetch_rpm import ENVIRONMENT, Supplier
from tasks.landing import proven_manifest
from tasks.performed import Performed
from tasks.pieces import Piece
from tasks.placing import Step, flushes, meta, place, put
from tasks.staging import Progress, Staging, ask, sha256_of, staging

_ANEW = r"""
LC_ALL=C; export LC_ALL; umask 022
from=$1 to=$2 readable=$3
[ -d "$to" ] && rm -rf -- "$to"
mkdir -p -- "$to" || exit 73
if [ -n "$readable" ]; then
    for f in "$from"/*; do [ -f "$f" ] && { cp -p -- "$f" "$to/" || exit 73; }; done
    said=$(rpmdb --dbpath "$to" --rebuilddb 2>&1) && exit 0
    printf '%s\n' "$said" >&2
    rm -rf -- "$to" && mkdir -p -- "$to" || exit 73
fi
exec rpmdb --dbpath "$to" --initdb
"""
_KEPT = 'umask 022; mkdir -p -- "$2" && mv -- "$1" "$2/$3" && chmod 644 -- "$2/$3"'
_SEEN = r"""
LC_ALL=C; export LC_ALL
rpmdb --dbpath "$1" --verifydb >&2 || exit 1
{ errs=$(rpm --dbpath "$1" -qa --qf '%{NAME}\t%{EPOCHNUM}\t%{VERSION}\t%{RELEASE}\t%{ARCH}\n' 2>&1 >&3); rc=$?; } 3>&1
[ -z "$errs" ] && exit "$rc"
printf '%s\n' "$errs" >&2
exit 1
"""


def perform(
    connection: Connection,
    asset: RpmAsset,
    action: RebuildRpmDatabase,
    package_stores: Mapping[str, PackageStore],
    stores: Mapping[str, BackupStore],
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Make it anew, prove it, swap it in.

    Args:
        connection: the host.
        asset: says which keys count.
        action: what it is made from and what must be in it, as signed.
        package_stores: package stores of the plan, by name.
        stores: backup sources of the plan, by name.
        job_prefix: start of the job's name.
        token: our fencing token.
        progress: told bytes.

    Raises:
        Damaged: a supply is not what was signed for, or the new database is not whole; nothing live was changed.
        PreconditionFailed: a supply is gone, or the host cannot take it; nothing live was changed.
        Transient: interrupted; calling again goes on.
    """
    with staging(connection, job_prefix, token) as stage:
        made = f"{stage.path}/database"
        moved = _kept(stage, action, stores, made, progress) if action.point else _anew(stage, action, made)
        supplier = Supplier(stage, asset, package_stores, job_prefix, token, keyring=made)
        for header in action.lost:
            if header.package == "gpg-pubkey":
                moved += _key(stage, asset, header, made)
        files = []
        for header in action.lost:
            if header.package != "gpg-pubkey":
                path, count = supplier.fetch(header, progress)
                files.append(path)
                moved += count
        if files:
            _register(connection, made, files)
        count = _prove(connection, made, action)
        _swap(connection, action, made, job_prefix, token)
    progress(1, 1)
    back = f", {len(action.lost)} of them from their .rpm files" if action.lost else ""
    return Performed(f"The rpm database was made anew: {count} records{back}.", moved)


def _anew(stage: Staging, action: RebuildRpmDatabase, made: str) -> int:
    words = ("reinstate-rebuild", action.database, made, "yes" if _readable(action) else "")
    result = ask(stage.connection, "sh", "-c", _ANEW, *words, timeout=3600.0)
    if not result.ok:
        raise PreconditionFailed(
            f"a new rpm database cannot be made: {result.tail(3)}.",
            stage.connection.name,
            f"free space in {stage.connection.host.state_dir}, or look at rpmdb on the host; nothing live was touched",
        )
    return 0


def _readable(action: RebuildRpmDatabase) -> bool:
    return len(action.expected) > len(action.lost)


def _kept(
    stage: Staging, action: RebuildRpmDatabase, stores: Mapping[str, BackupStore], made: str, progress: Progress
) -> int:  # fmt: skip
    """The kept copy in staging, every byte of it proven there."""
    assert action.point is not None  # noqa: S101 - the caller asked
    connection, store = stage.connection, stores[action.point.source]
    manifest = proven_manifest(connection, store, action.point, action.asset)
    known = {entry.path: entry for entry in manifest.entries}
    if manifest.root != action.database or any(known.get(e.path) != e or "/" in e.path for e in action.files):
        raise Damaged(
            f"the copy {action.point.id} is not the one that was signed for.",
            f"{store.name}:{manifest.object_key}",
            "propose again",
        )
    names = {f"kept{number}": entry for number, entry in enumerate(action.files)}
    pieces = [Piece(name, e.path, e.offset, e.size, e.sha256) for name, e in names.items()]
    moved = fetch(stage, store, manifest.object_key, manifest.object_bytes, pieces, progress)
    for name, entry in names.items():
        placed = ask(
            connection, "sh", "-c", _KEPT, "reinstate-kept", f"{stage.path}/{name}", made, entry.path
        )
        if not placed.ok:
            raise PreconditionFailed(
                f"the copy cannot be staged: {placed.tail(2)}.",
                connection.name,
                "free space in the state directory",
            )
    return moved


def _key(stage: Staging, asset: RpmAsset, header: RpmHeader, made: str) -> int:
    """A public key back into the database, from the plan or from the host's own folder of keys."""
    connection, wanted = stage.connection, f"gpg-pubkey-{header.version}"
    path = f"{stage.path}/key-{header.sha256[:16]}.asc"
    if header.source == "plan":
        text = next((key for key in asset.keys if rpm_signature.key_name(key) == wanted), "")
        data = text.encode()
    elif header.filename.startswith(f"{KEY_FOLDER}/") and "/../" not in header.filename:
        data = connection.read_file(header.filename, 65536)
    else:
        data = b""
    if hashlib.sha256(data).hexdigest() != header.sha256:
        raise Damaged(
            f"{printable(header.filename)} is not the key {wanted} that was signed for.",
            connection.name,
            "nothing was touched; find out who changed it, then propose again",
        )
    with TemporaryDirectory() as folder:
        local = Path(folder) / "key.asc"
        local.write_bytes(data)
        stage.push(local, path.rpartition("/")[2], sha256_of(local), lambda _done, _total: None)
    result = ask(connection, "rpmkeys", "--dbpath", made, "--import", path)
    if not result.ok:
        raise Damaged(
            f"rpm does not take the key {wanted}: {result.tail(2)}.", connection.name, "propose again"
        )
    return len(data)


def _register(connection: Connection, made: str, files: list[str]) -> None:
    """Put packages into the database alone; no file and no script of theirs is touched."""
    options = (
        "--dbpath",
        made,
        "--install",
        "--justdb",
        "--nodeps",
        "--noscripts",
        "--notriggers",
        "--force",
    )
    result = ask(
        connection, "env", *(f"{k}={v}" for k, v in ENVIRONMENT.items()), "rpm", *options, "--", *files
    )
    if not result.ok:
        raise ReinstateError(
            f"rpm did not take records back: {result.tail(4)}.",
            connection.name,
            "nothing live was touched; look at rpm on the host",
        )


def _prove(connection: Connection, made: str, action: RebuildRpmDatabase) -> int:
    """See the new database whole, with everything in it that must be; returns how many records it holds."""
    result = ask(connection, "sh", "-c", _SEEN, "reinstate-seen", made, timeout=900.0)
    lines = [line.split("\t") for line in result.text.splitlines()]
    held = {_full(words) for words in lines if len(words) == 5}
    missing = sorted(set(action.expected) - held)
    if not result.ok or missing:
        why = f"{len(missing)} records are missing, first {missing[0]}" if missing else result.tail(3)
        raise Damaged(
            f"the new rpm database is not whole: {why}.",
            connection.name,
            "nothing live was touched; propose again, or give the asset a kept copy (`backup`)",
        )
    return len(held)


def _full(words: list[str]) -> str:
    name, epoch, version, release, architecture = words
    return nevra(name, evr(epoch, version, release), "" if architecture == "(none)" else architecture)


def _swap(connection: Connection, action: RebuildRpmDatabase, made: str, job_prefix: str, token: int) -> None:
    """The new files into place, what is left of the old ones out of the way, in one job."""
    new = [path.rpartition("/")[2] for path in list_tree(connection, made) if path != made]
    new = [name for name in new if name != ".rpm.lock"]
    live = [path for path in list_tree(connection, action.database) if path != action.database]
    # A journal of the damaged file must be gone before the new file is there: it would be played into it.
    gone = [
        p for p in live if p.rpartition("/")[2] not in {*new, ".rpm.lock"} or p.endswith(("-wal", "-shm"))
    ]
    facts = collect(connection, gone, "none")
    steps = [Step("gone", path) for path in gone if facts[path].type is FileType.FILE]
    for name in sorted(new):
        staged = f"{made}/{name}"
        owned = Entry(path=staged, type=FileType.FILE, mode=0o644)
        steps += [meta(owned), put(f"{action.database}/{name}", staged)]
    aside = f"{connection.host.state_dir.rstrip('/')}/set-aside/{job_prefix}"
    paths = [f"{action.database}/{name}" for name in new]
    steps = [Step("folder", action.database), *steps]
    place(connection, f"{job_prefix}-swap", [*steps, *flushes(paths)], token, aside=aside)
