"""The stores under test."""

from tests.support.stores import s3_endpoint, signing, store

__all__ = ["s3_endpoint", "signing", "store"]
