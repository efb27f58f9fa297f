"""Manifests signed by this installation: sealing, opening, and the recovery point a manifest stands for.

A manifest counts only where it belongs: its asset, point and object key must be those of the place it was read from, so
that a genuine manifest copied to another asset or an older one put in place of a newer is found (G7, G8).
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from pydantic import ValidationError

from blocks.keys import SigningKey
from model.canonical import canonical_json, digest
from model.errors import BadInput, Damaged
from model.manifest import Manifest, RecoveryPoint, SignedManifest

MANIFEST_NAME = "manifest.json"
MANIFEST_LIMIT = 1 << 30
"""Bytes of a manifest that are read at most; a larger one is not ours."""

SMALL = 1 << 20
"""Bytes up to which a manifest of another form is read, to say what is wrong with it; others cost memory."""

_FORM = re.compile(
    rb'{"key_id":"([A-Za-z0-9_-]*)","manifest":({.*}),"signature":"([A-Za-z0-9+/=_-]*)"}', re.DOTALL
)
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_POINT = re.compile(r"[0-9]{8}T[0-9]{6}Z")


class Opened(NamedTuple):
    """A manifest, and the SHA-256 of its canonical JSON, as 64 hex digits."""

    manifest: Manifest
    sha256: str


def check_key(key: str) -> str:
    """The key, when it stays inside the store and every segment is a plain name (G10).

    Raises:
        BadInput: absolute, empty, `..`, or other characters.
    """
    if not all(_SEGMENT.fullmatch(part) for part in key.split("/")):
        raise BadInput(
            f"{key[:200]!r} is not a key of a backup store.", remedy="use letters, digits and _ . - /"
        )
    return key


def manifest_key(key: str) -> str:
    """Key of the manifest beside an object."""
    return f"{check_key(key).rpartition('/')[0]}/{MANIFEST_NAME}"


def is_manifest_of(asset: str, key: str) -> bool:
    """Whether a key is `ASSET/POINT/manifest.json`."""
    parts = key.split("/")
    return (
        len(parts) == 3
        and parts[0] == asset
        and parts[2] == MANIFEST_NAME
        and bool(_POINT.fullmatch(parts[1]))
    )


def seal(manifest: Manifest, signing: SigningKey) -> bytes:
    """The signed manifest as it is stored.

    Raises:
        BadInput: its object key is not `ASSET/POINT/NAME`.
    """
    if check_key(manifest.object_key).rpartition("/")[0] != f"{manifest.asset}/{manifest.point}":
        raise BadInput(
            f"the object {manifest.object_key!r} is not below {manifest.asset}/{manifest.point}/.",
            remedy="report this as a bug",
        )
    signed = SignedManifest(
        manifest=manifest, key_id=signing.key_id, signature=signing.sign(canonical_json(manifest))
    )
    return canonical_json(signed)


def published(manifest: Manifest, source: str) -> RecoveryPoint:
    """The recovery point of a manifest that was just stored."""
    return point_of(Opened(manifest, digest(manifest)), source)


def unseal(data: bytes, key: str, signing: SigningKey, where: str) -> Opened:
    """The manifest, once its signature and its place are proven.

    What is signed is what `seal` wrote, byte for byte, so its hash is the digest of the manifest.

    Args:
        data: what was stored.
        key: the key it was stored under, `ASSET/POINT/manifest.json`.
        signing: who may have signed it: this key, or an earlier one of this installation.
        where: the object, for people.

    Raises:
        Damaged: not a manifest, signature wrong, or a manifest of another place.
    """
    remedy = "use another recovery point; keep this one for the investigation"
    form = _FORM.fullmatch(data)
    if form is None and len(data) > SMALL:
        raise Damaged("the manifest is not in the form we write.", where=where, remedy=remedy)
    if form is not None and not signing.verifier.verify(
        form[2], form[3].decode(), form[1].decode() or "none"
    ):
        signer = form[1].decode()[:16]
        raise Damaged(f"the manifest's signature (key {signer}) is not ours.", where=where, remedy=remedy)
    try:
        if form is None:
            SignedManifest.model_validate_json(data)
            raise Damaged("the manifest is not in the form we write.", where=where, remedy=remedy)
        manifest = Manifest.model_validate_json(form[2])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise Damaged(f"is not a signed manifest: {first}.", where=where, remedy=remedy) from None
    if (
        manifest_key(manifest.object_key) != key
        or key != f"{manifest.asset}/{manifest.point}/{MANIFEST_NAME}"
    ):
        raise Damaged(
            f"this is the manifest of {manifest.asset}/{manifest.point}, put in another place.",
            where=where,
            remedy=remedy,
        )
    return Opened(manifest, hashlib.sha256(form[2]).hexdigest())


def point_of(opened: Opened, source: str) -> RecoveryPoint:
    """The recovery point a manifest stands for."""
    manifest = opened.manifest
    return RecoveryPoint(
        id=manifest.point,
        asset=manifest.asset,
        source=source,
        taken_at=manifest.taken_at,
        key=manifest.object_key,
        sha256=manifest.object_sha256,
        bytes=manifest.object_bytes,
        manifest_sha256=opened.sha256,
    )


def same_as_named(opened: Opened, point: RecoveryPoint, where: str) -> Manifest:
    """The manifest, when it is the very one the (signed-off) point names.

    Raises:
        Damaged: another manifest was put in its place.
    """
    if point_of(opened, point.source) != point:
        raise Damaged(
            f"the manifest is not the one recovery point {point.id} names; it was replaced.",
            where=where,
            remedy="propose again with a point that verifies; keep this one for the investigation",
        )
    return opened.manifest


class Hashing:
    """Hash and count of bytes passing by."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.bytes = 0

    def update(self, data: bytes) -> bytes:
        """Take note of the data and return it."""
        self._hash.update(data)
        self.bytes += len(data)
        return data

    @property
    def result(self) -> tuple[str, int]:
        """SHA-256 and number of bytes so far."""
        return self._hash.hexdigest(), self.bytes


def read_back(sent: tuple[str, int], stored: tuple[str, int], where: str) -> tuple[str, int]:
    """What was sent, when what is stored is the same.

    Raises:
        Damaged: it is not.
    """
    if sent != stored:
        raise Damaged(
            f"read back {stored[1]} bytes with hash {stored[0][:12]}, but {sent[1]} bytes with hash {sent[0][:12]} "
            "were sent.",
            where=where,
            remedy="look at the storage (disk, server, network); nothing was published",
        )
    return sent
