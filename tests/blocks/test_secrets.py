"""Secret references: followed to the value, and named when they lead nowhere; the value is in no message."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from blocks.secrets import Secrets
from model.errors import BadInput, PreconditionFailed, ReinstateError


class Login(Block):
    """A block of another kind with one secret."""

    user: str = "ops"
    password: SecretStr


class Two(Block):
    """A block that leaves open which secret is meant."""

    one: SecretStr
    two: SecretStr


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path)


def put(path: Path, text: str | bytes, mode: int = 0o600) -> None:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)


def test_resolve_environment_variable(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REINSTATE_TEST_SECRET", "va=lue ")
    assert "va=lue " == secrets.resolve("env:REINSTATE_TEST_SECRET")


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_resolve_file_beside_the_plan_without_its_line_end(
    secrets: Secrets, tmp_path: Path, ending: str
) -> None:
    put(tmp_path / "password", f"pässword\n two{ending}")
    assert "pässword\n two" == secrets.resolve("file:password")


def test_resolve_absolute_file(tmp_path: Path) -> None:
    put(tmp_path / "password", "value")
    assert "value" == Secrets(Path("/nowhere")).resolve(f"file:{tmp_path / 'password'}")


def test_resolve_group_readable_file_is_accepted(secrets: Secrets, tmp_path: Path) -> None:
    put(tmp_path / "password", "value", 0o640)
    assert "value" == secrets.resolve("file:password")


def test_resolve_file_everybody_can_read_is_refused(secrets: Secrets, tmp_path: Path) -> None:
    put(tmp_path / "password", "s3cret", 0o644)
    with pytest.raises(PreconditionFailed, match="chmod 600") as caught:
        secrets.resolve("file:password")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("ref", "kind"),
    [
        ("env:REINSTATE_TEST_UNSET", BadInput),
        ("file:absent", BadInput),
        ("file:.", BadInput),
        ("file:empty", BadInput),
        ("file:binary", BadInput),
        ("block:secret/x", PreconditionFailed),
    ],
)
def test_resolve_reference_that_leads_to_nothing_names_it(
    secrets: Secrets, tmp_path: Path, ref: str, kind: type[ReinstateError]
) -> None:
    put(tmp_path / "empty", "\n")
    put(tmp_path / "binary", b"\xff\xfe")
    tmp_path.chmod(0o700)
    with temporary_settings({PREFECT_API_URL: None}), pytest.raises(kind) as caught:
        secrets.resolve(ref)
    assert ref == caught.value.where
    assert caught.value.remedy


@pytest.mark.parametrize("ref", ["s3cret", "vault:s3cret", "env:", ""])
def test_resolve_what_is_no_reference_does_not_repeat_it(secrets: Secrets, ref: str) -> None:
    """G9: somebody may have written the secret itself."""
    with pytest.raises(BadInput) as caught:
        secrets.resolve(ref)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("block", "value"), [(Secret(value=SecretStr("0123")), "0123"), (Login(password=SecretStr("abc")), "abc")]
)
def test_resolve_block_reads_its_one_secret_untouched(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch, block: Block, value: str
) -> None:
    """`Secret.get` would make the number 123 of the text `0123`."""
    asked: list[tuple[str, bool]] = []

    def load(name: str, _sync: bool = False) -> Block:
        asked.append((name, _sync))
        return block

    monkeypatch.setattr(Block, "load", load)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert value == secrets.resolve("block:secret/token")
    assert [("secret/token", True)] == asked


def test_resolve_block_with_two_secrets_is_refused(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Block, "load", lambda *_, **__: Two(one=SecretStr("s3cret"), two=SecretStr("s3cret")))
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(BadInput, match="2 secret fields") as caught,
    ):
        secrets.resolve("block:two/x")
    assert "s3cret" not in str(caught.value)
