"""A host of a plan: how it is reached, and the facts that prove which one it is (G7)."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from model.assets import SecretRef, Word
from model.canonical import Value


def public_key(text: str) -> str:
    """Type and base64 of an SSH public key.

    Raises:
        ValueError: it is none, or was cut.
    """
    parts = text.split()
    if len(parts) < 2 or not parts[0].startswith(("ssh-", "ecdsa-", "sk-")) or not _is_key(*parts[:2]):
        raise ValueError(
            "an SSH public key is one line `ssh-ed25519 AAAA…` as in /etc/ssh/ssh_host_ed25519_key.pub"
        )
    return " ".join(parts[:2])


def _is_key(kind: str, encoded: str) -> bool:
    """Whether the base64 holds a key of this kind (RFC 4253, 6.6): a cut line is found when the plan is read."""
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    fields: list[bytes] = []
    while len(blob) >= 4:
        size = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + size:
            return False
        fields.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return len(fields) >= 2 and fields[0] == kind.encode() and not blob


class Host(Value):
    """A host and the three facts of its identity: host key, machine-id, inventory role (G7)."""

    address: str = Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][A-Za-z0-9.:_-]*$")
    port: int = Field(default=22, ge=1, le=65535)
    user: Word = "root"
    key: SecretRef
    host_key: Annotated[str, AfterValidator(public_key)]
    machine_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    machine_id_file: str = Field(default="/etc/machine-id", pattern=r"^/")
    role: Literal["production", "staging"] = "production"
    sudo: bool = False
    state_dir: str = Field(default="/var/lib/reinstate", pattern=r"^/[^\x00\n]*$")

    @property
    def recorded_as(self) -> str:
        """The machine-id that recovery points of this host carry."""
        return self.machine_id
