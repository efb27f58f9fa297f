"""Faults of a host's own state: a full disk, an expired certificate (R-DRILL)."""

from __future__ import annotations

import base64
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from checks.certificates import read_pem
from model.assets import SystemAsset
from model.canonical import now
from model.errors import PreconditionFailed
from model.faults import Expected, Planted
from model.finding import Code
from tasks.faults.site import Site

_FULL = (Code.SERVICE_DOWN, Code.UNIT_FAILED, Code.DATABASE_UNREACHABLE, Code.DATABASE_TABLE_UNREADABLE)
"""What may follow where there is no room."""
_END = "-----END CERTIFICATE-----"


def prepare_disk(site: Site) -> Planted:
    """The mount must be one that nothing of the host or the repair stands on."""
    mount, asset = site.fault.target, site.asset(SystemAsset)
    if mount not in asset.mounts:
        raise PreconditionFailed(
            f"{mount or 'no mount'} is none of those the asset watches.",
            site.connection.name,
            "choose the fault again",
        )
    site.pick("mount", mount=mount, state=site.connection.host.state_dir, most=site.fault.most)
    filler = f"{mount.rstrip('/')}/.reinstate-drill-{site.fault.id}"
    return site.planted(
        f"{mount} was filled to its last byte.", (mount,),
        [Expected(code=Code.DISK_FULL, asset=site.fault.asset, subject=mount)],
        follows=[Expected(code=code) for code in _FULL], added=(filler,),
    )  # fmt: skip


def strike_disk(site: Site, planted: Planted) -> None:
    """One file takes all the room."""
    state = site.connection.host.state_dir
    (filler,) = planted.left.added
    site.plant("mend")  # of an attempt that was cut off
    room = site.pick("mount", mount=site.fault.target, state=state, most=site.fault.most).free
    site.plant("strike", verb="fill", path=filler, room=room)


def prepare_certificate(site: Site) -> Planted:
    """Choose a file whose certificates all hold today."""
    site.asset(SystemAsset)
    found = site.pick("text", patterns=[site.fault.target])
    good = [
        path
        for path, text in found.texts.items()
        if _holds(base64.b64decode(text).decode("utf-8", "replace"))
    ]
    if not good:
        raise PreconditionFailed(
            f"no file that matches {site.fault.target} holds a valid certificate.", site.connection.name,
            "choose another fault, or correct `certificates` of the asset",
        )  # fmt: skip
    path = site.fault.pick(good)[0]
    real = found.reals[path]
    return site.planted(
        f"The certificate in {path} was replaced by one that expired yesterday.", (path,),
        [Expected(code=Code.CERTIFICATE_EXPIRED, asset=site.fault.asset, subject=path)],
        follows=[
            Expected(code=Code.CERTIFICATE_EXPIRED, asset=site.fault.asset, subject=other)
            for other in found.reals if found.reals[other] == real
        ],
        paths=(real,),
    )  # fmt: skip


def strike_certificate(site: Site, planted: Planted) -> None:
    """The first certificate of the original, expired; the rest of the file as it was."""
    (path,) = planted.left.paths
    site.plant("mend")  # of an attempt that was cut off
    text = base64.b64decode(site.pick("text", patterns=[_literal(path)]).texts[path]).decode(
        "utf-8", "replace"
    )
    content = base64.b64encode(expired(text).encode()).decode()
    site.plant("strike", verb="write", paths=[path], content=content)


def mend(site: Site, _planted: Planted) -> None:
    """The original comes back; what filled the disk goes."""
    site.plant("mend")


def _literal(path: str) -> str:
    """A glob pattern that matches nothing else."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in path)


def _holds(text: str) -> bool:
    certificates, broken = read_pem(text)
    moment = now()
    return bool(certificates) and not broken and all(one.begins <= moment < one.ends for one in certificates)


def expired(text: str) -> str:
    """A PEM file whose first certificate, for the same name and key, ended yesterday."""
    before, begin, rest = text.partition("-----BEGIN CERTIFICATE-----")
    body, end, after = rest.partition(_END)
    old = x509.load_pem_x509_certificate(f"{begin}{body}{end}\n".encode())
    names = x509.SubjectAlternativeName
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(old.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - timedelta(days=91))
        .not_valid_after(now() - timedelta(days=1))
    )
    for extension in old.extensions:
        if isinstance(extension.value, names):
            builder = builder.add_extension(extension.value, critical=extension.critical)
    made = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return before + made.public_bytes(Encoding.PEM).decode().rstrip("\n") + after
