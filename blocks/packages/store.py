"""A package store: files, and one index that says what they are, signed with Ed25519.

Nothing in a store is trusted but what a trusted key signed: the index names each file's hash, and a serial number that
only grows, so that an old index with an old, vulnerable package put back in its place is found (attack: rollback).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from blocks.keys import SigningKey, Verifier
from blocks.packages.objects import Objects
from model.canonical import canonical_json, now
from model.errors import BadInput, Damaged, PreconditionFailed
from model.shelf import PackageFile, Seen, SignedIndex, StoreIndex

INDEX = "packages.json"
INDEX_LIMIT = 256 << 20
"""Bytes of an index that are read at most; a larger one is not ours."""

_INTRUDER = (
    "nothing is installed from it; find out who wrote it, then sign anew with `reinstate packages index`"
)


class Memory(Protocol):
    """Keeps documents durably: the journal store."""

    def put(self, path: str, data: bytes) -> str:
        """Keep a document."""
        ...

    def get(self, path: str) -> bytes | None:
        """A kept document."""
        ...


def seal(index: StoreIndex, signing: SigningKey) -> bytes:
    """The signed index as it is stored."""
    return canonical_json(
        SignedIndex(index=index, key_id=signing.key_id, signature=signing.sign(canonical_json(index)))
    )


def unseal(data: bytes, trusted: Sequence[Verifier], where: str) -> StoreIndex:
    """The index, once a trusted key's signature is proven.

    Raises:
        Damaged: it is no signed index, or no trusted key signed it.
    """
    try:
        signed = SignedIndex.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise Damaged(f"this is not a signed index of packages: {first}.", where, _INTRUDER) from None
    if canonical_json(signed) != data:
        raise Damaged("the index is not in the form we write.", where, _INTRUDER)
    payload = canonical_json(signed.index)
    if not any(verifier.verify(payload, signed.signature, signed.key_id or "none") for verifier in trusted):
        raise Damaged(
            f"no trusted key signed this index (it names the key {signed.key_id[:16]}).", where, _INTRUDER
        )
    return signed.index


class PackageStore:
    """A package store of a plan.

    Args:
        name: of the store in the plan.
        objects: its files.
        trusted: whose signatures count.
        memory: keeps which index was the newest.
        mark: name of that document.
    """

    def __init__(
        self, name: str, objects: Objects, trusted: Sequence[Verifier], memory: Memory, mark: str
    ) -> None:
        self.name = name
        self.objects = objects
        self._trusted = tuple(trusted)
        self._memory = memory
        self._mark = mark
        self._index: StoreIndex | None = None

    def index(self) -> StoreIndex:
        """The verified index, read once.

        Raises:
            PreconditionFailed: the store has none.
            Damaged: unsigned, signed by a key that is not trusted, or older than one seen before.
            Transient: the store does not answer.
        """
        if self._index is None:
            index = self._read()
            if index is None:
                raise PreconditionFailed(
                    "the package store has no signed index.",
                    self.objects.where(INDEX),
                    "run `reinstate packages index` on it, or `reinstate packages stock PLAN`",
                )
            self._index = index
        return self._index

    def get(self, filename: str, sha256: str, write: Callable[[bytes], object]) -> int:
        """Read a file, piece by piece, and prove it at the end; returns its size.

        Raises:
            Damaged: it is not the file with this hash, or is not there.
        """
        told, count = hashlib.sha256(), 0
        for chunk in self.objects.read(filename):
            told.update(chunk)
            count += len(chunk)
            write(chunk)
        if told.hexdigest() != sha256:
            raise Damaged(
                f"{filename} has SHA-256 {told.hexdigest()}, signed was {sha256}.",
                self.objects.where(filename),
                "nothing was touched; find out who changed the package store, then propose again",
            )
        return count

    def fetch(self, filename: str, sha256: str, folder: Path) -> Path:
        """A proven copy of a file in a folder of ours, so that what was hashed is what is used.

        Raises:
            Damaged: as `get`; no file is left.
        """
        path = folder / filename.rpartition("/")[2]
        try:
            with path.open("wb") as file:
                self.get(filename, sha256, file.write)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def recall(self, sha256: str) -> bytes | None:
        """What was remembered about a file with this hash; None: nothing."""
        return self._memory.get(f"package-facts/{sha256}.json")

    def remember(self, sha256: str, facts: bytes) -> None:
        """Keep what a file says, so that it need not be fetched to be asked again; its hash says which it is."""
        self._memory.put(f"package-facts/{sha256}.json", facts)

    def presign(self, filename: str, seconds: int) -> str | None:
        """A URL from which a host can fetch the file; None when this store has none."""
        return self.objects.presign(filename, seconds)

    def add(self, package: PackageFile, chunks: Iterator[bytes]) -> None:
        """Store a file that is not published yet; it is read back and proven."""
        self.objects.put(package.filename, chunks)
        self.get(package.filename, package.sha256, lambda _chunk: None)

    def publish(
        self, packages: Sequence[PackageFile], signing: SigningKey, *, anew: bool = False
    ) -> StoreIndex:
        """Sign an index of these files under a higher serial number; the same files again change nothing.

        Args:
            packages: everything the store offers from now on.
            signing: this installation's key.
            anew: a person read what lies there and signs it, whatever the index there says now.

        Raises:
            PreconditionFailed: this installation's key is none that the plan trusts here.
            Damaged: the index that is there now is not one to follow on from.
        """
        try:
            before = self._read()
        except Damaged:
            if not anew:
                raise
            before = None
        wanted = tuple(sorted(packages, key=lambda p: p.filename))
        if before is not None and before.packages == wanted:
            return before
        seen, moment = self._seen(), now()
        # The clock: an installation that lost its memory still follows on from what others remember.
        last = max(before.serial if before else 0, seen.serial if seen else 0)
        index = StoreIndex(serial=max(last + 1, int(moment.timestamp())), made_at=moment, packages=wanted)
        data = seal(index, signing)
        try:
            unseal(data, self._trusted, self.objects.where(INDEX))
        except Damaged:
            raise PreconditionFailed(
                f"this installation's key {signing.key_id} is none that the plan trusts for {self.name}.",
                self.objects.where(),
                "add its public key to the store's `keys`, or stock the store where the trusted key is",
            ) from None
        self.objects.put(INDEX, iter([data]))
        self._index = None
        return self.index()

    def _read(self) -> StoreIndex | None:
        where = self.objects.where(INDEX)
        if not self.objects.exists(INDEX):
            if self._seen() is not None:
                raise Damaged("the signed index that was there before is gone.", where, _INTRUDER)
            return None
        data = bytearray()
        for chunk in self.objects.read(INDEX):
            data += chunk
            if len(data) > INDEX_LIMIT:
                raise Damaged("the index is endless.", where, _INTRUDER)
        index = unseal(bytes(data), self._trusted, where)
        self._remember(index, where)
        return index

    def _remember(self, index: StoreIndex, where: str) -> None:
        seen = self._seen()
        if seen is not None:
            if index.serial < seen.serial or index.made_at < seen.made_at:
                raise Damaged(
                    f"this is index {index.serial} of {index.made_at:%Y-%m-%d %H:%M:%S} UTC, but {seen.serial} of "
                    f"{seen.made_at:%Y-%m-%d %H:%M:%S} UTC was there before: an older index was put in its place.",
                    where,
                    _INTRUDER,
                )
            if index.serial == seen.serial and index.digest != seen.sha256:
                raise Damaged(f"two different indexes have the serial {index.serial}.", where, _INTRUDER)
        if seen is None or index.serial > seen.serial:
            mark = Seen(serial=index.serial, made_at=index.made_at, sha256=index.digest)
            self._memory.put(self._mark, canonical_json(mark))

    def _seen(self) -> Seen | None:
        data = self._memory.get(self._mark)
        if data is None:
            return None
        try:
            return Seen.model_validate_json(data)
        except ValidationError:
            raise BadInput(
                "what was seen of this package store cannot be read.",
                self._mark,
                "restore it from the journal's backup",
            ) from None
