"""The installation's Ed25519 key: signs journal records and manifests; the public halves verify without it, offline.

Layout of the key folder: `signing-key.pem` (mode 600) and `public/KEY_ID.pem`, one for each key there ever was. To
change the key, move `signing-key.pem` away: the next start makes a new one, and what the old one signed stays valid.
Whoever can write this folder can add a key, so keep a copy of the public file elsewhere and hand it to
`reinstate journal verify`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from blocks import durable
from model.errors import Damaged, PreconditionFailed

PRIVATE_NAME = "signing-key.pem"
PUBLIC_FOLDER = "public"


def key_id_of(key: Ed25519PublicKey) -> str:
    """The name of a key: the first 16 hex digits of the SHA-256 of its raw public bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def decode_signature(signature: str) -> bytes | None:
    """The signature's bytes; None when the text is not the one canonical base64 of its bytes."""
    try:
        data = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == signature else None


class Verifier:
    """Verifies signatures from public keys alone.

    Args:
        keys: key id → public key; all of them count.
    """

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = dict(keys)

    @classmethod
    def load(cls, path: Path) -> Verifier:
        """Read one public key file, or every `KEY_ID.pem` of a folder.

        Raises:
            PreconditionFailed: there is no public key there.
            Damaged: a file is not the key its name says, or was altered.
        """
        files = sorted(path.glob("*.pem")) if path.is_dir() else [path]
        keys: dict[str, Ed25519PublicKey] = {}
        for file in files:
            data = durable.read(file)
            if data is not None:
                key = _parse_public(data, file)
                if path.is_dir() and file.stem != key_id_of(key):
                    raise Damaged(
                        f"holds the key {key_id_of(key)}, not the one its name says.",
                        where=str(file),
                        remedy="bring the file back from a copy",
                    )
                keys[key_id_of(key)] = key
        if not keys:
            raise PreconditionFailed(
                "there is no public key here.",
                where=str(path),
                remedy="name the public key file, `keys/public/KEY_ID.pem` of the installation that signed",
            )
        return cls(keys)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of the keys that count."""
        return tuple(self._keys)

    def verify(self, data: bytes, signature: str, key_id: str = "") -> bool:
        """Whether one of the keys signed this.

        Args:
            data: what was signed.
            signature: base64, canonical.
            key_id: only this key counts; empty: any.
        """
        decoded = decode_signature(signature)
        if decoded is None:
            return False
        return any(
            _signed(key, decoded, data) for name, key in self._keys.items() if not key_id or key_id == name
        )


def _signed(key: Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _parse_public(data: bytes, file: Path) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey) or _public_pem(key) != data:
        raise Damaged(
            "is not an Ed25519 public key as we write it.",
            where=str(file),
            remedy="bring the file back from a copy",
        )
    return key


class SigningKey:
    """The private key of this installation, with every public key it ever had.

    Args:
        private: the key.
        verifier: all public keys, this one's too.
    """

    def __init__(self, private: Ed25519PrivateKey, verifier: Verifier) -> None:
        self._private = private
        self.verifier = verifier
        self.key_id = key_id_of(private.public_key())

    @classmethod
    def load_or_create(cls, folder: Path) -> SigningKey:
        """Read the key, or make one; of several processes that start at once, one makes it and all read it.

        Raises:
            PreconditionFailed: others can read the key, or the folder cannot be written.
            Damaged: the key file is not a key.
        """
        public = durable.make_folder(durable.make_folder(folder) / PUBLIC_FOLDER)
        file = folder / PRIVATE_NAME
        data = durable.read(file)
        if data is None:
            fresh = Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            try:
                durable.create(file, fresh, folder)
                data = fresh
            except FileExistsError:
                data = file.read_bytes()
        private = _parse_private(data, file)
        own = private.public_key()
        public_file = public / f"{key_id_of(own)}.pem"
        if not public_file.exists():
            durable.replace(public_file, _public_pem(own), folder)
        return cls(private, Verifier.load(public))

    def sign(self, data: bytes) -> str:
        """The signature, base64."""
        return base64.b64encode(self._private.sign(data)).decode()

    def verify(self, data: bytes, signature: str) -> bool:
        """Whether this key or an earlier one of the installation signed this."""
        return self.verifier.verify(data, signature)


def _parse_private(data: bytes, file: Path) -> Ed25519PrivateKey:
    if file.stat().st_mode & 0o077:
        raise PreconditionFailed(
            "others can read the signing key.",
            where=str(file),
            remedy=f"`chmod 600 {file}`, and make a new key if others had access",
        )
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise Damaged(
            "is not an Ed25519 private key.",
            where=str(file),
            remedy="bring it back from a copy; or move it away for a new key, the old public keys stay valid",
        )
    return key
