"""Proofs of identity at a gate: one-time codes and SSH signatures, verified by us and never by Prefect (R-ORG-5, G6).

Neither a code nor a secret appears in a message, a document or a journal record: a code leaves only its time step.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyotp

from blocks.journals.base import JournalStore
from model.canonical import canonical_json
from model.command import printable
from model.errors import BadInput, Damaged, PreconditionFailed, Refused, Unsupported
from model.plan import Person

STEP = 30
"""Seconds a one-time code lives (RFC 6238); the code of the step before and after counts too."""

DIGITS = 6
WINDOW = 900
"""Seconds over which wrong codes are counted."""

WRONG_ALLOWED = 5
"""Wrong codes of one person in WINDOW after which even right ones are refused (NIST SP 800-63B, 5.2.2)."""

NAMESPACE = "reinstate-signoff"
"""Namespace of the SSH signatures: a signature made for another purpose is no sign-off."""

_MAX_SIGNATURE = 16 * 1024
_PRINCIPAL = "signer"


def verify_totp(
    store: JournalStore,
    secrets_resolver: Callable[[str], str],
    person_id: str,
    person: Person,
    code: str,
    claim: str,
    at: datetime,
) -> str:
    """Check a one-time code; it is then used, for ever and for all incidents.

    Args:
        store: where used codes and wrong attempts are kept.
        secrets_resolver: secret reference → secret.
        person_id: id of the person in the plan.
        person: the person.
        code: what was typed; blanks do not matter.
        claim: names this very answer (gate, form, …): reading the same answer again gives the same result.
        at: when the answer was given, with time zone.

    Returns:
        The proof for `Vote.proof_ref`: `totp:STEP`.

    Raises:
        Refused: the code is wrong, was used, or too many were wrong; says what the person does.
        PreconditionFailed: the person's secret is not a base32 secret.
    """
    if person.totp is None:
        raise Refused(
            f"{person_id} has no one-time code in the plan.",
            remedy="sign with `reinstate approve` (SSH key), or add `totp` to the person in the plan",
        )
    code = "".join(code.split())
    if not (len(code) == DIGITS and code.isascii() and code.isdecimal()):
        raise Refused(
            f"that is not a one-time code of {person_id}.", remedy="type the six digits your app shows now"
        )
    secret = secrets_resolver(person.totp)
    attempts = _Attempts(store, person_id, at)
    attempts.reserve(hashlib.sha256(f"{claim}\0{code}".encode()).hexdigest())
    step = matching_step(secret, code, at, person_id)
    if step is None:
        raise Refused(
            f"the one-time code of {person_id} is not right; {attempts.left} more wrong ones are allowed.",
            remedy="wait for the next code, type it, and check that the clock of your phone is right",
        )
    if not store.use_code(person_id, step, claim):
        raise Refused(
            f"this one-time code of {person_id} was used before.",
            remedy=f"wait up to {STEP} s for the next code and type that",
        )
    attempts.forgive()
    return f"totp:{step}"


def matching_step(secret: str, code: str, at: datetime, person_id: str) -> int | None:
    """The time step whose code this is, looking at all three in constant time."""
    now_step = int(at.timestamp()) // STEP
    found: int | None = None
    try:
        totp = pyotp.TOTP(secret.strip().replace(" ", "").upper(), digits=DIGITS, interval=STEP)
        for step in (now_step - 1, now_step + 1, now_step):
            if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode()):
                found = step
    except (binascii.Error, ValueError):
        raise PreconditionFailed(
            f"the one-time-code secret of {person_id} is not base32 of 112 bits or more.",
            remedy=f"correct what the plan's people.{person_id}.totp refers to, or sign with an SSH key",
        ) from None
    return found


class _Attempts:
    """Counts wrong codes of one person. An attempt is counted before it is looked at, so many at once gain nothing.

    Each attempt claims a slot of the current WINDOW by exclusive create; a right one is then marked and counts no more.
    """

    def __init__(self, store: JournalStore, person_id: str, at: datetime) -> None:
        self._store = store
        self._person = person_id
        self._at = at.astimezone(UTC)
        self._window = int(at.timestamp()) // WINDOW
        self._slot = 0
        self.left = WRONG_ALLOWED

    def reserve(self, attempt: str) -> None:
        """Claim a slot.

        Raises:
            Refused: too many wrong codes within WINDOW.
        """
        wrong = sum(moment > self._at - timedelta(seconds=WINDOW) for moment in self._before())
        while wrong < WRONG_ALLOWED:
            mark = self._mark(self._window, self._slot)
            if mark != "right":
                wrong += 1
                if self._store.use_code(f"{self._person}+attempts", self._number(), attempt):
                    if mark is None:
                        self._write(self._at.isoformat())
                    self.left = WRONG_ALLOWED - wrong
                    return
            self._slot += 1
        raise Refused(
            f"{WRONG_ALLOWED} wrong one-time codes of {self._person} within {WINDOW // 60} minutes: "
            "no code is taken for now.",
            remedy=f"wait {WINDOW // 60} minutes, or sign with `reinstate approve` (SSH key); "
            "if these were not you, tell the leading group",
        )

    def forgive(self) -> None:
        """The code was right: its slot does not count."""
        self._write("right")

    def _before(self) -> list[datetime]:
        """Moments of the wrong attempts of the window before this one."""
        found: list[datetime] = []
        slot = 0
        while (mark := self._mark(self._window - 1, slot)) is not None:
            if mark != "right":
                found.append(datetime.fromisoformat(mark))
            slot += 1
        return found

    def _number(self) -> int:
        return self._window * 100_000 + self._slot

    def _path(self, window: int, slot: int) -> str:
        return f"people/{self._person}/attempts/{window}-{slot}.json"

    def _mark(self, window: int, slot: int) -> str | None:
        data = self._store.get(self._path(window, slot))
        if data is None:
            return None
        try:
            mark = str(json.loads(data)["attempt"])
            if mark != "right":
                datetime.fromisoformat(mark)
        except (ValueError, KeyError, TypeError):
            raise Damaged(
                f"a counted attempt of {self._person} was altered.",
                where=self._path(window, slot),
                remedy="sign with `reinstate approve` (SSH key) and find out who altered it",
            ) from None
        return mark

    def _write(self, mark: str) -> None:
        self._store.put(self._path(self._window, self._slot), canonical_json({"attempt": mark}))


def statement(
    incident: str, gate: str, digest: str, person: str, decision: str, reason: str, nonce: str
) -> bytes:
    """What an SSH signature signs: canonical JSON of the whole vote, so not one word of it can be changed."""
    return canonical_json(
        {
            "decision": decision,
            "digest": digest,
            "gate": gate,
            "incident": incident,
            "nonce": nonce,
            "person": person,
            "purpose": NAMESPACE,
            "reason": reason,
        }
    )


def sign_statement(text: bytes, key: Path) -> str:
    """Sign a statement with a private key, or with the agent when `key` is a public key file.

    Returns:
        The armoured signature.

    Raises:
        BadInput: ssh-keygen could not sign with this key.
        Unsupported: there is no ssh-keygen.
    """
    result = _ssh_keygen(["-Y", "sign", "-f", str(key.absolute()), "-n", NAMESPACE], text)
    if result.returncode != 0 or b"SSH SIGNATURE" not in result.stdout:
        raise BadInput(
            f"ssh-keygen could not sign: {_last_line(result.stderr)}",
            where=str(key),
            remedy="name your private key file, readable only by you, or load it into ssh-agent",
        )
    return result.stdout.decode("ascii")


def verify_ssh(person: Person, text: bytes, signature: str) -> str:
    """Check that one of the person's SSH keys signed exactly this statement.

    Returns:
        The proof for `Vote.proof_ref`: the signature itself, so anyone can verify it again later.

    Raises:
        Refused: forged, made by another key, for another statement or another purpose.
        Unsupported: there is no ssh-keygen.
    """
    if not person.ssh_keys:
        raise Refused(
            f"{person.name} has no SSH key in the plan.",
            remedy="sign with a one-time code, or add `ssh_keys` to the person in the plan",
        )
    armoured = signature.strip() + "\n"
    wrong = Refused(
        f"the SSH signature is not one of {person.name} on this very statement.",
        remedy="run `reinstate approve` again, with a key that the plan lists for you",
    )
    if len(armoured) > _MAX_SIGNATURE or not armoured.isascii():
        raise wrong
    with tempfile.TemporaryDirectory(prefix="reinstate-") as folder:  # made with mode 700
        allowed, signed = Path(folder, "allowed_signers"), Path(folder, "signature")
        for file, content in (
            (allowed, "".join(f'{_PRINCIPAL} namespaces="{NAMESPACE}" {key}\n' for key in person.ssh_keys)),
            (signed, armoured),
        ):
            file.touch(mode=0o600, exist_ok=False)
            file.write_text(content, encoding="ascii")
        words = ["-Y", "verify", "-f", str(allowed), "-I", _PRINCIPAL, "-n", NAMESPACE, "-s", str(signed)]
        if _ssh_keygen(words, text).returncode != 0:
            raise wrong
    return armoured


def _ssh_keygen(words: list[str], stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise Unsupported(
            "there is no ssh-keygen on this machine, so SSH signatures cannot be made or verified.",
            remedy="install the OpenSSH client (8.2 or newer), or sign with a one-time code",
        )
    try:
        return subprocess.run([program, *words], input=stdin, capture_output=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise PreconditionFailed(
            "ssh-keygen did not answer within 120 s.",
            remedy="unlock the key (passphrase, token) and try again",
        ) from None


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return printable(lines[-1]) if lines else "it gave no reason."
