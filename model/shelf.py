"""The signed index of a package store: which file is which package, hash by hash."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from model.canonical import Value, digest

Family = Literal["deb", "rpm", "wheel"]

SUFFIX: dict[Family, str] = {"deb": ".deb", "rpm": ".rpm", "wheel": ".whl"}
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~^%_:=!-]{0,254}")


def below(filename: str) -> str:
    """The name, when it stays inside the store and no part of it begins with a dot or a dash (G10).

    Raises:
        ValueError: it does not.
    """
    if not all(_SEGMENT.fullmatch(part) for part in filename.split("/")):
        raise ValueError(f"{filename[:200]!r} is no name of a file in a package store")
    return filename


class PackageFile(Value):
    """One package file of a store.

    Attributes:
        family: what installs it.
        name: package or distribution.
        version: as the family spells it: `epoch:version-release` for .deb and .rpm (epoch only where there is one).
        architecture: `amd64`, `x86_64`, `all`, `noarch`; empty for wheels, whose name says it.
        filename: relative to the store.
    """

    family: Family
    name: str = Field(min_length=1, max_length=255)
    version: str = Field(min_length=1, max_length=255)
    architecture: str = ""
    filename: Annotated[str, AfterValidator(below)]
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.filename.endswith(SUFFIX[self.family]):
            raise ValueError(f"{self.filename} is no {SUFFIX[self.family]}")
        return self


class StoreIndex(Value):
    """What lies in a store.

    Attributes:
        serial: grows by one with every index; a smaller one than was seen before is an old index put back.
        made_at: when it was signed.
        packages: sorted by file name, each name once.
    """

    serial: int = Field(ge=1)
    made_at: AwareDatetime
    packages: tuple[PackageFile, ...] = ()

    @model_validator(mode="after")
    def _once(self) -> Self:
        names = [package.filename for package in self.packages]
        if names != sorted(set(names)):
            raise ValueError("its file names are not sorted, or one stands there twice")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return digest(self)

    def find(
        self, family: Family, name: str, version: str, architectures: tuple[str, ...] = ()
    ) -> PackageFile | None:
        """The file of exactly this package; of several architectures the first that is there."""
        found = [
            p for p in self.packages
            if (p.family, p.name, p.version) == (family, name, version)
            and (not architectures or p.architecture in architectures)
        ]  # fmt: skip
        return min(
            found, key=lambda p: architectures.index(p.architecture) if architectures else 0, default=None
        )


class SignedIndex(Value):
    """An index with an Ed25519 signature over its canonical JSON."""

    index: StoreIndex
    key_id: str
    signature: str


class Seen(Value):
    """The newest index of a store that was ever accepted here."""

    serial: int
    made_at: AwareDatetime
    sha256: str
