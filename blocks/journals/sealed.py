"""A record or a head as signed canonical bytes, and back: what every journal store writes and checks.

The digest is taken from the bytes as they lie, not from the model: a later version that knows more fields still
verifies what an earlier one wrote.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field, ValidationError

from blocks.keys import SigningKey
from model.canonical import Value, canonical_json, digest, now
from model.errors import Damaged, Unsupported
from model.journal import GENESIS, Payload, Record

VERIFY = "run `reinstate journal verify` and keep every file as it is"


@dataclass(frozen=True)
class Sealed:
    """A record whose form and signature were verified, with the digest the next record names."""

    record: Record
    digest: str


class Head(Value):
    """The newest record of an incident, signed: a journal whose tail was cut is shorter than its head says."""

    incident: str
    seq: int = Field(ge=1)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    signature: str = ""


def _open(raw: bytes, where: str) -> tuple[dict[str, object], str]:
    """Canonical JSON object → (its data without signature, the signature)."""
    try:
        data = json.loads(raw)
        canonical = canonical_json(data)
    except (ValueError, RecursionError):
        data, canonical = None, b""
    if not isinstance(data, dict) or canonical != raw:
        raise Damaged("was altered: it is not the canonical JSON we write.", where, VERIFY)
    return data, str(data.pop("signature", ""))


def seal_record(
    key: SigningKey, incident: str, payload: Payload, last: Sealed | None
) -> tuple[bytes, Sealed]:
    """The record that follows `last`: its bytes, and itself."""
    record = Record(
        seq=last.record.seq + 1 if last else 1,
        incident=incident,
        at=now(),
        previous=last.digest if last else GENESIS,
        payload=payload,
    )
    data = record.model_dump(mode="json", exclude={"signature"})
    fingerprint = digest(data)
    signature = key.sign(fingerprint.encode())
    sealed = Sealed(record.model_copy(update={"signature": signature}), fingerprint)
    return canonical_json(data | {"signature": signature}), sealed


def unseal_record(raw: bytes, verify: Callable[[bytes, str], bool], where: str) -> Sealed:
    """Check form and signature of one record.

    Raises:
        Damaged: one byte differs from what we wrote.
        Unsupported: it is ours, and a newer version wrote it.
    """
    data, signature = _open(raw, where)
    fingerprint = digest(data)
    if not verify(fingerprint.encode(), signature):
        raise Damaged("was altered: its signature does not fit.", where, VERIFY)
    try:
        return Sealed(Record.model_validate_json(raw), fingerprint)
    except ValidationError as error:
        raise Unsupported(
            f"is signed by us, but this version cannot read it: {error.errors()[0]['msg']}.",
            where,
            "use the version of reinstate that wrote it, or a newer one",
        ) from error


def check_chain(incident: str, chain: list[Sealed], where: str) -> None:
    """Check that records follow one another without a gap.

    Raises:
        Damaged: naming the first that does not.
    """
    previous = GENESIS
    for position, sealed in enumerate(chain, start=1):
        record = sealed.record
        here = f"{where}, record {position}"
        if record.seq != position:
            raise Damaged(f"has number {record.seq}: a record is missing or out of order.", here, VERIFY)
        if record.incident != incident:
            raise Damaged(f"belongs to {record.incident}.", here, VERIFY)
        if record.previous != previous:
            raise Damaged("does not follow the record before it.", here, VERIFY)
        previous = sealed.digest


def seal_head(key: SigningKey, last: Sealed) -> bytes:
    """The head that names this record."""
    head = Head(incident=last.record.incident, seq=last.record.seq, digest=last.digest)
    data = head.model_dump(mode="json", exclude={"signature"})
    return canonical_json(data | {"signature": key.sign(canonical_json(data))})


def unseal_head(raw: bytes, verify: Callable[[bytes, str], bool], incident: str, where: str) -> Head:
    """Check form and signature of a head.

    Raises:
        Damaged: it was altered, or is another incident's.
    """
    data, signature = _open(raw, where)
    if not verify(canonical_json(data), signature):
        raise Damaged("was altered: its signature does not fit.", where, VERIFY)
    try:
        head = Head.model_validate_json(raw)
    except ValidationError as error:
        raise Damaged(f"is not a head: {error.errors()[0]['msg']}.", where, VERIFY) from error
    if head.incident != incident:
        raise Damaged(f"belongs to {head.incident}.", where, VERIFY)
    return head


def check_heads(chain: list[Sealed], before: Head | None, after: Head | None, where: str) -> None:
    """Compare the records read with the heads read before and after them.

    A writer makes the record, then its head, and repairs a head that lags before it makes another record. So the
    head is never ahead of the records (it would be: the tail was cut) and never more than one behind.

    Args:
        chain: the records.
        before: the head read before them.
        after: the head read after them (other writers may have gone on meanwhile).
        where: for messages.

    Raises:
        Damaged: the tail was cut, or the head was removed or put back to an old one.
    """
    if before is not None and before.seq > len(chain):
        raise Damaged(
            f"ends at record {len(chain)}, but record {before.seq} was signed: the tail was cut off.",
            where,
            VERIFY,
        )
    if (after.seq if after else 0) < len(chain) - 1:
        raise Damaged(
            f"has {len(chain)} records, but its head is {after.seq if after else 'missing'}: the head was put back.",
            where,
            VERIFY,
        )
    for head in (before, after):
        if head is not None and head.seq <= len(chain) and chain[head.seq - 1].digest != head.digest:
            raise Damaged(f"record {head.seq} is not the one that was signed as the newest.", where, VERIFY)
