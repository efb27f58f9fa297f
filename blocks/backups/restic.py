"""restic repositories, read and written by restic on the host.

What restic says is not taken for granted: `ls` of a snapshot that is gone says 0, `restore --include` of nothing says
0, `check` without `--read-data` sees no damage. So every fetch first judges the snapshot's own listing, restores exact
paths into our staging, and the caller hashes each file. Reading takes no lock: a stale lock must not stop a recovery,
and a repository is evidence.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from blocks.backups import floors, tooling
from blocks.backups.engine import Progress, Snapshot
from blocks.backups.s3objects import Resolver
from blocks.backups.tarhash import hash_tar
from blocks.hosts.base import Connection
from model.assets import FilesAsset
from model.backup_sources import ResticSource
from model.command import Result, printable
from model.errors import Damaged, PreconditionFailed, ReinstateError, Transient
from model.manifest import Entry, FileType, Manifest, ManifestFormat, absolute

_REMEDY = "use another recovery point; keep this one for the investigation"
_SPECIAL = re.compile(r"([\\*?\[\]])")
_AWAY = re.compile(
    r"connection refused|no such host|i/o timeout|connection reset|network is unreachable|no route to host|"
    r"TLS handshake|context deadline|server misbehaving|Host key verification failed|"
    r"unable to start the sftp session|\b50[0-4] (?:internal|bad gateway|service|gateway|slow)|internal error, please|"
    r"reduce your request rate|SlowDown|RequestTimeout",
    re.IGNORECASE,
)


class ResticEngine:
    """A FileEngine over restic.

    Args:
        name: of the source in the plan.
        source: its settings.
        secrets: resolver of the plan's secret references; followed at each call.
    """

    kind = "restic"
    format: ManifestFormat = "restic"

    def __init__(self, name: str, source: ResticSource, secrets: Resolver) -> None:
        self.name = name
        self._source = source
        self._secrets = secrets

    def tool(self, connection: Connection) -> str:
        """Its version; see `floors`."""
        return floors.demand(
            "restic",
            tooling.run(connection, "restic", "version").check(connection.name).text,
            connection.name,
        )

    def repository(self, connection: Connection) -> str:
        """The id in the repository's configuration."""
        answer = self._run(connection, "cat", "config", "--no-lock", "--no-cache")
        return str(self._parsed(self._require(connection, answer).text)["id"])

    def snapshots(self, connection: Connection) -> list[Snapshot]:
        """All snapshots, newest first."""
        answer = self._require(
            connection, self._run(connection, "snapshots", "--json", "--no-lock", "--no-cache")
        )
        found = [
            Snapshot(
                id=one["id"], taken_at=_moment(one["time"]), host=one.get("hostname", ""),
                paths=tuple(one.get("paths") or ()),
            )
            for one in self._parsed(answer.text) or ()
        ]  # fmt: skip
        return sorted(found, key=lambda one: one.taken_at, reverse=True)

    def back_up(
        self,
        connection: Connection,
        asset: FilesAsset,
        label: str,
        found: Mapping[str, Entry],  # noqa: ARG002 - restic walks itself; the caller compares its listing
        left_out: Sequence[str],
        progress: Progress,
    ) -> Snapshot:
        """Take a snapshot of the asset's path; what is left out is named path by path."""
        seen = _Summary(progress)
        args = [f"--exclude={escaped(path)}" for path in left_out]
        answer = self._run(
            connection, "backup", "--json", "--no-cache", "--tag", f"reinstate:{label}", lists="one",
            rest=tooling.words([*args, "--", asset.path]), timeout=24 * 3600.0, on_stdout=seen.feed,
        )  # fmt: skip
        if not seen.id:  # an exit code of 3 means that a file could not be read; the listing tells which
            self._require(connection, answer)
        made = [one for one in self.snapshots(connection) if seen.id and one.id.startswith(seen.id)]
        if not made:
            raise ReinstateError(
                f"restic made no snapshot: {_said(answer) or answer.status}.", self._where(), "run it again"
            )
        return made[0].model_copy(update={"bytes": seen.bytes})

    def verify(
        self, connection: Connection, manifest: Manifest, progress: Progress, *, content: bool = True
    ) -> None:
        """Compare the snapshot's listing with the manifest; with `content`, read and hash every byte of it."""
        where = self._where(manifest.snapshot)
        files = {entry.path: entry for entry in manifest.entries if entry.type is FileType.FILE}
        self._judge(connection, manifest, files.values())
        if not content:
            return
        total = sum(entry.size for entry in files.values())
        hashed = hash_tar(
            connection,
            self._argv(
                "dump", "--archive", "tar", "--no-lock", "--no-cache", manifest.snapshot, "--", manifest.root
            ),
            self._secret(), tooling.seconds(total),
        )  # fmt: skip
        for path, entry in files.items():
            at = absolute(manifest.root, path).lstrip("/")
            if hashed.files.get(at, hashed.files.get(path)) != (entry.sha256, entry.size):
                raise tooling.lost([path], files, hashed.said, where)
        progress(total, total)

    def fetch(
        self,
        connection: Connection,
        manifest: Manifest,
        files: Mapping[str, Entry],
        folder: str,
        progress: Progress,
    ) -> int:
        """Restore exact paths into our staging folder."""
        where = self._where(manifest.snapshot)
        self._judge(connection, manifest, files.values())
        total, done = sum(entry.size for entry in files.values()), 0
        for group in tooling.groups(files):
            target = tooling.clear(connection, folder)
            paths = {name: absolute(manifest.root, entry.path) for name, entry in group.items()}
            size = sum(entry.size for entry in group.values())
            answer = self._run(
                connection, "restore", "--no-lock", "--no-cache", "--target", target, manifest.snapshot, lists="some",
                rest=tooling.words([f"--include={escaped(path)}" for path in paths.values()]),
                timeout=tooling.seconds(size),
            )  # fmt: skip
            missing = tooling.land(connection, folder, paths, where)
            if missing:
                self._away(answer)
                raise tooling.lost(missing, group, _said(answer), where)
            done += size
            progress(done, total)
        return done

    def described(self, connection: Connection, snapshot: Snapshot) -> Snapshot:  # noqa: ARG002 - see the protocol
        """As it was listed: restic tells host and paths with every snapshot."""
        return snapshot

    def unpack(
        self, connection: Connection, snapshot: Snapshot, path: str, folder: str, progress: Progress
    ) -> str:
        """Restore all of a path with its metadata; that there is nothing of it, restic does not say."""
        answer = self._run(
            connection, "restore", "--no-lock", "--no-cache", "--target", folder, snapshot.id, lists="one",
            rest=tooling.words([f"--include={escaped(path)}"]), timeout=24 * 3600.0,
        )  # fmt: skip
        if not answer.ok:
            self._away(answer)
            raise Damaged(
                f"restic could not restore all of {path}: {_said(answer)}.", self._where(snapshot.id), _REMEDY
            )
        progress(snapshot.bytes, snapshot.bytes)
        return f"{folder.rstrip('/')}{path}"

    def _judge(self, connection: Connection, manifest: Manifest, wanted: Iterable[Entry]) -> None:
        """Require that the snapshot lists each wanted file once, as a file of its size, below real folders."""
        where = self._where(manifest.snapshot)
        files = {absolute(manifest.root, entry.path): entry for entry in wanted}
        folders = {str(above) for path in files for above in PurePosixPath(path).parents}
        listing = _Listing()
        answer = self._run(
            connection, "ls", "--json", "--no-lock", "--no-cache", manifest.snapshot, "--", lists="some",
            rest=tooling.words(sorted(folders)), timeout=3600.0, on_stdout=listing.feed,
        )  # fmt: skip
        if not listing.snapshot:
            self._missing(connection, manifest, answer)
        for path, entry in files.items():
            seen = listing.nodes.get(_plain(path), ())
            if not seen:
                raise tooling.lost([path], {path: entry}, _said(answer) or "it is not in its listing", where)
            if ("file", entry.size) not in seen or (len(set(seen)) > 1 and "\ufffd" not in _plain(path)):
                raise Damaged(
                    f"{printable(entry.path)} is not in the snapshot as it was backed up: {_nodes(seen)}.",
                    where, _REMEDY,
                )  # fmt: skip
        for path in folders - {"/"}:
            seen = listing.nodes.get(_plain(path), ())
            if any(kind != "dir" for kind, _ in seen):
                raise Damaged(
                    f"{printable(path)} is no folder in the snapshot: {_nodes(seen)}.", where, _REMEDY
                )

    def _missing(self, connection: Connection, manifest: Manifest, answer: Result) -> None:
        if "no matching ID" not in answer.tail(20) and "not found" not in answer.tail(20) and not answer.ok:
            self._require(connection, answer)
        now = self.repository(connection)
        if manifest.repository and now != manifest.repository:
            raise Damaged(
                f"another repository ({now[:8]}) stands where {manifest.repository[:8]} was: it was replaced or made "
                "again.", self._where(manifest.snapshot), "find out who did that; use another backup source",
            )  # fmt: skip
        raise Damaged("the snapshot is gone from the repository.", self._where(manifest.snapshot), _REMEDY)

    def _argv(self, *args: str) -> tuple[str, ...]:
        source = self._source
        more = ("--cacert", source.ca_file) if source.ca_file else ()
        return ("restic", "--repo", source.repository, *more, *args)

    def _secret(self) -> dict[str, str]:
        source = self._source
        wanted = {
            "RESTIC_PASSWORD": source.password, "AWS_ACCESS_KEY_ID": source.access_key,
            "AWS_SECRET_ACCESS_KEY": source.secret_key,
        }  # fmt: skip
        return {name: self._secrets.resolve(ref) for name, ref in wanted.items() if ref}

    def _run(
        self,
        connection: Connection,
        *args: str,
        lists: tooling.Lists = "",
        rest: bytes = b"",
        timeout: float = 300.0,
        on_stdout: Callable[[bytes], None] | None = None,
    ) -> Result:
        return tooling.run(
            connection, *self._argv(*args), secrets=self._secret(), lists=lists, rest=rest, timeout=timeout,
            on_stdout=on_stdout,
        )  # fmt: skip

    def _require(self, connection: Connection, answer: Result) -> Result:
        """The answer, when restic did what it was asked."""
        if answer.ok:
            return answer
        said, text = _said(answer), answer.tail(50)
        self._away(answer)
        if "already locked" in text:
            raise PreconditionFailed(
                f"the repository is locked: {said}.", self._where(),
                "wait for the other restic; if there is none, run `restic unlock` on the host",
            )  # fmt: skip
        if "wrong password or no key" in text:
            raise PreconditionFailed(
                "the password does not open the repository, or its keys are gone.", self._where(),
                "correct the secret `password` of this source; look whether `keys` in the repository is empty",
            )  # fmt: skip
        if "unable to open config file" in text or "repository does not exist" in text:
            raise PreconditionFailed(
                f"there is no restic repository: {said}.", self._where(),
                f"mount its share on {connection.name}, or correct `repository` of this source",
            )  # fmt: skip
        raise Damaged(f"restic cannot read the repository: {said}.", self._where(), _REMEDY)

    def _away(self, answer: Result) -> None:
        """Raise when the repository cannot be reached now."""
        if not answer.ok and _AWAY.search(answer.tail(50)):
            raise Transient(
                f"the repository cannot be reached: {_said(answer)}.", self._where(),
                "look at the network and the server",
            )  # fmt: skip

    def _parsed(self, text: str) -> Any:  # noqa: ANN401 - JSON
        try:
            return json.loads(text)
        except ValueError:
            raise Damaged(
                "restic's answer cannot be read.", self._where(), "look at the repository"
            ) from None

    def _where(self, snapshot: str = "") -> str:
        return f"{self.name}:{self._source.repository}{f'#{snapshot[:8]}' if snapshot else ''}"


class _Listing:
    """What `ls --json` lists: type and size by path, fed line by line."""

    def __init__(self) -> None:
        self.snapshot = ""
        self.nodes: dict[str, tuple[tuple[str, int], ...]] = {}
        self._line = bytearray()
        self._times: Counter[str] = Counter()

    def feed(self, chunk: bytes) -> None:
        """Take more of the output."""
        self._line += chunk
        *whole, rest = self._line.split(b"\n")
        self._line = bytearray(rest)
        for line in whole:
            try:
                one = json.loads(line)
            except ValueError:
                continue
            if one.get("struct_type") == "snapshot" or one.get("message_type") == "snapshot":
                self.snapshot = one["id"]
            elif "path" in one:
                seen = (one.get("type", ""), one.get("size", 0) if one.get("type") == "file" else 0)
                self.nodes[one["path"]] = (*self.nodes.get(one["path"], ()), seen)


class _Summary:
    """What `backup --json` tells: progress and, at its end, the snapshot."""

    def __init__(self, progress: Progress) -> None:
        self.id, self.bytes = "", 0
        self._progress = progress
        self._line = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take more of the output."""
        self._line += chunk
        *whole, rest = self._line.split(b"\n")
        self._line = bytearray(rest)
        for line in whole:
            try:
                one = json.loads(line)
            except ValueError:
                continue
            if one.get("message_type") == "status" and one.get("total_bytes"):
                self._progress(one.get("bytes_done", 0), one["total_bytes"])
            if one.get("message_type") == "summary":
                self.id, self.bytes = one.get("snapshot_id", ""), one.get("total_bytes_processed", 0)


def escaped(path: str) -> str:
    """A path as a pattern of restic that matches only it."""
    return _SPECIAL.sub(r"\\\1", path)


def _plain(path: str) -> str:
    """A path as restic's JSON shows it: bytes that are not UTF-8 become U+FFFD."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _nodes(seen: Sequence[tuple[str, int]]) -> str:
    return (
        ", ".join(f"a {kind} of {size} bytes" if kind == "file" else f"a {kind}" for kind, size in seen)
        or "nothing"
    )


def _moment(text: str) -> Any:  # noqa: ANN401 - pydantic reads it
    """Restic's time with its nanoseconds cut to what datetime keeps."""
    return re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text)


def _said(answer: Result) -> str:
    """Restic's own words, on one line."""
    lines = [line.strip() for line in answer.tail(60).splitlines()]
    if any(line.startswith(("panic:", "goroutine ")) for line in lines):
        return next(line for line in lines if line.startswith(("panic:", "goroutine ")))
    lines = [
        re.sub(r",? retrying after [^:]*", "", line)
        for line in lines
        if not line.startswith(("Is there a repository", "restoring <", "Fatal: There were"))
        and (" " in line or ":" in line)
    ]
    return "; ".join(lines[-2:])[:600]
