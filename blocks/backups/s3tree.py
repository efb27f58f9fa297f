"""Files as single objects of a versioned bucket, as `aws s3 sync` makes them; a recovery point is a set of versions.

A point of ours has an index, an object that names the version of each file; its id is the index's SHA-256. A tree that
another tool keeps there has no index: its point is a moment (`at-20261125T120000Z`), and what was current then counts.
The host pulls and puts by presigned URLs; listing, versions and indexes are the orchestrator's.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from blocks.backups import tooling, transfer
from blocks.backups.engine import Progress, Snapshot
from blocks.backups.s3client import protection
from blocks.backups.s3objects import Resolver
from blocks.backups.s3put import URL_SECONDS, keys, put
from blocks.backups.s3versions import REMEDY, Index, Kept, VersionedBucket
from blocks.hosts.base import Connection
from model.assets import FilesAsset
from model.backup_sources import S3TreeSource
from model.command import printable
from model.errors import Damaged
from model.manifest import Entry, FileType, Manifest, ManifestFormat

_MOMENT = re.compile(r"at-([0-9]{8}T[0-9]{6}Z)")
_PRESENT = r"""
cd -- "$1" || exit 73
xargs -0 -r sh -c 'for name; do [ ! -f "$name" ] || { wc -c <"$name"; printf "%s\0" "$name"; }; done' present
"""
_LOG = logging.getLogger("reinstate.backups")


class S3TreeEngine:
    """A FileEngine over a versioned bucket.

    Args:
        name: of the source in the plan.
        source: its settings.
        secrets: resolver of the plan's secret references; followed at the first call.
    """

    kind = "s3-tree"
    format: ManifestFormat = "s3-tree"

    def __init__(self, name: str, source: S3TreeSource, secrets: Resolver) -> None:
        self._tree = VersionedBucket(name, source, secrets)
        self._pull = source.pull

    def tool(self, connection: Connection) -> str:  # noqa: ARG002 - any curl will do, and none too
        """The S3 protocol's version: no tool on the host is needed."""
        return "2006-03-01"

    def repository(self, connection: Connection) -> str:  # noqa: ARG002 - the bucket is asked
        """What our object in the bucket says; of a bucket without one, its name."""
        return self._tree.identity()

    def snapshots(self, connection: Connection) -> list[Snapshot]:  # noqa: ARG002 - the bucket is asked
        """Our indexes, and the moment of the last change; newest first."""
        return self._tree.snapshots()

    def protection(self, snapshot: str) -> str:
        """How the bucket protects a point's index; see `s3client.protection`."""
        tree = self._tree
        return protection(tree.client, tree.bucket, tree.index_key(snapshot), tree.where(snapshot))

    def back_up(
        self,
        connection: Connection,
        asset: FilesAsset,
        label: str,
        found: Mapping[str, Entry],
        left_out: Sequence[str],  # noqa: ARG002 - exactly what was found is put
        progress: Progress,
    ) -> Snapshot:
        """Have the host put what changed, and write the index of all versions."""
        name, point = label.rsplit("/", 1)
        self._tree.require_versions()
        self._tree.identify()
        files = keys(self._tree, asset, found)
        before = {one.path: one for one in self._tree.newest_index(asset.path)}
        current = self._tree.current()
        changed = {
            path: entry
            for path, entry in files.items()
            if path not in before
            or (before[path].sha256, before[path].size) != (entry.sha256, entry.size)
            or current.get(path, ("", 0))[0] != before[path].version
        }
        total = sum(entry.size for entry in changed.values())
        put(self._tree, connection, asset.path, changed, self._pull, progress)
        after = self._tree.current()
        for path, entry in files.items():
            if after.get(path, ("", -1))[1] != entry.size:
                raise Damaged(
                    f"{printable(path)} was not stored as it is.",
                    self._tree.where(path),
                    "take the backup again",
                )
        index = Index(
            asset=name, point=point, root=asset.path,
            files=tuple(
                Kept(path=path, version=after[path][0], size=entry.size, sha256=entry.sha256)
                for path, entry in sorted(files.items())
            ),
        )  # fmt: skip
        ident = self._tree.put_index(index)
        progress(total, total)
        return Snapshot(
            id=ident, taken_at=datetime.strptime(point, "%Y%m%dT%H%M%S%z"), paths=(asset.path,),
            bytes=sum(entry.size for entry in files.values()),
        )  # fmt: skip

    def verify(
        self, connection: Connection, manifest: Manifest, progress: Progress, *, content: bool = True  # noqa: ARG002
    ) -> None:  # fmt: skip
        """Compare the point's versions with the manifest; with `content`, read and hash each of them."""
        files = {entry.path: entry for entry in manifest.entries if entry.type is FileType.FILE}
        versions = self._versions(manifest, files)
        total, done = sum(entry.size for entry in files.values()), 0
        for path, entry in files.items() if content else ():
            told = hashlib.sha256()
            for chunk in self._tree.read(path, versions[path]):
                told.update(chunk)
                done += len(chunk)
                progress(min(done, total), total)
            if told.hexdigest() != entry.sha256:
                raise Damaged(f"{printable(path)} is not what was backed up.", self._tree.where(path), REMEDY)
        progress(total, total)

    def fetch(
        self,
        connection: Connection,
        manifest: Manifest,
        files: Mapping[str, Entry],
        folder: str,
        progress: Progress,
    ) -> int:
        """Have the host pull the versions; what it cannot pull goes through the connection."""
        versions = self._versions(manifest, {entry.path: entry for entry in files.values()})
        total, done = sum(entry.size for entry in files.values()), 0
        left = dict(files)
        if self._pull == "auto":
            for group in tooling.groups({name: entry for name, entry in files.items() if entry.size}):
                sections = [self._get(name, entry, versions[entry.path]) for name, entry in group.items()]
                size = sum(entry.size for entry in group.values())
                result = transfer.curl(connection, folder, sections, tooling.seconds(size))
                if not result.ok:
                    why = "it has no curl" if result.status == 127 else result.tail(2)
                    _LOG.info("%s cannot pull everything from the store (%s).", connection.name, why)
                arrived = self._present(connection, folder, list(group))
                left = {n: e for n, e in left.items() if arrived.get(n, -1) != e.size or n not in group}
                done += sum(entry.size for name, entry in group.items() if name not in left)
                progress(done, total)
        members = (
            (name, entry.size, self._whole(entry, versions[entry.path])) for name, entry in left.items()
        )
        if left:
            transfer.unpack(
                connection,
                folder,
                transfer.packed(members),
                tooling.seconds(sum(e.size for e in left.values())),
            )
        progress(total, total)
        return total

    def _versions(self, manifest: Manifest, files: Mapping[str, Entry]) -> dict[str, str]:
        """The version of each wanted file.

        Raises:
            Damaged: the index is gone or altered, or does not hold a file; names it.
        """
        moment = _MOMENT.fullmatch(manifest.snapshot)
        if moment:
            until = datetime.strptime(moment[1], "%Y%m%dT%H%M%S%z")
            known = self._tree.current(until)
        else:
            known = {one.path: (one.version, one.size) for one in self._tree.index(manifest).files}
        for path, entry in files.items():
            if path not in known:
                raise tooling.lost([path], files, "it is not in the bucket", self._tree.where(path))
            if known[path][1] != entry.size:
                raise Damaged(
                    f"{printable(path)} has {known[path][1]} bytes and not {entry.size}.",
                    self._tree.where(path),
                    REMEDY,
                )
        return {path: known[path][0] for path in files}

    def _get(self, name: str, entry: Entry, version: str) -> str:
        url = self._tree.client.generate_presigned_url(
            "get_object", ExpiresIn=URL_SECONDS,
            Params={"Bucket": self._tree.bucket, "Key": self._tree.prefix + entry.path, "VersionId": version},
        )  # fmt: skip
        return "".join(
            f"{line}\n"
            for line in (
                f'url = "{transfer.quoted(url)}"', f'output = "{transfer.quoted(name)}"',
                f"max-filesize = {entry.size}", "globoff", "fail", "retry = 2", "connect-timeout = 5",
                "speed-limit = 65536", "speed-time = 30",
            )
        )  # fmt: skip

    def _whole(self, entry: Entry, version: str) -> Iterator[bytes]:
        """A version's bytes, exactly as many as the manifest says.

        Raises:
            Damaged: it is missing, or has another size.
        """
        count = 0
        for chunk in self._tree.read(entry.path, version):
            count += len(chunk)
            if count > entry.size:
                break
            yield chunk
        if count != entry.size:
            raise Damaged(
                f"{printable(entry.path)} has another size than was backed up.",
                self._tree.where(entry.path),
                REMEDY,
            )

    def _present(self, connection: Connection, folder: str, names: Sequence[str]) -> dict[str, int]:
        result = tooling.asked(connection, _PRESENT, folder, stdin=tooling.words(names))
        found = {}
        for record in result.split(b"\0"):
            size, _, name = record.partition(b"\n")
            if name:
                found[name.decode()] = int(size)
        return found
