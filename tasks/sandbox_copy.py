"""What a sandbox holds while it is there: the restored copy, how it is checked, and how it goes away again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from model.assets import Asset
from model.errors import ReinstateError
from tasks.database_swap import DatabaseEffect
from tasks.mariadb_swap import MariadbEffect

REMEDY = "remove it by hand; nothing live is in it"


@dataclass(frozen=True)
class Copy:
    """What was restored.

    Attributes:
        asset: as it is in the sandbox: what expectations are asked of; None where nothing can be asked.
        bytes: fetched.
        require: checks the copy against its manifest.
        spoil: damages the copy; None: nothing in it can be damaged.
    """

    asset: Asset | None
    bytes: int
    require: Callable[[], None]
    spoil: Callable[[], None] | None = None


@contextmanager
def dropped(effect: DatabaseEffect | MariadbEffect) -> Iterator[None]:
    """The fresh database is gone afterwards, whatever happens."""
    fresh = effect.names.fresh
    try:
        yield
    finally:
        effect.drop("end", fresh)
        if fresh in effect.tools.databases():
            raise ReinstateError(f"the sandbox database {fresh} is still there.", effect.where, REMEDY)
