"""Messages of Amazon SNS: signature version 2 over named fields, by a certificate of Amazon's, for one topic only.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from blocks.alerts.proving import refuse
from model.errors import Transient

_HOST = re.compile(r"sns\.[a-z0-9-]+\.amazonaws\.com(\.cn)?")
_FIELDS = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}  # fmt: skip
OLDEST = 3600.0
"""Seconds after which SNS has given up delivering (its default policy is shorter)."""

Fetch = Callable[[str], bytes]


def fetch(url: str) -> bytes:
    """Get a certificate, or confirm a subscription; only ever called with an address of Amazon SNS.

    Raises:
        Transient: it does not answer.
    """
    try:
        answer = httpx.get(url, timeout=10, follow_redirects=False)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise Transient(
            f"Amazon SNS does not answer: {type(error).__name__}.", urlsplit(url).hostname or ""
        ) from None
    return answer.content[: 64 * 1024]


def require_sns(data: Mapping[str, Any], topic: str, at: datetime, get: Fetch = fetch) -> str:
    """Prove a message of SNS.

    Args:
        data: its JSON object.
        topic: ARN of the only topic that counts.
        at: the present moment.
        get: fetches the certificate.

    Returns:
        Its type: `Notification`, or a confirmation.

    Raises:
        Refused: of another topic, too old, or not signed by Amazon. Transient: the certificate cannot be fetched.
    """
    kind = data.get("Type")
    fields = _FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None:
        raise refuse("it is no message of Amazon SNS.")
    if data.get("TopicArn") != topic:
        raise refuse("it is of another topic.")
    if data.get("SignatureVersion") != "2":
        raise refuse("its signature is not of version 2 (set SignatureVersion of the topic to 2).")
    text = "".join(f"{name}\n{data[name]}\n" for name in fields if isinstance(data.get(name), str))
    url = data.get("SigningCertURL")
    if not is_amazon(url) or not str(url).endswith(".pem"):
        raise refuse("its certificate is not one of Amazon SNS.")
    try:
        key = x509.load_pem_x509_certificate(get(str(url))).public_key()
        signature = base64.b64decode(str(data.get("Signature", "")), validate=True)
        if not isinstance(key, RSAPublicKey):
            raise refuse("its certificate is not one of Amazon SNS.")
        key.verify(signature, text.encode(), PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError, binascii.Error):
        raise refuse("its signature is wrong.") from None
    _require_recent(str(data.get("Timestamp", "")), at)
    return str(kind)


def _require_recent(moment: str, at: datetime) -> None:
    try:
        when = datetime.fromisoformat(moment)
        age = (at - when).total_seconds()
    except (ValueError, TypeError):
        raise refuse("its time is missing.") from None
    if not -300 <= age <= OLDEST:
        raise refuse(f"it was signed {age:.0f} s ago.")


def is_amazon(url: object) -> bool:
    """Whether this is an https address of Amazon SNS and nothing that looks like one."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    right = parts.scheme == "https" and port is None and parts.username is None
    return right and _HOST.fullmatch(parts.hostname or "") is not None


def confirm(data: Mapping[str, Any], get: Fetch = fetch) -> None:
    """Confirm a subscription that was proven before.

    Raises:
        Refused: its address is not one of Amazon SNS. Transient: it does not answer.
    """
    url = data.get("SubscribeURL")
    if not is_amazon(url):
        raise refuse("its address of confirmation is not one of Amazon SNS.")
    get(str(url))
