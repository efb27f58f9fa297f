"""Sending a stream of unknown length to S3 in parts: a few parts in flight, memory bounded, nothing left on failure."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from model.errors import Unsupported

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART = 16 << 20
IN_FLIGHT = 3
"""Parts held in memory besides the one being filled: 4 × 16 MiB (4 × 128 MiB beyond 31 GiB)."""

_LARGE_AFTER = 2000
_MOST_PARTS = 10_000


def parts(chunks: Iterable[bytes], size: int = PART) -> Iterator[bytes]:
    """Chunks gathered into parts; later parts are larger so that 10,000 of them hold a terabyte."""
    number, held = 1, bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= (wanted := size if number <= _LARGE_AFTER else size * 8):
            yield bytes(memoryview(held)[:wanted])
            del held[:wanted]
            number += 1
    yield bytes(held)


def send(client: S3Client, bucket: str, key: str, chunks: Iterable[bytes]) -> None:
    """Store the chunks under a key; the object appears once it is complete.

    Raises:
        ClientError, BotoCoreError: as boto3 raises them; whatever `chunks` raises. The upload is then aborted.
        Unsupported: more than 10,000 parts.
    """
    stream = parts(chunks)
    first = next(stream)
    if len(first) < PART:
        client.put_object(Bucket=bucket, Key=key, Body=first)
        return
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    try:
        _send_parts(client, bucket, key, upload, first, stream)
    except BaseException:
        with contextlib.suppress(ClientError, BotoCoreError):
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
        raise


def _send_parts(
    client: S3Client, bucket: str, key: str, upload: str, first: bytes, rest: Iterator[bytes]
) -> None:
    def send_part(number: int, body: bytes) -> CompletedPartTypeDef:
        answer = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body)
        return {"ETag": answer["ETag"], "PartNumber": number}

    done: list[CompletedPartTypeDef] = []
    flying: deque[Future[CompletedPartTypeDef]] = deque()
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="s3-part") as pool:
        try:
            number, body = 1, first
            while body:
                flying.append(pool.submit(send_part, number, body))
                if len(flying) >= IN_FLIGHT:
                    done.append(flying.popleft().result())
                body = next(rest, b"")
                number += 1
                if number > _MOST_PARTS:
                    raise Unsupported(
                        "the object is larger than S3 can hold.", where=key, remedy="split the asset"
                    )
            done.extend(future.result() for future in flying)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": done})
