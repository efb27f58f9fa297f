"""Order of Debian versions (deb-version(7)): which of several is the nearest to one that is nowhere to be had."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PARTS = re.compile(r"(\D*)(\d*)")
_END = 0


def _order(char: str) -> int:
    """`~` before everything, even the end of a part; letters before all else."""
    if char == "~":
        return -1
    return ord(char) if char.isalpha() else ord(char) + 256


def _key(part: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    pairs = [(text, digits) for text, digits in _PARTS.findall(part) if text or digits]
    return tuple(
        ((*(_order(char) for char in text), _END), int(digits or 0)) for text, digits in [*pairs, ("", "")]
    )


def version_key(version: str) -> tuple[object, ...]:
    """A key that sorts versions as dpkg does."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return int(epoch) if epoch.isdigit() else 0, _key(upstream), _key(revision)


def nearest(wanted: str, there: Iterable[str]) -> str | None:
    """The next newer version; where there is none, the next older one."""
    versions = sorted(set(there), key=version_key)
    newer = [version for version in versions if version_key(version) > version_key(wanted)]
    return newer[0] if newer else (versions[-1] if versions else None)
