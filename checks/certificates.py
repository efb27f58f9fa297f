"""Certificates: read here, never by the host's tools; from PEM files of the host and from its TLS servers."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID

from blocks.hosts.base import Connection
from checks.judging import Judging
from model.command import Command
from model.errors import ReinstateError, Transient
from model.finding import Code, Degree

ANSWER_SECONDS = 10.0
_KEYS = re.compile("-----BEGIN [A-Z0-9 ]*(KEY|PARAMETERS)-----")
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Certificate:
    """When a certificate holds, and whose it is."""

    subject: str
    begins: datetime
    ends: datetime


def read_pem(text: str) -> tuple[list[Certificate], int]:
    """Certificates of a PEM file in their order, and how many blocks are damaged; keys and comments are passed over."""
    found: list[Certificate] = []
    broken = 0
    for block in text.split(_BEGIN)[1:]:
        body, end, _ = block.partition(_END)
        try:
            if not end:
                raise ValueError("cut off")
            found.append(_certificate(x509.load_pem_x509_certificate(f"{_BEGIN}{body}{end}\n".encode())))
        except (ValueError, TypeError):
            broken += 1
    return found, broken


def _certificate(certificate: x509.Certificate) -> Certificate:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if names else certificate.subject.rfc4514_string()
    return Certificate(name, certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def ask(connection: Connection, endpoints: Iterable[str]) -> dict[str, bytes | str]:
    """What TLS servers show, as seen from the host: the certificate in DER, or why there is none.

    Whether the certificate is trusted is the clients' affair; here only its dates count, so nothing is verified.

    Raises:
        Transient: the connection to the host was lost.
    """
    found: dict[str, bytes | str] = {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for endpoint in endpoints:
        name, _, port = endpoint.rpartition(":")
        try:
            with (
                connection.tunnel(name, int(port)) as local,
                socket.create_connection(("127.0.0.1", local), timeout=ANSWER_SECONDS) as plain,
                context.wrap_socket(plain, server_hostname=name) as secured,
            ):
                found[endpoint] = secured.getpeercert(binary_form=True) or "it shows no certificate"
        except (OSError, ReinstateError) as error:
            # A port nobody listens on and a connection that is gone look alike: the host decides.
            if isinstance(error, Transient) and connection.run(Command(("true",))).status is None:
                raise
            found[endpoint] = error.what if isinstance(error, ReinstateError) else str(error)
    return found


def judge(j: Judging) -> None:
    """Add what is expired, not valid yet, unreadable, or near its end."""
    now, soon = j.data.received, timedelta(seconds=j.asset.certificate_warning)
    for path in j.data.named("absent"):
        if not any(sign in path for sign in "*?["):
            j.examined += 1
            j.find(Code.CERTIFICATE_EXPIRED, path, "a valid certificate", "no such file")
    if "sed" in j.data.lines("missing"):
        j.note("certificates in files: the host has no working `sed`")
    for path, text in j.data.named("pem").items():
        certificates, broken = read_pem(text)
        if not certificates and not broken and _KEYS.search(text):
            continue  # a file of keys
        j.examined += 1
        if broken or not certificates:
            said = f"{broken} damaged" if broken else "no certificate"
            j.find(Code.CERTIFICATE_EXPIRED, path, "certificates that can be read", said)
        else:
            _dates(j, path, certificates, now, soon)
    for endpoint, shown in j.data.endpoints.items():
        if isinstance(shown, str):
            j.note(f"the certificate of {endpoint}: {shown}")
            continue
        j.examined += 1
        try:
            certificate = _certificate(x509.load_der_x509_certificate(shown))
        except (ValueError, TypeError):
            j.find(Code.CERTIFICATE_EXPIRED, endpoint, "a certificate that can be read", "a damaged one")
        else:
            _dates(j, endpoint, [certificate], now, soon)


def _dates(
    j: Judging, subject: str, certificates: Sequence[Certificate], now: datetime, soon: timedelta
) -> None:
    first = min(certificates, key=lambda certificate: certificate.ends)
    later = max(certificates, key=lambda certificate: certificate.begins)
    whose = f" ({first.subject})" if len(certificates) > 1 else ""
    if first.ends <= now:
        said = f"expired {first.ends:%Y-%m-%d %H:%M} UTC{whose}"
        j.find(Code.CERTIFICATE_EXPIRED, subject, "a valid certificate", said)
    elif later.begins > now:
        said = f"not valid before {later.begins:%Y-%m-%d %H:%M} UTC"
        j.find(Code.CERTIFICATE_EXPIRED, subject, "a valid certificate", said)
    elif first.ends - now <= soon:
        days = (first.ends - now).total_seconds() / 86400
        j.find(
            Code.CERTIFICATE_EXPIRED, subject, f"valid for {soon.total_seconds() / 86400:g} more days",
            f"ends {first.ends:%Y-%m-%d %H:%M} UTC, in {days:.1f} days{whose}", Degree.SLIGHT,
        )  # fmt: skip
