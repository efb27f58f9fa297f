"""Whether an .rpm on a host is signed by a key that counts. rpm itself installs unsigned and unknown ones (lab.md).

Keys of the plan are put into a keyring of their own for the question, so that neither a host's damaged database nor a
key that somebody added there decides.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence

from blocks.hosts.base import Connection
from model.command import Command, printable
from model.errors import Transient

_SCRIPT = r"""
LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export LC_ALL PATH
file=$1 own=$2 database=$3
set --
if [ -n "$own" ]; then
    umask 077
    d=$(mktemp -d) || exit 90
    trap 'rm -rf -- "$d"' EXIT
    n=0
    while IFS= read -r line; do
        case $line in "-----BEGIN PGP PUBLIC KEY BLOCK-----"*) n=$((n + 1)) ;; esac
        printf '%s\n' "$line" >>"$d/$n.asc"
    done
    for key in "$d"/[1-9]*.asc; do
        rpmkeys --dbpath "$d/keyring" --import "$key" || exit 91
    done
    set -- --dbpath "$d/keyring"
elif [ -n "$database" ]; then set -- --dbpath "$database"
fi
rpmkeys "$@" --define '_pkgverify_level all' --checksig --verbose -- "$file" 2>&1
"""
_SIGNATURE = re.compile(r"\bsignature\b.*: *(?P<said>\S.*)$", re.IGNORECASE)
_DIGEST = re.compile(r"^\s*Payload .*digest.*: OK$|^\s*MD5 digest: OK", re.IGNORECASE)


def problem(connection: Connection, path: str, keys: Sequence[str], database: str = "") -> str:
    """Why a file is not to be trusted; empty when a key that counts signed it and all of it is as it was signed.

    Args:
        connection: the host.
        path: the .rpm on it.
        keys: armoured public keys that count; none: those of an rpm database.
        database: folder of that database; empty: the host's own.

    Raises:
        Transient: the connection was lost.
    """
    result = connection.run(
        Command(
            ("sh", "-c", _SCRIPT, "reinstate-signature", path, "own" if keys else "", database), sudo=True,
            stdin="".join(keys).encode(), timeout=300.0,
        )
    )  # fmt: skip
    if result.status is None:
        raise Transient(
            "the connection was lost while a signature was checked.", connection.name, "run it again"
        )
    if result.status in {90, 91}:
        return f"the plan's keys cannot be used on the host: {result.tail(2)}"
    return verdict(result.status, result.text, "the plan trusts" if keys else "the host trusts") or (
        "" if result.ok else f"rpmkeys says: {result.tail(2)}"
    )


def verdict(status: int, text: str, who: str) -> str:
    """What `rpmkeys --checksig --verbose` said: why the file is not to be trusted, or nothing."""
    lines = [line.strip() for line in text.splitlines()]
    said = [(match["said"].strip(), line) for line in lines if (match := _SIGNATURE.search(line))]
    spoken = [(word, line) for word, line in said if word != "NOTFOUND"]
    if not spoken:
        if any("digest" in line.lower() for line in lines):
            return "it is not signed"
        return printable(f"it is no package that rpm can read ({' '.join(lines[-1:])})")
    wrong = next((line for word, line in spoken if word != "OK"), "")
    if wrong:
        why = f"no key that {who} signed it" if "NOKEY" in wrong else "its signature is wrong"
        return printable(f"{why} ({wrong})")
    bad = next((line for line in lines if "digest" in line.lower() and not line.endswith(": OK")), "")
    if bad or status != 0 or not any(_DIGEST.search(line) for line in lines):
        return printable(f"it is not as it was signed ({bad[:120]})")
    return ""


def key_name(armoured: str) -> str:
    """How rpm names a public key, `gpg-pubkey-ID-CREATED`; empty when it is none we can read (RFC 4880, version 4)."""
    lines = [line.strip() for line in armoured.strip().splitlines()]
    body = "".join(line for line in lines[1:-1] if ":" not in line and not line.startswith("="))
    try:
        data = base64.b64decode(body, validate=True)
        first = data[0]
        if first & 0x40:
            length, start = data[1], 2
            if 192 <= length < 224:
                length, start = ((length - 192) << 8) + data[2] + 192, 3
            elif length == 255:
                length, start = int.from_bytes(data[2:6], "big"), 6
            tag = first & 0x3F
        else:
            size = 1 << (first & 3)
            length, start, tag = int.from_bytes(data[1 : 1 + size], "big"), 1 + size, first >> 2 & 0xF
        packet = data[start : start + length]
        if tag != 6 or packet[0] != 4:
            return ""
    except (binascii.Error, IndexError, ValueError):
        return ""
    told = hashlib.sha1(b"\x99" + len(packet).to_bytes(2, "big") + packet, usedforsecurity=False).hexdigest()
    return f"gpg-pubkey-{told[-8:]}-{packet[1:5].hex()}"
