"""The installation's signing key."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from blocks.keys import PRIVATE_NAME, SigningKey, Verifier
from model.errors import Damaged, PreconditionFailed

from .journals.builders import run_all


def test_load_or_create_gives_the_same_key_again(tmp_path: Path) -> None:
    first, second = SigningKey.load_or_create(tmp_path), SigningKey.load_or_create(tmp_path)
    assert first.key_id == second.key_id
    assert second.verify(b"data", first.sign(b"data"))
    assert 0o600 == (tmp_path / PRIVATE_NAME).stat().st_mode & 0o777


def test_verify_refuses_other_data_other_keys_and_loose_base64(tmp_path: Path) -> None:
    key, other = SigningKey.load_or_create(tmp_path / "a"), SigningKey.load_or_create(tmp_path / "b")
    good = key.sign(b"data")
    raw = base64.b64decode(good)
    assert not key.verify(b"Data", good)
    assert not other.verify(b"data", good)
    wrong = ["", "!", good[:-2], good + "\n", " " + good, "ä", base64.b64encode(raw[:-1]).decode()]
    loose = good[:-3] + chr(ord(good[-3]) + 1) + "=="  # the same bytes, other unused bits
    assert [] == [text for text in [*wrong, loose] if key.verify(b"data", text)]


def test_the_public_file_alone_verifies(tmp_path: Path) -> None:
    key = SigningKey.load_or_create(tmp_path / "keys")
    public = tmp_path / "keys" / "public" / f"{key.key_id}.pem"
    for verifier in (Verifier.load(public), Verifier.load(public.parent)):
        assert (key.key_id,) == verifier.key_ids
        assert verifier.verify(b"data", key.sign(b"data"))
        assert verifier.verify(b"data", key.sign(b"data"), key.key_id)
        assert not verifier.verify(b"data", key.sign(b"data"), "0" * 16)


def test_a_new_key_keeps_the_old_signatures_valid(tmp_path: Path) -> None:
    old = SigningKey.load_or_create(tmp_path)
    (tmp_path / PRIVATE_NAME).unlink()
    new = SigningKey.load_or_create(tmp_path)
    assert old.key_id != new.key_id
    assert new.verify(b"data", old.sign(b"data"))


def test_a_key_others_can_read_is_refused(tmp_path: Path) -> None:
    SigningKey.load_or_create(tmp_path)
    (tmp_path / PRIVATE_NAME).chmod(0o644)
    with pytest.raises(PreconditionFailed, match="others can read"):
        SigningKey.load_or_create(tmp_path)


def test_a_damaged_key_is_named_and_its_bytes_are_not(tmp_path: Path) -> None:
    SigningKey.load_or_create(tmp_path)
    file = tmp_path / PRIVATE_NAME
    secret = file.read_text().splitlines()[1]
    file.write_text(file.read_text().replace("BEGIN PRIVATE", "BEGIN PRIVATF"))
    with pytest.raises(Damaged) as caught:
        SigningKey.load_or_create(tmp_path)
    assert str(file) in str(caught.value)
    assert secret not in str(caught.value)


def test_a_public_key_under_another_name_is_damaged(tmp_path: Path) -> None:
    key = SigningKey.load_or_create(tmp_path)
    (tmp_path / "public" / f"{key.key_id}.pem").rename(tmp_path / "public" / ("0" * 16 + ".pem"))
    with pytest.raises(Damaged, match="not the one its name says"):
        Verifier.load(tmp_path / "public")


def test_no_public_key_is_an_error_not_an_empty_pass(tmp_path: Path) -> None:
    """G11."""
    with pytest.raises(PreconditionFailed):
        Verifier.load(tmp_path)
    with pytest.raises(PreconditionFailed):
        Verifier.load(tmp_path / "missing.pem")


def _start(folder: Path, out: Path) -> None:
    out.write_text(SigningKey.load_or_create(folder).key_id)


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    run_all(_start, [(tmp_path / "keys", tmp_path / f"{n}.txt") for n in range(8)])
    assert 1 == len({file.read_text() for file in tmp_path.glob("*.txt")})
    assert 1 == len(list((tmp_path / "keys" / "public").iterdir()))
