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
from model.errors import ReinstateError


def delivered(store: PackageStore) -> Delivered | None:
    """Answers from a store's .debs, each read when it is asked for; None: the store has no index that counts.

    A .deb whose SHA-256 is not that of the signed index says nothing.
    """
    try:
        index = store.index()
    except ReinstateError:  # why, is said where a repair would need it
        return None

    @cache
    def of(package: str, version: str, architecture: str) -> Mapping[str, str] | None:
        file = index.find("deb", package, version, (architecture,))
        if file is None:
            return None
        try:
            with tempfile.TemporaryDirectory() as folder:
                sums = hashes(store.fetch(file.filename, file.sha256, Path(folder)))
        except ReinstateError:  # nothing is proven by what cannot be read
            return None
        return parse_sums(sums)[0] if sums is not None else None

    return of
