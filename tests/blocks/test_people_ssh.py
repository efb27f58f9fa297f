"""Proofs of identity by SSH signature (attacks: forged, altered, another key, another purpose)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from blocks import people
from blocks.people import sign_statement, statement, verify_ssh
from model.errors import BadInput, Refused, Unsupported
from model.plan import Person

from .journals.builders import ID

VOTE = {
    "incident": ID, "gate": "decide", "digest": "a" * 64, "person": "ann", "decision": "approve",
    "reason": "grün ✓", "nonce": "n1",
}  # fmt: skip


def make_key(file: Path, kind: str = "ed25519") -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(file), "-C", "a comment"], check=True)
    return " ".join(file.with_suffix(".pub").read_text().split()[:2])


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("ssh")
    return {name: (folder / name, make_key(folder / name)) for name in ("ann", "bob")}


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_signature_by_the_persons_key_is_proof(tmp_path: Path, kind: str) -> None:
    public = make_key(tmp_path / "key", kind)
    text = statement(**VOTE)
    signature = sign_statement(text, tmp_path / "key")
    proof = verify_ssh(Person(name="Ann", ssh_keys=(public,)), text, f"\n  {signature}\n")
    assert proof == signature
    assert proof == verify_ssh(Person(name="Ann", ssh_keys=(public,)), text, proof)


def test_any_of_the_persons_keys_counts(keys: dict[str, tuple[Path, str]]) -> None:
    both = Person(name="Ann", ssh_keys=(keys["bob"][1], keys["ann"][1]))
    assert verify_ssh(both, statement(**VOTE), sign_statement(statement(**VOTE), keys["ann"][0]))


def test_a_signature_by_another_key_is_refused(keys: dict[str, tuple[Path, str]]) -> None:
    ann = Person(name="Ann", ssh_keys=(keys["ann"][1],))
    with pytest.raises(Refused, match="not one of Ann"):
        verify_ssh(ann, statement(**VOTE), sign_statement(statement(**VOTE), keys["bob"][0]))


@pytest.mark.parametrize("field", VOTE)
def test_a_statement_altered_in_any_word_is_refused(keys: dict[str, tuple[Path, str]], field: str) -> None:
    ann = Person(name="Ann", ssh_keys=(keys["ann"][1],))
    signature = sign_statement(statement(**VOTE), keys["ann"][0])
    with pytest.raises(Refused, match="on this very statement"):
        verify_ssh(ann, statement(**(VOTE | {field: VOTE[field] + "x"})), signature)


def test_a_signature_for_another_purpose_is_refused(keys: dict[str, tuple[Path, str]]) -> None:
    """A signature made for git or a file is no sign-off."""
    ann = Person(name="Ann", ssh_keys=(keys["ann"][1],))
    for namespace in ("git", "file"):
        made = subprocess.run(
            ["ssh-keygen", "-Y", "sign", "-f", str(keys["ann"][0]), "-n", namespace],
            input=statement(**VOTE), capture_output=True, check=True,
        )  # fmt: skip
        with pytest.raises(Refused):
            verify_ssh(ann, statement(**VOTE), made.stdout.decode())


def test_each_changed_character_of_the_signature_is_refused(keys: dict[str, tuple[Path, str]]) -> None:
    ann = Person(name="Ann", ssh_keys=(keys["ann"][1],))
    signature = sign_statement(statement(**VOTE), keys["ann"][0])
    body = signature.index("\n") + 1
    for place in range(body, len(signature) - 40, 17):
        letter = "B" if signature[place] != "B" else "C"
        with pytest.raises(Refused):
            verify_ssh(ann, statement(**VOTE), signature[:place] + letter + signature[place + 1 :])


@pytest.mark.parametrize(
    "text", ["", "x", "-----BEGIN SSH SIGNATURE-----", "ä", "A" * 20_000, "\0", "{{7*7}}"]
)
def test_what_is_no_signature_is_refused(keys: dict[str, tuple[Path, str]], text: str) -> None:
    with pytest.raises(Refused):
        verify_ssh(Person(name="Ann", ssh_keys=(keys["ann"][1],)), statement(**VOTE), text)


def test_a_person_without_ssh_keys_is_sent_to_the_code() -> None:
    with pytest.raises(Refused, match="no SSH key in the plan"):
        verify_ssh(Person(name="Ann"), statement(**VOTE), "x")


def test_signing_with_what_is_no_key_says_so(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("nonsense")
    (tmp_path / "key").chmod(0o600)
    for file in (tmp_path / "key", tmp_path / "missing"):
        with pytest.raises(BadInput, match="could not sign"):
            sign_statement(b"x", file)


def test_without_ssh_keygen_it_is_unsupported_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, keys: dict[str, tuple[Path, str]], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="no ssh-keygen") as caught:
        verify_ssh(Person(name="Ann", ssh_keys=(keys["ann"][1],)), statement(**VOTE), "x")
    assert "OpenSSH" in caught.value.remedy


def test_a_statement_is_canonical_and_names_its_purpose() -> None:
    assert statement(**VOTE) == statement(**dict(reversed(VOTE.items())))
    assert people.NAMESPACE.encode() in statement(**VOTE)
