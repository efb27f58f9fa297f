"""Canonical JSON and digests: one byte differs → another digest (G6)."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, WithJsonSchema


class Value(BaseModel):
    """Base of all domain models: frozen, unknown keys refused, compared by value."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", ser_json_inf_nan="strings"
    )


def storable(text: str) -> str:
    """A name from a host as it is stored: each byte that is not UTF-8 (a surrogate escape) as U+10FE80…U+10FEFF.

    JSON and digests need real characters; these 128 lie in the last private-use plane, where no name uses them.
    """
    if text.isascii():
        return text
    return _ODD.sub(lambda match: chr(ord(match[0]) - 0xDC00 + 0x10FE00), text)


def from_host(value: object) -> str:
    """A name as the host's tools need it: surrogate escapes again, for `encode("utf-8", "surrogateescape")`.

    Raises:
        ValueError: it is no text, or holds a surrogate that stands for no byte.
    """
    if not isinstance(value, str):
        raise ValueError("a text is needed here")
    if value.isascii():  # nearly always, and a baseline has tens of thousands
        return value
    text = _STORED.sub(lambda match: chr(ord(match[0]) - 0x10FE00 + 0xDC00), value)
    text.encode("utf-8", "surrogateescape")
    return text


_ODD = re.compile("[\udc80-\udcff]")
_STORED = re.compile("[\U0010fe80-\U0010feff]")

HostText = Annotated[
    str,
    PlainValidator(from_host),
    PlainSerializer(storable, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string"}),
]
"""Text from a host whose bytes need not be UTF-8 (file names, what a check found); it survives JSON unchanged."""


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
