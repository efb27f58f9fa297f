"""What the packages in a plan's store say their files' hashes are: proof that the host's own lists do not lie."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from blocks.packages import PackageStore
from blocks.packages.debfile import hashes
from checks.dpkg import parse_sums
from checks.hash_lists import Delivered
from model.errors import ReinstateError, Transient


def delivered(store: PackageStore) -> Delivered | None:
    """Answers from a store's .debs, each read when it is asked for; None: the store has no index that counts.

    A .deb that is not the one its signed index names says nothing.

    Raises:
        Transient: the store does not answer.
    """
    try:
        index = store.index()
    except Transient:
        raise
    except ReinstateError:
        return None

    @cache
    def of(package: str, version: str, architecture: str) -> Mapping[str, str] | None:
        file = index.find("deb", package, version, tuple(dict.fromkeys((architecture, "all"))))
        if file is None:
            return None
        try:
            with tempfile.TemporaryDirectory() as folder:
                sums = hashes(store.fetch(file.filename, file.sha256, Path(folder)))
        except Transient:
            raise
        except ReinstateError:  # nothing is proven by what cannot be read
            return None
        return parse_sums(sums)[0] if sums is not None else None

    return of
