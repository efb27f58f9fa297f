"""Damages the demo's host for real: what a bad disk, a slip of the hand or a broken update leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from deployments.demo import database, files
from deployments.demo.facts import Facts, WorldFacts
from deployments.demo.processes import clean_environment, run

Kind = Literal["package-file", "pip-file", "config", "data-file", "database-page", "mode", "link", "delete"]
KINDS: tuple[Kind, ...] = get_args(Kind)

PAGE = 8192
GARBAGE = bytes(range(255, 127, -1)) * 4
"""512 bytes that are neither text nor a valid part of anything."""

TRUNCATED_IMAGE, LINKED_IMAGE, DELETED_IMAGE = files.image(13), files.image(21), files.image(34)


class Damage(Facts):
    """What was done to the host.

    Attributes:
        where: the damaged file, or the table for a damaged database page.
        how: one sentence.
    """

    kind: Kind
    where: str
    how: str


def kinds(world: WorldFacts) -> tuple[Kind, ...]:
    """The kinds of damage this world can have: without dpkg there are no packages to damage."""
    without = ("package-file", "mode") if world.packages is None else ()
    return tuple(kind for kind in KINDS if kind not in without)


def inflict(world: WorldFacts, kind: Kind) -> Damage:
    """Damages one thing on the running host and says what it did.

    Raises:
        ValueError: the world has nothing of this kind.
    """
    if kind not in kinds(world):
        raise ValueError(f"this world has no {kind} to damage")
    where, how = _ACTS[kind](world)
    return Damage(kind=kind, where=str(where), how=how)


def _package_file(world: WorldFacts) -> tuple[Path, str]:
    path = world.host.root / "usr/share/shop-theme/theme.css"
    size = path.stat().st_size
    _overwrite(path, size // 2, GARBAGE)
    return path, f"{len(GARBAGE)} bytes in the middle of {size} were overwritten with garbage"


def _pip_file(world: WorldFacts) -> tuple[Path, str]:
    path = world.shop.site_packages / "shopfront/catalog.py"
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.truncate(size // 3)
    # The running shop has the module in memory: the damage shows when it starts again.
    environment = clean_environment(world.id)
    run(world.shop.service.stop, env=environment)
    _start_broken(world)
    return path, f"it was cut from {size} to {size // 3} bytes, and the shop was restarted"


def _config(world: WorldFacts) -> tuple[Path, str]:
    path = world.shop.config
    text = path.read_bytes()
    path.write_bytes(text[: len(text) // 3] + b"\0" * 64 + GARBAGE[:64] + text[len(text) // 2 :])
    return path, "a part of it was replaced with NULs and garbage"


def _data_file(world: WorldFacts) -> tuple[Path, str]:
    path = world.shop.files / TRUNCATED_IMAGE
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.truncate(size // 2)
    return path, f"it was cut from {size} to {size // 2} bytes"


def _database_page(world: WorldFacts) -> tuple[str, str]:
    relation = database.query(
        world.host.root, world.database, "select pg_relation_filepath('orders')", world.id
    )
    path = world.database.data_dir / relation
    environment = clean_environment(world.id)
    run(world.database.service.stop, env=environment)
    page = path.stat().st_size // PAGE // 2
    _overwrite(path, page * PAGE + PAGE // 2, GARBAGE)
    run(world.database.service.start, env=environment)
    return "shop.public.orders", f"page {page} of {relation} was overwritten with garbage"


def _mode(world: WorldFacts) -> tuple[Path, str]:
    path = world.host.root / "usr/bin/shop-report"
    path.chmod(0)
    return path, "its mode was set to 0000"


def _link(world: WorldFacts) -> tuple[Path, str]:
    path = world.shop.files / LINKED_IMAGE
    target = world.host.root / "etc/hostname"
    path.unlink()
    path.symlink_to(target)
    return path, f"it was replaced by a symbolic link to {target}"


def _delete(world: WorldFacts) -> tuple[Path, str]:
    path = world.shop.files / DELETED_IMAGE
    path.unlink()
    return path, "it was deleted"


def _overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def _start_broken(world: WorldFacts) -> None:
    try:
        run(world.shop.service.start, env=clean_environment(world.id))
    except RuntimeError:
        return  # as intended: the supervisor runs and the shop crashes
    raise RuntimeError("the damaged shop started as if nothing had happened")


_ACTS: dict[Kind, Callable[[WorldFacts], tuple[Path | str, str]]] = {
    "package-file": _package_file,
    "pip-file": _pip_file,
    "config": _config,
    "data-file": _data_file,
    "database-page": _database_page,
    "mode": _mode,
    "link": _link,
    "delete": _delete,
}
