"""Files as single objects of a versioned bucket, as `aws s3 sync` makes them; a recovery point is a set of versions.

A point of ours has an index, an object that names the version of each file; its id is the index's SHA-256. A tree that
another tool keeps there has no index: its point is a moment (`at-20261125T120000Z`), and what was current then counts.
The host pulls and puts by presigned URLs; listing, versions and indexes are the orchestrator's.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from pydantic import ValidationError

from blocks.backups import tooling, transfer
from blocks.backups.engine import Progress, Snapshot
from blocks.backups.s3client import is_missing, status_of, translated
from blocks.backups.s3objects import CHUNK, Resolver, client_of
from blocks.hosts.base import Connection
from model.assets import FilesAsset
from model.backup_sources import S3TreeSource
from model.canonical import HostText, Value, canonical_json
from model.command import Command, printable
from model.errors import Damaged, PreconditionFailed, Transient, Unsupported
from model.manifest import Entry, FileType, Manifest, ManifestFormat

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OURS = ".reinstate/"
"""Below the prefix: our indexes, and the repository's own id."""
URL_SECONDS = 6 * 3600
LARGEST = 5 << 30
"""Bytes of one object that is put at once."""

_REMEDY = "use another recovery point; keep this one for the investigation"
_MOMENT = re.compile(r"at-([0-9]{8}T[0-9]{6}Z)")
_SUMS = 'cd / || exit 73; xargs -0 -r md5sum -z --'
_PRESENT = r"""
cd -- "$1" || exit 73
xargs -0 -r sh -c 'for name; do [ ! -f "$name" ] || { wc -c <"$name"; printf "%s\0" "$name"; }; done' present
"""
_LOG = logging.getLogger("reinstate.backups")


class Kept(Value):
    """A file of an index: the version that holds it."""

    path: HostText
    version: str
    size: int
    sha256: str


class Index(Value):
    """What a point of ours is made of."""

    asset: str
    point: str
    root: HostText
    files: tuple[Kept, ...]


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
        self.name = name
        self._source = source
        self._secrets = secrets
        self._bucket = source.bucket
        self._prefix = f"{source.prefix.strip('/')}/" if source.prefix.strip("/") else ""
        self._opened: S3Client | None = None

    @property
    def _client(self) -> S3Client:
        if self._opened is None:
            self._opened = client_of(self._source, self._secrets)
        return self._opened

    def tool(self, connection: Connection) -> str:  # noqa: ARG002 - any curl will do, and none too
        """The S3 protocol's version: no tool on the host is needed."""
        return "2006-03-01"

    def repository(self, connection: Connection) -> str:  # noqa: ARG002 - the bucket is asked
        """What our object in the bucket says; of a bucket without one, its name."""
        return self._identity()

    def snapshots(self, connection: Connection) -> list[Snapshot]:  # noqa: ARG002 - the bucket is asked
        """Our indexes, and the moment of the last change; newest first."""
        found: list[Snapshot] = []
        last: datetime | None = None
        with translated(self._where()):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for page in pages:
                for item in page.get("Contents", ()):
                    key, when = item["Key"].removeprefix(self._prefix), item["LastModified"]
                    ours = re.fullmatch(rf"{re.escape(OURS)}([0-9a-f]{{64}})\.json", key)
                    if ours:
                        found.append(Snapshot(id=ours[1], taken_at=when))
                    elif not key.startswith(OURS):
                        last = max(last or when, when)
        if last is not None:
            found.append(Snapshot(id=f"at-{last.astimezone(UTC):%Y%m%dT%H%M%SZ}", taken_at=last))
        return sorted(found, key=lambda one: one.taken_at, reverse=True)

    def protection(self, snapshot: str) -> str:
        """How the store protects a point's index: encryption and Object Lock, as far as it says so; for people."""
        with translated(self._where(snapshot)):
            head = self._client.head_object(Bucket=self._bucket, Key=self._index_key(snapshot))
        said = [
            f"encrypted on the server ({head['ServerSideEncryption']})" if "ServerSideEncryption" in head else "",
            f"locked ({head['ObjectLockMode']}) until {head['ObjectLockRetainUntilDate']:%Y-%m-%d}"
            if "ObjectLockMode" in head and "ObjectLockRetainUntilDate" in head
            else "",
        ]
        return ", ".join(text for text in said if text) or "neither encryption nor Object Lock is reported"

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
        self._require_versions()
        self._identify()
        files = self._keys(asset, found)
        before = {one.path: one for one in self._newest_index(asset.path)}
        current = self._current()
        changed = {
            path: entry
            for path, entry in files.items()
            if path not in before
            or (before[path].sha256, before[path].size) != (entry.sha256, entry.size)
            or current.get(path, ("", 0))[0] != before[path].version
        }
        total = sum(entry.size for entry in changed.values())
        self._put(connection, asset.path, changed, progress)
        after = self._current()
        for path, entry in files.items():
            if after.get(path, ("", -1))[1] != entry.size:
                raise Damaged(
                    f"{printable(path)} was not stored as it is.", self._where(path), "take the backup again"
                )
        index = Index(
            asset=name, point=point, root=asset.path,
            files=tuple(
                Kept(path=path, version=after[path][0], size=entry.size, sha256=entry.sha256)
                for path, entry in sorted(files.items())
            ),
        )  # fmt: skip
        data = canonical_json(index)
        ident = hashlib.sha256(data).hexdigest()
        with translated(self._where(ident)):
            self._client.put_object(Bucket=self._bucket, Key=self._index_key(ident), Body=data)
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
            for chunk in self._read(path, versions[path]):
                told.update(chunk)
                done += len(chunk)
                progress(min(done, total), total)
            if told.hexdigest() != entry.sha256:
                raise Damaged(f"{printable(path)} is not what was backed up.", self._where(path), _REMEDY)
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
        if self._source.pull == "auto":
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
                connection, folder, transfer.packed(members), tooling.seconds(sum(e.size for e in left.values()))
            )
        progress(total, total)
        return total

    # --- what a point is ----------------------------------------------------------------------------------------

    def _versions(self, manifest: Manifest, files: Mapping[str, Entry]) -> dict[str, str]:
        """The version of each wanted file.

        Raises:
            Damaged: the index is gone or altered, or does not hold a file; names it.
        """
        moment = _MOMENT.fullmatch(manifest.snapshot)
        if moment:
            until = datetime.strptime(moment[1], "%Y%m%dT%H%M%S%z")
            known = self._current(until)
        else:
            known = {one.path: (one.version, one.size) for one in self._index(manifest).files}
        for path, entry in files.items():
            if path not in known:
                raise tooling.lost([path], files, "it is not in the bucket", self._where(path))
            if known[path][1] != entry.size:
                raise Damaged(
                    f"{printable(path)} has {known[path][1]} bytes and not {entry.size}.", self._where(path), _REMEDY
                )
        return {path: known[path][0] for path in files}

    def _index(self, manifest: Manifest) -> Index:
        key, where = self._index_key(manifest.snapshot), self._where(f"{OURS}{manifest.snapshot[:8]}")
        with translated(where):
            try:
                data = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            except ClientError as error:
                if not is_missing(error):
                    raise
                data = b""
        if not data:
            if manifest.repository and self._identity() != manifest.repository:
                raise Damaged(
                    "another bucket stands where this one was: it was replaced or made again.", where,
                    "find out who did that; use another backup source",
                )  # fmt: skip
            raise Damaged("the recovery point's index is gone from the bucket.", where, _REMEDY)
        if hashlib.sha256(data).hexdigest() != manifest.snapshot:
            raise Damaged("the recovery point's index was altered.", where, _REMEDY)
        return _parsed(data, where)

    def _newest_index(self, root: str) -> tuple[Kept, ...]:
        for key in self._indexes():
            where = self._where(key)
            with translated(where):
                data = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"].read()
            if f"{OURS}{hashlib.sha256(data).hexdigest()}.json" != key:
                continue
            index = _parsed(data, where)
            if index.root != root:
                raise PreconditionFailed(
                    f"this source holds {printable(index.root)} already.", self._where(),
                    "give each file set its own `prefix`",
                )  # fmt: skip
            return index.files
        return ()

    def _indexes(self) -> list[str]:
        """Keys of our indexes below the prefix, newest first."""
        found = []
        with translated(self._where()):
            for page in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + OURS
            ):
                found += [
                    (item["LastModified"], item["Key"])
                    for item in page.get("Contents", ())
                    if item["Key"].endswith(".json")
                ]
        return [key.removeprefix(self._prefix) for _, key in sorted(found, reverse=True)]

    def _current(self, until: datetime | None = None) -> dict[str, tuple[str, int]]:
        """Path → version and size of what is there, now or at a moment."""
        newest: dict[str, tuple[datetime, bool, str, int]] = {}
        limit = until + timedelta(seconds=1) if until else None
        with translated(self._where()):
            for page in self._client.get_paginator("list_object_versions").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            ):
                for one in page.get("Versions", ()):
                    if limit is None and one.get("IsLatest"):
                        newest[one["Key"]] = (one["LastModified"], True, one["VersionId"], one["Size"])
                    elif limit and one["LastModified"] < limit:
                        known = newest.get(one["Key"])
                        if known is None or one["LastModified"] > known[0]:
                            newest[one["Key"]] = (one["LastModified"], True, one["VersionId"], one["Size"])
                for gone in page.get("DeleteMarkers", ()):
                    known = newest.get(gone["Key"])
                    if limit and gone["LastModified"] < limit and (known is None or gone["LastModified"] >= known[0]):
                        newest[gone["Key"]] = (gone["LastModified"], False, "", 0)
        return {
            key.removeprefix(self._prefix): (version, size)
            for key, (_, there, version, size) in newest.items()
            if there and not key.startswith(self._prefix + OURS)
        }

    # --- reading ------------------------------------------------------------------------------------------------

    def _get(self, name: str, entry: Entry, version: str) -> str:
        url = self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self._bucket, "Key": self._prefix + entry.path, "VersionId": version},
            ExpiresIn=URL_SECONDS,
        )  # fmt: skip
        return "".join(
            f"{line}\n"
            for line in (
                f'url = "{transfer.quoted(url)}"', f'output = "{transfer.quoted(name)}"', f"max-filesize = {entry.size}",
                "globoff", "fail", "retry = 2", "connect-timeout = 5", "speed-limit = 65536", "speed-time = 30",
            )
        )  # fmt: skip

    def _whole(self, entry: Entry, version: str) -> Iterator[bytes]:
        """A version's bytes, exactly as many as the manifest says.

        Raises:
            Damaged: it is missing, or has another size.
        """
        count = 0
        for chunk in self._read(entry.path, version):
            count += len(chunk)
            if count > entry.size:
                break
            yield chunk
        if count != entry.size:
            raise Damaged(
                f"{printable(entry.path)} has another size than was backed up.", self._where(entry.path), _REMEDY
            )

    def _read(self, path: str, version: str) -> Iterator[bytes]:
        with translated(f"{self._where(path)}@{version}"):
            body = self._client.get_object(Bucket=self._bucket, Key=self._prefix + path, VersionId=version)["Body"]
            with body:
                while chunk := body.read(CHUNK):
                    yield chunk

    def _present(self, connection: Connection, folder: str, names: Sequence[str]) -> dict[str, int]:
        result = self._ask(connection, _PRESENT, folder, stdin=tooling.words(names))
        found = {}
        for record in result.split(b"\0"):
            size, _, name = record.partition(b"\n")
            if name:
                found[name.decode()] = int(size)
        return found

    # --- writing ------------------------------------------------------------------------------------------------

    def _keys(self, asset: FilesAsset, found: Mapping[str, Entry]) -> dict[str, Entry]:
        """Files by their path below the root.

        Raises:
            PreconditionFailed: a name S3 cannot keep, or one of ours. Unsupported: a file beyond 5 GiB.
        """
        files = {}
        for path, entry in found.items():
            if entry.type is not FileType.FILE:
                continue
            name = path[len(asset.path.rstrip("/")) + 1 :]
            try:
                raw = name.encode()
            except UnicodeEncodeError:
                raw = b""
            if not raw or len(raw) + len(self._prefix) > 1024 or re.search(r"[\x00-\x1f\x7f]", name):
                raise PreconditionFailed(
                    f"{printable(name)!r} is no name for an object: not UTF-8, a control character, or too long.",
                    self._where(), "leave it out with `exclude`, or use another kind of source for this file set",
                )  # fmt: skip
            if name.startswith(OURS):
                raise PreconditionFailed(
                    f"{printable(name)} lies where our own objects are.", self._where(), "leave it out with `exclude`"
                )
            if entry.size > LARGEST:
                raise Unsupported(
                    f"{printable(name)} has more than 5 GiB, which one object is not put with.", self._where(),
                    "use another kind of source for this file set",
                )  # fmt: skip
            files[name] = entry
        return files

    def _put(self, connection: Connection, root: str, files: Mapping[str, Entry], progress: Progress) -> None:
        total, done = sum(entry.size for entry in files.values()), 0
        for group in tooling.groups(files):
            sums = self._sums(connection, root, list(group))
            sections = [self._section(root, name, sums[name]) for name in group]
            size = sum(entry.size for entry in group.values())
            before = self._stamps()
            if self._source.pull == "auto":
                transfer.curl(connection, "/", sections, tooling.seconds(size))
            after = self._stamps()
            for name in group:
                if after.get(name) == before.get(name):
                    self._send(connection, f"{root.rstrip('/')}/{name}", name, sums[name])
            done += size
            progress(done, total)

    def _stamps(self) -> dict[str, str]:
        return {path: version for path, (version, _) in self._current().items()}

    def _sums(self, connection: Connection, root: str, names: Sequence[str]) -> dict[str, str]:
        """MD5 in base64, which the server compares with what it gets."""
        paths = {f"{root.rstrip('/')}/{name}": name for name in names}
        answer = self._ask(connection, _SUMS, stdin=tooling.words(list(paths)), timeout=3600.0)
        found = {}
        for record in answer.split(b"\0"):
            if record:
                found[paths[record[34:].decode()]] = base64.b64encode(bytes.fromhex(record[:32].decode())).decode()
        for name in names:
            if name not in found:
                raise Transient(
                    f"{printable(name)} could not be read.", connection.name, "run it again; it may just have gone"
                )
        return found

    def _section(self, root: str, name: str, md5: str) -> str:
        url = self._client.generate_presigned_url(
            "put_object", Params={"Bucket": self._bucket, "Key": self._prefix + name, "ContentMD5": md5},
            ExpiresIn=URL_SECONDS,
        )  # fmt: skip
        path = f"{root.rstrip('/')}/{name}"
        return "".join(
            f"{line}\n"
            for line in (
                f'url = "{transfer.quoted(url)}"', f'upload-file = "{transfer.quoted(path)}"', "globoff",
                f'header = "Content-MD5: {md5}"', 'header = "Expect:"', 'output = "/dev/null"', "fail",
                "connect-timeout = 5", "speed-limit = 65536", "speed-time = 30",
            )
        )  # fmt: skip

    def _send(self, connection: Connection, path: str, name: str, md5: str) -> None:
        """Put a file through the connection."""
        with tempfile.TemporaryFile() as file:
            result = connection.run(
                Command(("cat", "--", path), sudo=True, timeout=tooling.seconds(LARGEST)), on_stdout=_writing(file.write)
            )  # fmt: skip
            if not result.ok:
                raise Transient(f"{printable(path)} could not be read.", connection.name, "run it again")
            file.seek(0)
            with translated(self._where(name)):
                self._client.put_object(
                    Bucket=self._bucket, Key=self._prefix + name, Body=file, ContentMD5=md5
                )

    def _require_versions(self) -> None:
        with translated(self._where()):
            status = self._client.get_bucket_versioning(Bucket=self._bucket).get("Status", "")
        if status != "Enabled":
            raise PreconditionFailed(
                "this bucket keeps no older versions.", self._where(), "switch versioning on for the bucket"
            )

    def _identity(self) -> str:
        with translated(self._where()):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=f"{self._prefix}{OURS}repository")
                return answer["Body"].read(64).decode("ascii", "replace").strip()
            except ClientError as error:
                if is_missing(error):
                    return f"bucket-{self._bucket}"
                raise

    def _identify(self) -> None:
        """Give the bucket its id, once."""
        if not self._identity().startswith("bucket-"):
            return
        import secrets

        key, data = f"{self._prefix}{OURS}repository", secrets.token_hex(16).encode()
        with translated(self._where()):
            try:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if status_of(error) not in {409, 412}:
                    raise

    def _ask(self, connection: Connection, script: str, *args: str, stdin: bytes, timeout: float = 600.0) -> bytes:
        result = connection.run(
            Command(("sh", "-c", script, "reinstate-s3", *args), stdin=stdin, sudo=True, env={"LC_ALL": "C"}, timeout=timeout),
            limit=256 << 20,
        )  # fmt: skip
        if result.status is None:
            raise Transient("the connection was lost.", connection.name, "run it again")
        return result.stdout

    def _index_key(self, snapshot: str) -> str:
        return f"{self._prefix}{OURS}{snapshot}.json"

    def _where(self, path: str = "") -> str:
        return f"{self.name}:{self._bucket}/{self._prefix}{printable(path)}"


def _parsed(data: bytes, where: str) -> Index:
    try:
        return Index.model_validate_json(data)
    except ValidationError:
        raise Damaged("the recovery point's index cannot be read.", where, _REMEDY) from None


def _writing(write: Callable[[bytes], int]) -> Callable[[bytes], None]:
    def take(chunk: bytes) -> None:
        write(chunk)

    return take
