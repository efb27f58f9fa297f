"""What is special to S3: errors say what they mean and hold no secret; a broken download goes on."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.backups import open_backup_store
from blocks.backups.base import BackupStore
from blocks.backups.multipart import parts
from blocks.backups.s3block import S3Backup
from blocks.backups.s3client import open_client
from blocks.keys import SigningKey
from model.errors import Damaged, PreconditionFailed, ReinstateError, Transient
from tests.support.s3server import ACCESS_KEY, SECRET_KEY
from tests.support.stores import FixedSecrets, make_s3_store, s3_source


def failure(store: BackupStore) -> ReinstateError:
    with pytest.raises(ReinstateError) as caught:
        store.points("site")
    assert caught.value.__cause__ is None
    assert SECRET_KEY not in str(caught.value)
    return caught.value


def test_wrong_secret_is_a_precondition(s3_endpoint: str, signing: SigningKey, tmp_path: Path) -> None:
    class Wrong(FixedSecrets):
        def resolve(self, ref: str) -> str:
            return "canary-wrong" if ref == "env:S3_SECRET" else super().resolve(ref)

    store = open_backup_store("offsite", s3_source(s3_endpoint), Wrong(), signing, tmp_path)
    error = failure(store)
    assert isinstance(error, PreconditionFailed)
    assert "canary-wrong" not in str(error)
    assert "access_key" in error.remedy


def test_missing_bucket_is_a_precondition(s3_endpoint: str, signing: SigningKey, tmp_path: Path) -> None:
    store = open_backup_store(
        "offsite", s3_source(s3_endpoint, bucket="no-such-bucket"), FixedSecrets(), signing, tmp_path
    )
    error = failure(store)
    assert isinstance(error, PreconditionFailed)
    assert "bucket" in error.what


def test_unreachable_server_is_transient(signing: SigningKey, tmp_path: Path) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        store = open_backup_store("offsite", s3_source(endpoint), FixedSecrets(), signing, tmp_path)
        assert isinstance(failure(store), Transient)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(503, Transient), (403, PreconditionFailed), (404, Damaged), (418, PreconditionFailed)],
)
def test_status_decides_the_class(
    signing: SigningKey, tmp_path: Path, status: int, kind: type[ReinstateError]
) -> None:
    with _answering(
        f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    ) as endpoint:
        store = open_backup_store("offsite", s3_source(endpoint), FixedSecrets(), signing, tmp_path)
        with pytest.raises(ReinstateError) as caught:
            list(store.read("site/20261101T120000Z/dump"))
    assert kind is type(caught.value)


def test_download_that_breaks_off_goes_on(
    s3_endpoint: str, signing: SigningKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blocks.backups.s3 import S3Store

    store = make_s3_store(s3_endpoint, signing, tmp_path)
    assert isinstance(store, S3Store)
    data = os.urandom(5 << 20)
    store.put("site/20261101T120000Z/dump", [data])
    whole, breaks = store._get, [0]

    def breaking(key: str, offset: int, length: int | None, etag: str) -> Iterator[tuple[bytes, str]]:
        for number, item in enumerate(whole(key, offset, length, etag)):
            if number == 2 and breaks[0] < 2:
                breaks[0] += 1
                raise Transient("cut")
            yield item

    monkeypatch.setattr(store, "_get", breaking)
    assert data == b"".join(store.read("site/20261101T120000Z/dump"))
    assert breaks == [2]


def test_parts_are_exact_and_bounded() -> None:
    data = os.urandom(1000)
    cut = list(parts([data[n : n + 7] for n in range(0, 1000, 7)], size=64))
    assert [64] * 15 + [40] == [len(part) for part in cut]
    assert data == b"".join(cut)


def test_custom_endpoint_is_kept_and_environment_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere.invalid")
    assert (
        open_client("http://127.0.0.1:9", "us-east-1", "a", "b", True).meta.endpoint_url
        == "http://127.0.0.1:9"
    )
    assert "amazonaws" in open_client("", "eu-west-1", "a", "b", False).meta.endpoint_url


def test_block_hides_its_keys_and_opens_the_store(
    s3_endpoint: str, signing: SigningKey, tmp_path: Path
) -> None:
    """G9: no secret in a value that travels."""
    make_s3_store(s3_endpoint, signing, tmp_path)
    block = S3Backup.from_plan(s3_source(s3_endpoint), FixedSecrets())
    assert SECRET_KEY not in repr(block)
    assert SECRET_KEY not in str(block.model_dump(mode="json"))
    store = block.store("offsite", signing)
    assert (hashlib.sha256(b"x").hexdigest(), 1) == store.put("site/20261101T120000Z/dump", [b"x"])
    assert [] == store.points("site")
    assert ACCESS_KEY not in repr(block)


class _answering:  # noqa: N801 - used as a context manager
    """A server that gives every request the same answer."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> str:
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(self._answer)
