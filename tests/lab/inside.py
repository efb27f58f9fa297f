"""Paths of a host as seen from this machine, which links of the host must never lead out of it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from tests.lab.base import LabError

_MAX_LINKS = 40  # as the kernel


def resolve(root: Path, path: str, *, follow: bool = True) -> Path:
    """Return where a path of a host is on this machine, with each link read as the host itself would read it.

    Args:
        root: The host's root directory.
        path: Absolute path as the host knows it; it need not exist.
        follow: Whether a symbolic link in the last place is followed, too.

    Raises:
        LabError: The links form a circle.
    """
    todo = list(reversed(PurePosixPath(path).parts[1:]))
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = done[:-1]
            continue
        here = root.joinpath(*done, part)
        if not here.is_symlink() or not (todo or follow):
            done.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise LabError(f"too many symbolic links in {path}")
        target = PurePosixPath(here.readlink())
        if target.is_absolute():
            done = []
        todo += reversed([step for step in target.parts if step != "/"])
    return root.joinpath(*done)
