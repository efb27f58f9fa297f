"""Documents beside the journal that must not be altered: signed by this installation, and bound to their place."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import ValidationError

from blocks.keys import SigningKey
from model.canonical import Value, canonical_json
from model.errors import Damaged

V = TypeVar("V", bound=Value)
REMEDY = (
    "keep the file as it is for the investigation, and bring the journal store's documents back from a copy"
)


def seal(path: str, value: Value, key: SigningKey) -> bytes:
    """The document as it is stored under its path."""
    data = {"path": path, "document": value.model_dump(mode="json")}
    return canonical_json(data | {"signature": key.sign(canonical_json(data))})


def unseal(path: str, raw: bytes, model: type[V], key: SigningKey) -> V:
    """The document, once signature and place are proven.

    Raises:
        Damaged: one byte differs from what we wrote, or it is the document of another path.
    """
    try:
        data = json.loads(raw)
        right = isinstance(data, dict) and canonical_json(data) == raw
        signature = str(data.pop("signature", "")) if right else ""
    except (ValueError, RecursionError):
        right, signature, data = False, "", {}
    if not right or not key.verify(canonical_json(data), signature):
        raise Damaged("was altered: its signature does not fit.", path, REMEDY)
    if data.get("path") != path:
        raise Damaged(
            f"is the document of {str(data.get('path'))[:200]!r}, put in another place.", path, REMEDY
        )
    try:
        return model.model_validate(data["document"])
    except (ValidationError, KeyError) as error:
        raise Damaged(f"cannot be read: {str(error).splitlines()[0]}.", path, REMEDY) from None
