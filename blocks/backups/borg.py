"""borg repositories, read and written by borg on the host.

What borg says is not taken for granted: 1.2 calls every full-path pattern «never matched» and ends with 1 although it
extracted the files, and `borg check` is clean when the archive itself is gone. So the listing is judged before a fetch,
and the caller hashes each file. Reading takes no lock, and borg's own records lie below our state directory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from blocks.backups import floors, tooling
from blocks.backups.engine import Progress, Snapshot
from blocks.backups.s3objects import Resolver
from blocks.hosts.base import Connection
from model.assets import FilesAsset
from model.backup_sources import BorgSource
from model.command import Result, printable
from model.errors import Damaged, PreconditionFailed, ReinstateError, Transient
from model.manifest import Entry, FileType, Manifest, ManifestFormat, absolute

_REMEDY = "use another recovery point; keep this one for the investigation"
_FORMAT = "{type}{NUL}{size}{NUL}{path}{NUL}{source}{NUL}"
_FORMAT_HASHED = "{type}{NUL}{size}{NUL}{path}{NUL}{source}{NUL}{sha256}{NUL}"
_NOISE = (
    "Warning: The repository", "Do you want to continue", "Include pattern", "Warning: Attempting to access",
    "Platform:", "Linux:", "Borg:", "PID:", "sys.argv:", "SSH_ORIGINAL_COMMAND:", "Traceback", "File ",
    "terminating with",
)  # fmt: skip
_SAYING = (
    "Error",
    "error",
    "does not",
    "not a valid",
    "not exist",
    "mismatch",
    "corrupt",
    "rror:",
    "Repository",
)


class BorgEngine:
    """A FileEngine over borg.

    Args:
        name: of the source in the plan.
        source: its settings.
        secrets: resolver of the plan's secret references; followed at each call.
    """

    kind = "borg"
    format: ManifestFormat = "borg"

    def __init__(self, name: str, source: BorgSource, secrets: Resolver) -> None:
        self.name = name
        self._source = source
        self._secrets = secrets

    def tool(self, connection: Connection) -> str:
        """Its version; see `floors`."""
        answer = tooling.run(connection, "borg", "--version").check(connection.name)
        return floors.demand("borg", answer.text, connection.name)

    def repository(self, connection: Connection) -> str:
        """The repository's id."""
        return str(self._listed(connection)["repository"]["id"])

    def snapshots(self, connection: Connection) -> list[Snapshot]:
        """All archives, newest first; named by borg's own id, which no second archive can have."""
        found = [
            Snapshot(id=f"{one['id']}", taken_at=_moment(one["time"]), host=one.get("hostname", ""))
            for one in self._listed(connection).get("archives", ())
        ]
        return sorted(found, key=lambda one: one.taken_at, reverse=True)

    def back_up(
        self,
        connection: Connection,
        asset: FilesAsset,
        label: str,
        found: Mapping[str, Entry],
        left_out: Sequence[str],  # noqa: ARG002 - borg is told path by path what belongs to it
        progress: Progress,
    ) -> Snapshot:
        """Make an archive of exactly what was found."""
        total = sum(entry.size for entry in found.values())
        name = label.replace("/", "-")
        made = {one["name"] for one in self._listed(connection).get("archives", ())}
        while name in made:
            name += "+"
        answer = self._run(
            connection, "create", "--json", "--comment", f"reinstate {asset.path}", "--paths-from-stdin",
            "--paths-delimiter", "\\0", f"{self._source.repository}::{name}",
            rest=tooling.words(sorted(found)), timeout=24 * 3600.0,
        )  # fmt: skip
        if answer.status not in {0, 1}:  # 1: a warning; the listing tells whether something is missing
            self._require(connection, answer)
        try:
            one = json.loads(answer.text)["archive"]
        except (ValueError, KeyError):
            raise ReinstateError(
                f"borg made no archive: {_said(answer) or answer.status}.", self._where(), "run it again"
            ) from None
        progress(total, total)
        return Snapshot(
            id=one["id"],
            taken_at=_moment(one["start"]),
            paths=(asset.path,),
            bytes=one["stats"]["original_size"],
        )

    def verify(
        self, connection: Connection, manifest: Manifest, progress: Progress, *, content: bool = True
    ) -> None:
        """Compare the archive's listing with the manifest; with `content`, have borg read and hash every file of it."""
        files = {entry.path: entry for entry in manifest.entries if entry.type is FileType.FILE}
        total = sum(entry.size for entry in files.values())
        seen = self._judge(connection, manifest, files.values(), content=content)
        for path, entry in files.items() if content else ():
            at = absolute(manifest.root, path).lstrip("/")
            if entry.sha256 not in seen.hashes(_plain(at)):
                raise Damaged(
                    f"{printable(path)} in the archive is not what was backed up.",
                    self._where(manifest.snapshot), _REMEDY,
                )  # fmt: skip
        progress(total, total)

    def fetch(
        self,
        connection: Connection,
        manifest: Manifest,
        files: Mapping[str, Entry],
        folder: str,
        progress: Progress,
    ) -> int:
        """Extract exact paths into our staging folder."""
        where = self._where(manifest.snapshot)
        archive = self._archive(connection, manifest)
        self._judge(connection, manifest, files.values(), archive=archive)
        total, done = sum(entry.size for entry in files.values()), 0
        for group in tooling.groups(files):
            target = tooling.clear(connection, folder)
            paths = {name: absolute(manifest.root, entry.path).lstrip("/") for name, entry in group.items()}
            size = sum(entry.size for entry in group.values())
            answer = self._run(
                connection, "extract", "--bypass-lock", "--noacls", "--noxattrs", "--noflags", archive, lists="some",
                rest=tooling.words([f"pf:{path}" for path in paths.values()]), folder=target,
                timeout=tooling.seconds(size),
            )  # fmt: skip
            missing = tooling.land(connection, folder, paths, where)
            if missing:
                self._away(answer)
                raise tooling.lost(missing, group, _said(answer), where)
            done += size
            progress(done, total)
        return done

    def described(self, connection: Connection, snapshot: Snapshot) -> Snapshot:
        """With the host name, which borg tells of one archive at a time."""
        name = self._named(connection, snapshot.id)
        answer = self._require(connection, self._run(connection, "info", "--bypass-lock", "--json", name))
        try:
            (one,) = json.loads(answer.text)["archives"]
            host, size = str(one["hostname"]), int(one["stats"]["original_size"])
        except (ValueError, KeyError, TypeError):
            raise Damaged("borg's answer cannot be read.", self._where(snapshot.id), _REMEDY) from None
        return snapshot.model_copy(update={"host": host, "bytes": size})

    def unpack(
        self, connection: Connection, snapshot: Snapshot, path: str, folder: str, progress: Progress
    ) -> str:
        """Extract all of a path with its metadata."""
        answer = self._run(
            connection, "extract", "--bypass-lock", "--numeric-ids", self._named(connection, snapshot.id), lists="one",
            rest=tooling.words([f"pp:{path.lstrip('/')}"]), folder=folder, timeout=tooling.seconds(snapshot.bytes),
        )  # fmt: skip
        if (
            not answer.ok
        ):  # 1: it warns that the path is in no part of the archive, or that something was not read
            self._away(answer)
            raise Damaged(
                f"borg could not extract all of {path}: {_said(answer)}.", self._where(snapshot.id), _REMEDY
            )
        progress(snapshot.bytes, snapshot.bytes)
        return f"{folder.rstrip('/')}{path}"

    def _named(self, connection: Connection, snapshot: str) -> str:
        """`REPOSITORY::NAME` of an archive by its id.

        Raises:
            Damaged: it is gone.
        """
        for one in self._listed(connection).get("archives", ()):
            if one["id"] == snapshot:
                return f"{self._source.repository}::{one['barchive']}"
        raise Damaged("the archive is gone from the repository.", self._where(snapshot), _REMEDY)

    def _archive(self, connection: Connection, manifest: Manifest) -> str:
        """`REPOSITORY::NAME` of the archive with the manifest's id.

        Raises:
            Damaged: it is gone, or the repository is another.
        """
        listed = self._listed(connection)
        for one in listed.get("archives", ()):
            if one["id"] == manifest.snapshot:
                return f"{self._source.repository}::{one['barchive']}"
        where, now = self._where(manifest.snapshot), str(listed["repository"]["id"])
        if manifest.repository and now != manifest.repository:
            raise Damaged(
                f"another repository ({now[:8]}) stands where {manifest.repository[:8]} was: it was replaced or made "
                "again.", where, "find out who did that; use another backup source",
            )  # fmt: skip
        raise Damaged("the archive is gone from the repository.", where, _REMEDY)

    def _judge(
        self, connection: Connection, manifest: Manifest, wanted: Iterable[Entry], *, archive: str = "",
        content: bool = False,
    ) -> _Listing:  # fmt: skip
        """Require that the archive lists each wanted file once, as a file of its size."""
        where = self._where(manifest.snapshot)
        archive = archive or self._archive(connection, manifest)
        files = {absolute(manifest.root, entry.path).lstrip("/"): entry for entry in wanted}
        listing = _Listing(hashed=content)
        # Whole archives where contents are compared: a hard link's content is listed with the first of its names.
        some = [] if content else [f"pf:{path}" for path in files]
        answer = self._run(
            connection, "list", "--bypass-lock", "--format", _FORMAT_HASHED if content else _FORMAT, archive,
            lists="" if content else "some", rest=tooling.words(some), on_stdout=listing.feed,
            timeout=tooling.seconds(sum(entry.size for entry in files.values())),
        )  # fmt: skip
        for path, entry in files.items():
            seen = listing.nodes.get(_plain(path), ())
            if not seen:
                self._away(answer)
                raise tooling.lost([path], {path: entry}, _said(answer) or "it is not in its listing", where)
            one = seen[0]
            many = len(seen) > 1 and _plain(path) == path
            if (
                many
                or one.type not in {"-", "h"}
                or (not one.source and entry.size not in {n.size for n in seen})
            ):
                raise Damaged(
                    f"{printable(entry.path)} is not in the archive as it was backed up: type {one.type}, {one.size} "
                    f"bytes, listed {len(seen)} times.", where, _REMEDY,
                )  # fmt: skip
            if content and one.source and one.source not in listing.nodes:
                raise tooling.lost([path], {path: entry}, _said(answer), where)
        return listing

    def _listed(self, connection: Connection) -> Any:  # noqa: ANN401 - JSON
        answer = self._require(
            connection, self._run(connection, "list", "--bypass-lock", "--json", self._source.repository)
        )
        try:
            return json.loads(answer.text)
        except ValueError:
            raise Damaged("borg's answer cannot be read.", self._where(), "look at the repository") from None

    def _run(
        self,
        connection: Connection,
        *args: str,
        lists: tooling.Lists = "",
        rest: bytes = b"",
        folder: str = "/",
        timeout: float = 600.0,
        on_stdout: Callable[[bytes], None] | None = None,
    ) -> Result:
        reference = self._source.passphrase
        secret = {"BORG_PASSPHRASE": self._secrets.resolve(reference) if reference else ""}
        env = {
            "BORG_BASE_DIR": f"{connection.host.state_dir.rstrip('/')}/borg",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",  # we compare the repository's id ourselves
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RSH": "ssh -o BatchMode=yes",
            "TZ": "UTC",  # borg's JSON has local times without a zone
        }
        return tooling.run(
            connection, "borg", *args, secrets=secret, env=env, lists=lists, rest=rest, folder=folder, timeout=timeout,
            on_stdout=on_stdout,
        )  # fmt: skip

    def _require(self, connection: Connection, answer: Result) -> Result:
        """The answer, when borg did what it was asked."""
        if answer.status in {0, 1}:
            return answer
        said, text = _said(answer), answer.tail(60)
        self._away(answer)
        if "Failed to create/acquire the lock" in text or "LockTimeout" in text:
            raise PreconditionFailed(
                f"the repository is locked: {said}.", self._where(),
                "wait for the other borg; if there is none, run `borg break-lock` on the host",
            )  # fmt: skip
        if "passphrase supplied in" in text or "Passphrase" in text:
            raise PreconditionFailed(
                "the passphrase does not open the repository.", self._where(),
                "correct the secret `passphrase` of this source",
            )  # fmt: skip
        if "does not exist" in text or "not a valid repository" in text or "valid configuration" in text:
            raise PreconditionFailed(
                f"there is no borg repository: {said}.", self._where(),
                f"mount its share on {connection.name}, or correct `repository` of this source",
            )  # fmt: skip
        raise Damaged(f"borg cannot read the repository: {said}.", self._where(), _REMEDY)

    def _away(self, answer: Result) -> None:
        """Raise when the repository cannot be reached now."""
        text = answer.tail(60)
        if "Connection closed by remote host" in text or "Is borg working on the server" in text:
            raise Transient(
                f"the repository cannot be reached: {_said(answer)}.", self._where(),
                "look at the network and the server",
            )  # fmt: skip

    def _where(self, snapshot: str = "") -> str:
        return f"{self.name}:{self._source.repository}{f'::{snapshot[:8]}' if snapshot else ''}"


class _Node:
    """One item of an archive. `source`: an earlier name of the same file, which has the content."""

    def __init__(self, kind: str, size: int, source: str, sha256: str) -> None:
        self.type, self.size, self.source, self.sha256 = kind, size, source, sha256


class _Listing:
    """What `borg list` lists, by path, fed piece by piece."""

    def __init__(self, *, hashed: bool) -> None:
        self.nodes: dict[str, tuple[_Node, ...]] = {}
        self._rest = b""
        self._fields: list[bytes] = []
        self._hashed = hashed

    def feed(self, chunk: bytes) -> None:
        """Take more of the output."""
        *whole, self._rest = (self._rest + chunk).split(b"\0")
        self._fields += whole
        width = 5 if self._hashed else 4
        while len(self._fields) >= width:
            kind, size, name, source, *digest = self._fields[:width]
            del self._fields[:width]
            path, link = (text.decode("utf-8", "replace") for text in (name, source))
            node = _Node(kind.decode(), int(size or 0), link, digest[0].decode() if digest else "")
            self.nodes[path] = (*self.nodes.get(path, ()), node)

    def hashes(self, path: str) -> set[str]:
        """SHA-256 of what is listed under a path; of a hard link, that of the name with the content."""
        return {
            one.sha256
            for node in self.nodes.get(path, ())
            for one in (self.nodes.get(node.source, ()) if node.source else (node,))
        }


def _plain(path: str) -> str:
    """A path as borg lists it: bytes that are not UTF-8 are question marks."""
    return path.encode("utf-8", "replace").decode("utf-8")


def _moment(text: str) -> datetime:
    """A time borg tells; it runs with `TZ=UTC`."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _said(answer: Result) -> str:
    """Borg's own words, without what it says beside."""
    lines = [line.strip() for line in answer.tail(80).splitlines()]
    lines = [line for line in lines if line and not line.startswith(_NOISE)]
    telling = [line for line in lines if any(word in line for word in _SAYING)]
    return "; ".join((telling or lines)[:2])[:600]
