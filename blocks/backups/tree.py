"""Plain trees in a folder of the host, one folder per recovery point, made with rsync and hard links.

Points share the inodes of files that did not change: damage to one is damage to all of them, which is why each file
is hashed when it is fetched, and why a new point compares contents (`--checksum`) and not only size and time.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from blocks.backups import floors, tooling
from blocks.backups.engine import Progress, Snapshot
from blocks.hosts.base import Connection
from model.assets import FilesAsset
from model.backup_sources import TreeSource
from model.command import Command, Result, printable
from model.errors import Damaged, PreconditionFailed, Transient
from model.manifest import Entry, FileType, Manifest, ManifestFormat

_REMEDY = "use another recovery point; keep this one for the investigation"
MARK = ".reinstate-repository"
_OURS = re.compile(r"(?P<asset>.+)\.(?P<point>[0-9]{8}T[0-9]{6}Z)")
_SNAPSHOT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+-]{0,254}")

_IDENTITY = r"""
cd -- "$1" 2>/dev/null || exit 73
if [ -f "$2" ]; then cat -- "$2"; else stat -c 'inode-%i' .; fi
"""
_MARK = r"""
cd -- "$1" || exit 73
umask 077
[ -f "$2" ] || { cat >"$2.new" && ln -- "$2.new" "$2"; rm -f -- "$2.new"; }
"""
_LIST = r"""
cd -- "$1" 2>/dev/null || exit 73
find . -mindepth 1 -maxdepth 1 -type d -printf '%f\0%T@\0'
"""
# Files that are no files (or lead through a link) are not touched; what is missing or odd is printed.
_COPY = r"""
cd -- "$1" || exit 73
umask 077
xargs -0 -r -x -n 400 -s 1900000 sh -c '
    while [ $# -gt 1 ]; do
        if [ -f "$0/$1" ] && [ ! -L "$0/$1" ]; then
            cp --reflink=auto -- "$0/$1" "$2" 2>&3 || printf "%s\0" "$2"
        else printf "%s\0" "$2"; fi
        shift 2
    done' "$2" 3>&2
"""
_SIZES = r"""
cd -- "$1" 2>/dev/null || exit 73
find . -printf '%y %s %P\0'
"""
_ALL = 'cd -- "$1" 2>/dev/null || exit 73; cp -a --reflink=auto -- . "$2"'
_HASHES = 'cd -- "$1" || exit 73; xargs -0 -r sha256sum -z --'


class TreeEngine:
    """A FileEngine over rsync and cp.

    Args:
        name: of the source in the plan.
        source: its settings.
    """

    kind = "tree"
    format: ManifestFormat = "tree"

    def __init__(self, name: str, source: TreeSource) -> None:
        self.name = name
        self._path = source.path.rstrip("/") or "/"

    def tool(self, connection: Connection) -> str:
        """Rsync's version; see `floors`."""
        answer = tooling.run(connection, "rsync", "--version").check(connection.name)
        return floors.demand("rsync", answer.text.partition("\n")[0], connection.name)

    def repository(self, connection: Connection) -> str:
        """What our mark in the folder says; of a folder without one, its inode."""
        return self._ask(connection, _IDENTITY, self._path, MARK).text.strip()

    def snapshots(self, connection: Connection) -> list[Snapshot]:
        """All folders, newest first; ours are dated by their names, others by their times."""
        fields = self._ask(connection, _LIST, self._path).stdout.split(b"\0")
        found = []
        for raw, time in zip(fields[::2], fields[1::2], strict=False):
            name = raw.decode("utf-8", "surrogateescape")
            if not _SNAPSHOT.fullmatch(name) or name.endswith(".partial"):
                continue
            ours = _OURS.fullmatch(name)
            taken = (
                datetime.strptime(ours["point"], "%Y%m%dT%H%M%S%z")
                if ours
                else datetime.fromtimestamp(float(time), UTC)
            )
            found.append(Snapshot(id=name, taken_at=taken))
        return sorted(found, key=lambda one: one.taken_at, reverse=True)

    def back_up(
        self,
        connection: Connection,
        asset: FilesAsset,
        label: str,
        found: Mapping[str, Entry],
        left_out: Sequence[str],  # noqa: ARG002 - rsync is told path by path what belongs to it
        progress: Progress,
    ) -> Snapshot:
        """Copy what was found into a new folder; what did not change is a hard link into the newest one."""
        total = sum(entry.size for entry in found.values())
        name, point = label.rsplit("/", 1)
        self._ask(connection, _MARK, self._path, MARK, stdin=f"{secrets.token_hex(16)}\n".encode())
        made, target = self.snapshots(connection), f"{name}.{point}"
        before = next((one.id for one in made if one.id.startswith(f"{name}.") and one.id != target), "")
        root = asset.path.rstrip("/") or "/"
        # Named with a slash or a dot at its end, a folder would be copied with whatever lies directly in it.
        paths = [f"./{path[len(root.rstrip('/')) + 1 :]}" for path in sorted(found) if path != asset.path]
        answer = tooling.run(
            connection, "rsync", "-lptgo", "--checksum", "--numeric-ids", "--from0", "--files-from=-",
            *((f"--link-dest={self._path}/{before}",) if before else ()), "--", f"{root.rstrip('/')}/",
            f"{self._path}/{target}.partial/", rest=tooling.words(paths), timeout=24 * 3600.0,
        )  # fmt: skip
        if not answer.ok and answer.status not in {
            23,
            24,
        }:  # a file was not read or is gone; the listing tells which
            raise PreconditionFailed(
                f"rsync ended with {answer.status}: {answer.tail(2)}.", self._where(target),
                "free space there, or look at the folder on the host",
            )  # fmt: skip
        tooling.run(connection, "sync", "-f", self._path)
        tooling.run(
            connection, "mv", "-T", "--", f"{self._path}/{target}.partial", f"{self._path}/{target}"
        ).check(self._where(target), "take the backup again")
        progress(total, total)
        return next(one for one in self.snapshots(connection) if one.id == target).model_copy(
            update={"paths": (asset.path,), "bytes": total}
        )

    def verify(
        self, connection: Connection, manifest: Manifest, progress: Progress, *, content: bool = True
    ) -> None:
        """Compare the folder's listing with the manifest; with `content`, hash every file of it."""
        files = {entry.path: entry for entry in manifest.entries if entry.type is FileType.FILE}
        where = self._where(manifest.snapshot)
        seen: dict[str, tuple[str, int]] = {}
        for record in self._listing(connection, manifest).split(b"\0"):
            if record:
                kind, size, name = record.split(b" ", 2)
                seen[name.decode("utf-8", "surrogateescape")] = (kind.decode(), int(size))
        for path, entry in files.items():
            if seen.get(path) != ("f", entry.size):
                raise tooling.lost([path], files, "" if path in seen else "it is not there", where)
        total = sum(entry.size for entry in files.values())
        if content:
            hashes: dict[str, str] = {}
            answer = self._ask(
                connection, _HASHES, self._folder(manifest), stdin=tooling.words([f"./{path}" for path in files]),
                timeout=tooling.seconds(total), limit=1 << 30,
            )  # fmt: skip
            for record in answer.stdout.split(b"\0"):
                if record:
                    hashes[record[68:].decode("utf-8", "surrogateescape")] = record[:64].decode()
            for path, entry in files.items():
                if hashes.get(path) != entry.sha256:
                    raise Damaged(f"{printable(path)} is not what was backed up.", where, _REMEDY)
        progress(total, total)

    def fetch(
        self,
        connection: Connection,
        manifest: Manifest,
        files: Mapping[str, Entry],
        folder: str,
        progress: Progress,
    ) -> int:
        """Copy files into our staging folder; never links, or a change there would change the backup."""
        total, done = sum(entry.size for entry in files.values()), 0
        if not self._listing(connection, manifest, look=True):
            raise Damaged("the recovery point is empty.", self._where(manifest.snapshot), _REMEDY)
        for group in tooling.groups(files):
            pairs = [text for name, entry in group.items() for text in (entry.path, name)]
            size = sum(entry.size for entry in group.values())
            answer = self._ask(
                connection, _COPY, folder, self._folder(manifest), stdin=tooling.words(pairs),
                timeout=tooling.seconds(size),
            )  # fmt: skip
            if missing := [name.decode() for name in answer.stdout.split(b"\0") if name]:
                said = answer.stderr.decode("utf-8", "replace").strip() or "it is not there, or no file"
                raise tooling.lost(missing, group, printable(said)[:400], self._where(manifest.snapshot))
            done += size
            progress(done, total)
        return done

    def described(self, connection: Connection, snapshot: Snapshot) -> Snapshot:  # noqa: ARG002 - see the protocol
        """As it was listed: a folder records nothing of its origin."""
        return snapshot

    def unpack(
        self,
        connection: Connection,
        snapshot: Snapshot,
        path: str,  # noqa: ARG002 - the folder holds the content of the asset's path
        folder: str,
        progress: Progress,
    ) -> str:
        """Copy all of the folder with its metadata; never links."""
        answer = self._ask(
            connection, _ALL, f"{self._path}/{snapshot.id}", folder, timeout=24 * 3600.0, may_miss=True
        )
        if answer.status == 73:
            raise Damaged("the folder is gone.", self._where(snapshot.id), _REMEDY)
        if not answer.ok:
            raise Damaged(
                f"the folder could not be copied whole: {printable(answer.tail(2))}.",
                self._where(snapshot.id),
                _REMEDY,
            )
        progress(snapshot.bytes, snapshot.bytes)
        return folder

    def _listing(self, connection: Connection, manifest: Manifest, *, look: bool = False) -> bytes:
        """What the point's folder holds; with `look`, only the folder itself.

        Raises:
            Damaged: it is gone, or the folder of folders is another.
        """
        script = 'cd -- "$1" 2>/dev/null || exit 73; pwd' if look else _SIZES
        answer = self._ask(connection, script, self._folder(manifest), limit=1 << 30, may_miss=True)
        if answer.status != 73:
            return answer.stdout
        now = self.repository(connection)
        if manifest.repository and now != manifest.repository:
            raise Damaged(
                "another folder stands where the recovery points were: it was replaced or made again.",
                self._where(manifest.snapshot), "find out who did that; use another backup source",
            )  # fmt: skip
        raise Damaged("the recovery point is gone from the folder.", self._where(manifest.snapshot), _REMEDY)

    def _ask(
        self, connection: Connection, script: str, *args: str, stdin: bytes | None = None, timeout: float = 600.0,
        limit: int = 8 << 20, may_miss: bool = False,
    ) -> Result:  # fmt: skip
        result = connection.run(
            Command(
            ("sh", "-c", script, "reinstate-tree", *args), stdin=stdin, sudo=True, env={"LC_ALL": "C"}, timeout=timeout
        ),
            limit=limit,
        )  # fmt: skip
        if result.status is None:
            raise Transient("the connection was lost.", connection.name, "run it again")
        if result.status == 73 and not may_miss:
            raise PreconditionFailed(
                f"there is no folder {self._path} on the host.", self._where(),
                f"mount its share on {connection.name}, or correct `path` of this source",
            )  # fmt: skip
        return result

    def _folder(self, manifest: Manifest) -> str:
        return f"{self._path}/{manifest.snapshot}"

    def _where(self, snapshot: str = "") -> str:
        return f"{self.name}:{self._path}{f'/{snapshot}' if snapshot else ''}"
