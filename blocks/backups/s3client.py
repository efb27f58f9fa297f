"""The S3 client as we need it, and what its failures mean: retry, stop, or look at the settings.

A custom endpoint never meets the CRT engine: we send parts with the classic client ourselves, because CRT transfers
ignore `endpoint_url` and would go to AWS (boto/boto3#4839).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import boto3
import urllib3.exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as StoreConnectionError

from model.errors import Damaged, PreconditionFailed, ReinstateError, Transient

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
ATTEMPTS = 3
"""How often the client sends a request in all before the task's own retry takes over."""

_BUSY = frozenset(
    {"SlowDown", "Throttling", "RequestTimeout", "RequestTimeTooSkewed", "InternalError", "Busy"}
)


@functools.lru_cache(maxsize=16)
def open_client(
    endpoint: str, region: str, access_key: str, secret_key: str, compatible: bool, connections: int = 16
) -> S3Client:
    """A client with timeouts, limited retries and no configuration taken from the environment.

    It is made once for the same arguments: it may be used by many threads, and making one reads 3 MB of JSON (0.15 s).

    Args:
        endpoint: URL of the server; empty: AWS.
        region: its region.
        access_key: id of the access key.
        secret_key: the secret.
        compatible: send checksum headers only where a request requires them (most servers that are not AWS).
        connections: connections kept open at most.
    """
    config = Config(
        region_name=region,
        signature_version="s3v4",
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=connections,
        request_checksum_calculation="when_required" if compatible else "when_supported",
        response_checksum_validation="when_required" if compatible else "when_supported",
        s3={"addressing_style": "path" if endpoint else "auto"},
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg] # the stubs do not know it yet
    )
    session = boto3.session.Session(
        aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=region
    )
    return session.client("s3", endpoint_url=endpoint or None, config=config)


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn what boto3 raises into our errors; texts of the server, which may quote keys, are not repeated.

    Raises:
        Damaged: the object is not there, or shorter than asked for.
        PreconditionFailed: credentials, permissions, bucket or settings are wrong.
        Transient: the network, a timeout, 5xx, throttling.
    """
    try:
        yield
    except ClientError as error:
        raise _of_answer(error, where) from None
    except (
        HTTPClientError,
        StoreConnectionError,
        IncompleteReadError,
        urllib3.exceptions.HTTPError,
    ) as error:
        raise Transient(
            f"the object store did not answer as it should ({type(error).__name__}).",
            where=where,
            remedy="look at the network and at the store",
        ) from None
    except BotoCoreError as error:
        raise PreconditionFailed(
            f"the request could not be made ({type(error).__name__}).",
            where=where,
            remedy="check bucket, endpoint, region and keys of this backup source",
        ) from None


def status_of(error: ClientError) -> int:
    """HTTP status of an error answer; 0 when unknown."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def is_missing(error: ClientError) -> bool:
    """Whether the answer says that there is no such object (a missing bucket is something else)."""
    return status_of(error) == 404 and error.response.get("Error", {}).get("Code") != "NoSuchBucket"


def _of_answer(error: ClientError, where: str) -> ReinstateError:
    status, code = status_of(error), error.response.get("Error", {}).get("Code", "")
    answer = f"{status} {code}".strip()
    if (status >= 500 and status != 501) or status in {408, 429} or code in _BUSY:
        return Transient(f"the object store answered {answer}.", where=where, remedy="try again")
    if is_missing(error):
        return Damaged("the object is missing.", where=where, remedy="use another recovery point")
    if status == 416:
        return Damaged(
            "the object is shorter than its manifest says.", where=where, remedy="use another recovery point"
        )
    if code == "NoSuchBucket":
        return PreconditionFailed(
            "there is no such bucket.", where=where, remedy="check the source's bucket name"
        )
    if status in {401, 403}:
        return PreconditionFailed(
            f"the object store refused our keys or their rights ({answer}).",
            where=where,
            remedy="check the source's access_key and secret_key, their policy, and this machine's clock",
        )
    return PreconditionFailed(
        f"the object store refused the request ({answer}).",
        where=where,
        remedy="check endpoint, region and bucket of this source",
    )


def protection(client: S3Client, bucket: str, key: str, where: str) -> str:
    """How the store protects an object: encryption and Object Lock; empty when it says nothing of either.

    Raises:
        Damaged: there is no such object. Transient, PreconditionFailed: see `translated`.
    """
    with translated(where):
        head: Mapping[str, object] = {
            **client.head_object(Bucket=bucket, Key=key)
        }  # typed loosely: a server that does not offer them leaves these fields out
    encrypted, mode, until = (
        head.get(name) for name in ("ServerSideEncryption", "ObjectLockMode", "ObjectLockRetainUntilDate")
    )
    said = (
        f"encrypted on the server ({encrypted})" if encrypted else "",
        f"locked ({mode}) until {until:%Y-%m-%d %H:%M} UTC" if mode and isinstance(until, datetime) else "",
    )
    return ", ".join(text for text in said if text)
