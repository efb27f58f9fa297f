"""Proving that a message came from a monitoring system: always over the raw bytes, in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from model.errors import Refused

TOLERANCE = 300.0
"""Seconds that a signed moment may be away from ours (Standard Webhooks)."""

_REMEDY = "see that the source signs with a secret that the plan names, and that both clocks are right"


def refuse(what: str) -> Refused:
    """The refusal of a message that is not proven."""
    return Refused(what, "alert", _REMEDY)


def require_token(headers: Mapping[str, str], secrets: Sequence[str]) -> None:
    """`Authorization: Bearer TOKEN`, or basic authentication with the token as password.

    Raises:
        Refused: neither is right.
    """
    kind, _, value = headers.get("authorization", "").partition(" ")
    given = value.strip().encode()
    if kind.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).partition(b":")[2]
        except binascii.Error:
            given = b""
    elif kind.lower() != "bearer":
        given = b""
    if not given or not _any_equal(given, [secret.encode() for secret in secrets]):
        raise refuse("its token is missing or wrong.")


def require_hmac(given: Sequence[str], body: bytes, secrets: Sequence[str]) -> None:
    """One of several hexadecimal HMAC-SHA256 over the body.

    Raises:
        Refused: none is right.
    """
    wanted = [hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode() for secret in secrets]
    if not any(_any_equal(one.strip().lower().encode(), wanted) for one in given):
        raise refuse("its signature is missing or wrong.")


def require_recent(moment: str, at: datetime) -> None:
    """A signed Unix time near ours.

    Raises:
        Refused: it is no time, or too far away: an old message sent again.
    """
    if not (moment.isdecimal() and len(moment) <= 12):
        raise refuse("its time is missing.")
    if abs(at.timestamp() - int(moment)) > TOLERANCE:
        raise refuse(f"it was signed {at.timestamp() - int(moment):.0f} s ago.")


def require_standard(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], at: datetime) -> str:
    """Standard Webhooks 1.0: `whsec_…` secrets (HMAC) and `whpk_…` public keys (Ed25519), several at a time.

    Returns:
        The message's id, the same whenever it is sent again.

    Raises:
        Refused: not signed by any of them, or too long ago.
    """
    ident, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not ident or len(ident) > 200 or "." in ident:
        raise refuse("its `webhook-id` is missing or wrong.")
    require_recent(moment, at)
    signed = f"{ident}.{moment}.".encode() + body
    for one in headers.get("webhook-signature", "").split()[:10]:
        version, _, text = one.partition(",")
        try:
            given = base64.b64decode(text, validate=True)
        except binascii.Error:
            continue
        if any(_standard_holds(version, given, signed, secret) for secret in secrets):
            return ident
    raise refuse("its signature is missing or wrong.")


def _standard_holds(version: str, given: bytes, signed: bytes, secret: str) -> bool:
    kind, _, text = secret.partition("_")
    try:
        key = base64.b64decode(text or kind, validate=True)
    except binascii.Error:
        return False
    if version == "v1" and kind != "whpk":
        return hmac.compare_digest(hmac.new(key, signed, hashlib.sha256).digest(), given)
    if version == "v1a" and kind == "whpk" and len(key) == 32:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(given, signed)
        except InvalidSignature:
            return False
        return True
    return False


def _any_equal(given: bytes, wanted: Sequence[bytes]) -> bool:
    found = False
    for one in wanted:
        found |= hmac.compare_digest(given, one)
    return found
