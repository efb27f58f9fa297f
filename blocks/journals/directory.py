"""A journal store in a folder: one signed record a file, exclusive create decides races, everything flushed.

```
journal/INCIDENT/000001.json   records, canonical JSON, chained and signed
heads/INCIDENT.json            newest number and digest, signed: a cut tail is found
leases/KEY/00000001.json       fencing tokens of a host
codes/PERSON/STEP              used one-time codes
documents/…  bulk/…            plan texts, manifests, reports; evidence and snapshots
keys/        locks/  spool/    the signing key; locks; files being written
```
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections import OrderedDict
from pathlib import Path

from blocks import durable
from blocks.journals import names, sealed
from blocks.journals.base import Lease
from blocks.journals.leases import LeaseFolder
from blocks.journals.sealed import Head, Sealed
from blocks.keys import SigningKey
from model.errors import BadInput, Damaged, Overtaken, PreconditionFailed, Refused, Transient
from model.journal import Opened, Payload, Record

_REMEMBERED = 32  # incidents whose verified records are kept in memory


@functools.lru_cache(maxsize=8)
def _remembered(root: Path, keys: tuple[str, ...]) -> OrderedDict[str, dict[str, Sealed]]:  # noqa: ARG001 - kept by both
    """Records of a store that were good under these keys, by SHA-256: each task of a process opens its store anew."""
    return OrderedDict()


def record_name(seq: int) -> str:
    """File name of a record."""
    return f"{seq:06d}.json"


class DirectoryJournal:
    """A `JournalStore` in a local folder, for any number of processes of one machine.

    Reading looks at every byte every time. What is remembered between two reads is only that *exactly these bytes* (by
    SHA-256) had a good signature, so nothing altered meanwhile can hide behind a time stamp.

    Args:
        root: the folder; created with mode 700 when missing.

    Raises:
        PreconditionFailed: the folder cannot be made or written.
        Damaged: the signing key was altered.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._journal = durable.make_folder(root / "journal")
        self._heads = durable.make_folder(root / "heads")
        self._codes = durable.make_folder(root / "codes")
        self._documents = durable.make_folder(root / "documents")
        self._bulk = durable.make_folder(root / "bulk")
        self._locks = durable.make_folder(root / "locks")
        self._spool = durable.make_folder(root / "spool")
        self._leases = LeaseFolder(durable.make_folder(root / "leases"), self._locks, self._spool)
        self.key = SigningKey.load_or_create(root / "keys")
        self._seen = _remembered(root.absolute(), self.key.verifier.key_ids)
        durable.sweep(self._spool)

    def incidents(self) -> list[str]:
        """Ids of all incidents, oldest first; one of which only the head is left is among them, so reading it fails."""
        return self._ids("inc")

    def publications(self) -> list[str]:
        """Ids of all publications of plans, oldest first."""
        return self._ids("pub")

    def drills(self) -> list[str]:
        """Ids of all drills, oldest first."""
        return self._ids("drl")

    def _ids(self, prefix: str) -> list[str]:
        found = {folder.name for folder in self._journal.iterdir() if any(folder.iterdir())}
        found |= {file.stem for file in self._heads.iterdir()}
        return sorted(name for name in found if names.is_id(name, prefix))

    def read(self, incident: str) -> list[Record]:
        """All records, verified; see `JournalStore.read`."""
        chain = self._read(names.incident_id(incident))
        if chain:
            with contextlib.suppress(PreconditionFailed, Transient):  # a reader may have no right to write
                self._repair_head(incident, chain[-1])
        return [each.record for each in chain]

    def append(self, incident: str, payload: Payload, expect: int | None = None) -> Record:
        """Append a record; see `JournalStore.append`.

        Raises:
            Overtaken: `expect` was given and another writer was first.
            Refused: the incident was opened before.
            BadInput: the first record is not this incident's report.
            PreconditionFailed: the disk is full or read-only; nothing was written.
            Transient: another process held the journal for too long.
        """
        names.incident_id(incident)
        opened = payload.incident.id if isinstance(payload, Opened) else None
        if opened not in {None, incident}:
            raise BadInput(
                f"the report of {opened} does not belong here.", incident, "use the incident's own id"
            )
        while True:
            with durable.locked(self._locks / f"{incident}.lock"):
                chain = self._read(incident)
                self._admit(incident, payload, len(chain), expect)
                last = chain[-1] if chain else None
                if last is not None:
                    self._write_head_when_behind(incident, last)
                raw, new = sealed.seal_record(self.key, incident, payload, last)
                folder = durable.make_folder(self._journal / incident)
                try:
                    durable.create(folder / record_name(new.record.seq), raw, self._spool)
                except (
                    FileExistsError
                ):  # another writer, on a file system on which locks do not lock: read again
                    continue
                with contextlib.suppress(
                    PreconditionFailed
                ):  # the record stands: the next append repairs its head
                    self._write_head_when_behind(incident, new)
                return new.record

    @staticmethod
    def _admit(incident: str, payload: Payload, count: int, expect: int | None) -> None:
        if expect is not None and expect != count:
            raise Overtaken(
                f"another writer was first: the last record is {count}, not {expect}.",
                where=incident,
                remedy="read the journal again and decide again",
            )
        if count == 0 and not isinstance(payload, Opened):
            raise BadInput(
                f"the first record must be the report, not {payload.type}.",
                incident,
                "open the incident first",
            )
        if count > 0 and isinstance(payload, Opened):
            raise Refused("this incident is open already.", incident, "report again under a new id")

    def _read(self, incident: str) -> list[Sealed]:
        where = f"journal {incident}"
        before = self._head(incident)
        folder = self._journal / incident
        listed = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
        seen = self._seen.pop(incident, {})
        fresh: dict[str, Sealed] = {}
        chain: list[Sealed] = []
        # Counted up, not taken from the listing: one made while others write may hold record 7 and lack record 6.
        while (raw := durable.read(file := folder / record_name(len(chain) + 1))) is not None:
            fingerprint = hashlib.sha256(raw).hexdigest()
            known = seen.get(fingerprint) or sealed.unseal_record(raw, self.key.verify, str(file))
            fresh[fingerprint] = known
            chain.append(known)
            listed.discard(file.name)
        if listed:
            raise Damaged(
                f"record {len(chain) + 1} is missing, but {min(listed)} is there.", where, sealed.VERIFY
            )
        sealed.check_chain(incident, chain, where)
        sealed.check_heads(chain, before, self._head(incident), where)
        self._seen[incident] = fresh
        while len(self._seen) > _REMEMBERED:
            with contextlib.suppress(KeyError):  # another thread was faster
                self._seen.popitem(last=False)
        return chain

    def _head(self, incident: str) -> Head | None:
        file = self._heads / f"{incident}.json"
        raw = durable.read(file)
        return None if raw is None else sealed.unseal_head(raw, self.key.verify, incident, str(file))

    def _repair_head(self, incident: str, last: Sealed) -> None:
        """Bring the head up to the last record: its writer was killed between the two (or is just about to do it)."""
        head = self._head(incident)
        if head is None or head.seq < last.record.seq:
            with durable.locked(self._locks / f"{incident}.lock", patience=0):
                self._write_head_when_behind(incident, last)

    def _write_head_when_behind(self, incident: str, last: Sealed) -> None:
        head = self._head(incident)
        if head is None or head.seq < last.record.seq:
            durable.replace(self._heads / f"{incident}.json", sealed.seal_head(self.key, last), self._spool)

    def lease(self, key: str, incident: str, owner: str, seconds: float) -> Lease:
        """Take the host; see `JournalStore.lease`."""
        return self._leases.take(key, incident, owner, seconds)

    def renew(self, lease: Lease, seconds: float) -> Lease:
        """Hold it longer; see `JournalStore.renew`."""
        return self._leases.renew(lease, seconds)

    def release(self, key: str, token: int) -> None:
        """Give the host back; see `JournalStore.release`."""
        self._leases.release(key, token)

    def use_code(self, person: str, step: int, claim: str) -> bool:
        """Mark a code's time step as used; see `JournalStore.use_code`."""
        file = self._code(person, step)
        durable.make_folder(file.parent)
        try:
            durable.create(file, claim.encode(), self._spool)
        except FileExistsError:
            return file.read_bytes() == claim.encode()
        return True

    def claim_of(self, person: str, step: int) -> str | None:
        """What a code's time step was used for; see `JournalStore.claim_of`."""
        used = durable.read(self._code(person, step))
        return None if used is None else used.decode()

    def _code(self, person: str, step: int) -> Path:
        if step < 0:
            raise BadInput(f"{step} is not a time step.", remedy="report this as a bug")
        return self._codes / names.segment(person, "a person") / str(step)

    def put(self, path: str, data: bytes) -> str:
        """Store a document; see `JournalStore.put`."""
        file = self._inside(self._documents, path)
        durable.make_folder(file.parent)
        if file.is_dir():
            raise BadInput(f"the document {path} is a folder of documents.", remedy="choose another path")
        durable.replace(file, data, self._spool)
        return hashlib.sha256(data).hexdigest()

    def put_new(self, path: str, data: bytes) -> bool:
        """Store a document unless there is one; see `JournalStore.put_new`."""
        file = self._inside(self._documents, path)
        durable.make_folder(file.parent)
        try:
            durable.create(file, data, self._spool)
        except FileExistsError:
            return False
        return True

    def get(self, path: str) -> bytes | None:
        """A document's content; see `JournalStore.get`."""
        file = self._inside(self._documents, path)
        return durable.read(file) if file.is_file() else None

    def folder(self, path: str) -> Path:
        """A folder for bulk files; see `JournalStore.folder`."""
        return durable.make_folder(self._inside(self._bulk, path))

    @staticmethod
    def _inside(base: Path, path: str) -> Path:
        file = base / names.document_path(path)
        if not file.resolve().is_relative_to(base.resolve()):
            raise BadInput(
                f"{path} leads out of the store.", where=str(base), remedy="remove that symbolic link"
            )
        return file
