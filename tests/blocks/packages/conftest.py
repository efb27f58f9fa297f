"""The S3 server of the session."""

from tests.support.stores import s3_endpoint

__all__ = ["s3_endpoint"]
