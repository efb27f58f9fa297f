"""Putting files of a host into a versioned bucket: the host's curl with presigned URLs, or through the connection."""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence

from blocks.backups import tooling, transfer
from blocks.backups.engine import Progress
from blocks.backups.s3client import translated
from blocks.backups.s3versions import OURS, VersionedBucket
from blocks.hosts.base import Connection
from model.assets import FilesAsset
from model.command import Command, printable
from model.errors import PreconditionFailed, Transient, Unsupported
from model.manifest import Entry, FileType

URL_SECONDS = 6 * 3600
LARGEST = 5 << 30
"""Bytes of one object that is put at once."""

_SUMS = "cd / || exit 73; xargs -0 -r md5sum -z --"


def keys(tree: VersionedBucket, asset: FilesAsset, found: Mapping[str, Entry]) -> dict[str, Entry]:
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
        if not raw or len(raw) + len(tree.prefix) > 1024 or re.search(r"[\x00-\x1f\x7f]", name):
            raise PreconditionFailed(
                f"{printable(name)!r} is no name for an object: not UTF-8, a control character, or too long.",
                tree.where(), "leave it out with `exclude`, or use another kind of source for this file set",
            )  # fmt: skip
        if name.startswith(OURS):
            raise PreconditionFailed(
                f"{printable(name)} lies where our own objects are.",
                tree.where(),
                "leave it out with `exclude`",
            )
        if entry.size > LARGEST:
            raise Unsupported(
                f"{printable(name)} has more than 5 GiB, which one object is not put with.", tree.where(),
                "use another kind of source for this file set",
            )  # fmt: skip
        files[name] = entry
    return files


def put(
    tree: VersionedBucket, connection: Connection, root: str, files: Mapping[str, Entry], pull: str, progress: Progress
) -> None:  # fmt: skip
    """Store files; the server compares each with its MD5."""
    total, done = sum(entry.size for entry in files.values()), 0
    for group in tooling.groups(files):
        sums = _sums(connection, root, list(group))
        sections = [_section(tree, root, name, sums[name]) for name in group]
        size = sum(entry.size for entry in group.values())
        before = _stamps(tree)
        if pull == "auto":
            transfer.curl(connection, "/", sections, tooling.seconds(size))
        after = _stamps(tree)
        for name in group:
            if after.get(name) == before.get(name):
                _send(tree, connection, f"{root.rstrip('/')}/{name}", name, sums[name])
        done += size
        progress(done, total)


def _stamps(tree: VersionedBucket) -> dict[str, str]:
    return {path: version for path, (version, _) in tree.current().items()}


def _sums(connection: Connection, root: str, names: Sequence[str]) -> dict[str, str]:
    """MD5 in base64, which the server compares with what it gets."""
    paths = {f"{root.rstrip('/')}/{name}": name for name in names}
    answer = tooling.asked(connection, _SUMS, stdin=tooling.words(list(paths)), timeout=3600.0)
    found = {}
    for record in answer.split(b"\0"):
        if record:
            found[paths[record[34:].decode()]] = base64.b64encode(
                bytes.fromhex(record[:32].decode())
            ).decode()
    for name in names:
        if name not in found:
            raise Transient(
                f"{printable(name)} could not be read.",
                connection.name,
                "run it again; it may just have gone",
            )
    return found


def _section(tree: VersionedBucket, root: str, name: str, md5: str) -> str:
    url = tree.client.generate_presigned_url(
        "put_object", Params={"Bucket": tree.bucket, "Key": tree.prefix + name, "ContentMD5": md5},
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


def _send(tree: VersionedBucket, connection: Connection, path: str, name: str, md5: str) -> None:
    """Put a file through the connection."""
    with tempfile.TemporaryFile() as file:
        result = connection.run(
            Command(("cat", "--", path), sudo=True, timeout=tooling.seconds(LARGEST)), on_stdout=_writing(file.write)
        )  # fmt: skip
        if not result.ok:
            raise Transient(f"{printable(path)} could not be read.", connection.name, "run it again")
        file.seek(0)
        with translated(tree.where(name)):
            tree.client.put_object(Bucket=tree.bucket, Key=tree.prefix + name, Body=file, ContentMD5=md5)


def _writing(write: Callable[[bytes], int]) -> Callable[[bytes], None]:
    def take(chunk: bytes) -> None:
        write(chunk)

    return take
