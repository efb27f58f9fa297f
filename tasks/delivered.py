"""What the packages in a plan's store say their files' hashes are: proof that the host's own lists do not lie."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from checks.dpkg import parse_sums
from checks.hash_lists import Delivered
from model.errors import ReinstateError
from tasks.debfile import hashes, parse_control
from tasks.staging import sha256_of


def delivered(folder: Path) -> Delivered | None:
    """Answers from a store's .debs, each read when it is asked for; None: the store has no index.

    A .deb whose SHA-256 is not that of the index says nothing.
    """
    try:
        text = (folder / "Packages").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    shelf: dict[tuple[str, str, str], tuple[Path, str]] = {}
    for stanza in text.split("\n\n"):
        fields = parse_control(stanza)
        name = fields.get("Filename", "").rpartition("/")[2]
        key = fields.get("Package", ""), fields.get("Version", ""), fields.get("Architecture", "")
        if name and fields.get("SHA256"):
            shelf[key] = folder / name, fields["SHA256"]

    @cache
    def of(package: str, version: str, architecture: str) -> Mapping[str, str] | None:
        path, sha256 = shelf.get((package, version, architecture), (None, ""))
        try:
            if path is None or sha256_of(path) != sha256:
                return None
            sums = hashes(path)
        except (OSError, ReinstateError):  # nothing is proven by what cannot be read
            return None
        return parse_sums(sums)[0] if sums is not None else None

    return of
