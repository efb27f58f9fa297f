"""The seam to the journal store: records, leases, used codes and the documents beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from model.canonical import Value
from model.journal import Payload, Record


class Lease(Value):
    """A host held by one incident. `key` is the host's machine-id: two plans may name one host differently."""

    key: str
    token: int
    incident: str
    owner: str
    expires_at: float


class JournalStore(Protocol):
    """Append-only store. Every write is durable (fsync) when the call returns; exclusive create decides races."""

    def incidents(self) -> list[str]:
        """Ids of all incidents, oldest first."""
        ...

    def publications(self) -> list[str]:
        """Ids of all publications of plans, oldest first; their journals are read and written like an incident's."""
        ...

    def drills(self) -> list[str]:
        """Ids of all drills, oldest first; their journals are read and written like an incident's."""
        ...

    def read(self, incident: str) -> list[Record]:
        """All records, verified (chain and signatures), oldest first; empty when there is no such incident.

        Raises:
            Damaged: a record was altered, removed or reordered.
        """
        ...

    def append(self, incident: str, payload: Payload, expect: int | None = None) -> Record:
        """Append a record and return it.

        Args:
            incident: the id; the first record must be `Opened`.
            payload: what happened.
            expect: only when the last record has this number (0: none yet).

        Raises:
            Overtaken: `expect` was given and another writer was first.
        """
        ...

    def lease(self, key: str, incident: str, owner: str, seconds: float) -> Lease:
        """Take the host: a token higher than any before. The same incident may take it again (fencing out its past).

        Raises:
            Refused: another incident holds it and its lease has not expired; the message names that incident.
        """
        ...

    def renew(self, lease: Lease, seconds: float) -> Lease:
        """Hold it longer. Raises Refused when a newer token exists."""
        ...

    def release(self, key: str, token: int) -> None:
        """Give the host back; releasing an outdated token does nothing."""
        ...

    def use_code(self, person: str, step: int, claim: str) -> bool:
        """Mark a one-time code's time step as used, for ever and for all incidents.

        Returns:
            True when it was free, or already claimed by this same `claim` (the same answer read again).
        """
        ...

    def claim_of(self, person: str, step: int) -> str | None:
        """The claim a one-time code's time step was used for; None when it was never used."""
        ...

    def put(self, path: str, data: bytes) -> str:
        """Store a document (plan text, manifest, baseline, report) and return its SHA-256; replaces atomically."""
        ...

    def put_new(self, path: str, data: bytes) -> bool:
        """Store a document unless there is one; of several writers exactly one gets True."""
        ...

    def get(self, path: str) -> bytes | None:
        """A document's content; None when there is none."""
        ...

    def folder(self, path: str) -> Path:
        """A local directory for bulk files (evidence, snapshots), created with mode 700."""
        ...
