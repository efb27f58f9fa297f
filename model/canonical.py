"""Canonical JSON and digests: one byte differs → another digest (G6)."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """Base of all domain models: frozen, unknown keys refused, compared by value."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", ser_json_inf_nan="strings"
    )


def canonical_json(value: object) -> bytes:
    """Serialise to JSON with sorted keys, no spaces, UTF-8 (RFC 8785 for the value types we use).

    Args:
        value: a pydantic model, or plain JSON data.

    Returns:
        The canonical bytes; equal values give equal bytes.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(value: object) -> str:
    """SHA-256 of the canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def now() -> datetime:
    """The present moment, UTC, whole milliseconds (what JSON round-trips)."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
