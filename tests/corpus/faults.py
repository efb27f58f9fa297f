"""How damage is done: from outside, so nothing of the host has to work for it. An operation without effect fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.corpus.cases import Case
from tests.lab.base import LabError
from tests.lab.facts import FileFacts, filler
from tests.lab.host import LabHost

Word = str | int


def inflict(host: LabHost, case: Case) -> None:
    """Do a case's damage.

    Raises:
        LabError: an operation had no effect, or a command failed.
    """
    for op in case.do:
        for verb, words in op.items():
            if verb == "run":
                host.must([str(word) for word in words])
            elif verb == "try":
                host.shell([str(word) for word in words])
            else:
                _on_file(host, case.name, verb, words)


def _on_file(host: LabHost, name: str, verb: str, words: Sequence[Word]) -> None:
    if verb not in _OPS:
        raise LabError(f"{name}: there is no operation {verb!r}; there are: {', '.join(_OPS)}, run, try")
    place = host.inside(str(words[0]), follow=False)
    before = _seen(place)
    _OPS[verb](place, words[1:])
    if _seen(place) == before:
        raise LabError(f"{name}: {verb} {words[0]} had no effect")


def _seen(place: Path) -> FileFacts | None:
    return FileFacts.of(place) if os.path.lexists(place) else None


def _replace(place: Path, content: bytes) -> None:
    """New content under a new inode: a running program cannot be overwritten in place."""
    status = place.lstat()
    new = place.with_name(f"{place.name}.lab-new")
    new.write_bytes(content)
    os.chown(new, status.st_uid, status.st_gid)
    new.chmod(status.st_mode & 0o7777)
    new.replace(place)


def _garble(place: Path, _: Sequence[Word]) -> None:
    _replace(place, filler(place.name, place.stat().st_size))


def _flip(place: Path, words: Sequence[Word]) -> None:
    """One bit; of the byte given, else of the second: an ELF file no longer is one."""
    content = bytearray(place.read_bytes())
    content[int(words[0]) if words else 1] ^= 1
    _replace(place, bytes(content))


def _truncate(place: Path, words: Sequence[Word]) -> None:
    content = place.read_bytes()
    _replace(place, content[: int(words[0]) if words else len(content) // 2])


def _delete(place: Path, _: Sequence[Word]) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink()


def _chmod(place: Path, words: Sequence[Word]) -> None:
    place.chmod(int(str(words[0]), 8))


def _chown(place: Path, words: Sequence[Word]) -> None:
    mode = place.lstat().st_mode & 0o7777
    os.lchown(place, int(words[0]), int(words[1]))
    if not place.is_symlink():
        place.chmod(mode)  # the kernel drops set-id bits on a change of owner


def _link(place: Path, words: Sequence[Word]) -> None:
    if os.path.lexists(place):
        _delete(place, ())
    place.symlink_to(str(words[0]))


def _directory(place: Path, _: Sequence[Word]) -> None:
    if os.path.lexists(place):
        _delete(place, ())
    place.mkdir(mode=0o755)


def _write(place: Path, words: Sequence[Word]) -> None:
    """A file with this text: a new one, or another content under the same mode and owner."""
    if os.path.lexists(place):
        _replace(place, str(words[0]).encode())
    else:
        place.write_text(str(words[0]), encoding="utf-8")
        place.chmod(0o644)


def _append(place: Path, words: Sequence[Word]) -> None:
    _replace(place, place.read_bytes() + str(words[0]).encode())


_OPS: dict[str, Callable[[Path, Sequence[Word]], None]] = {
    "garble": _garble, "flip": _flip, "truncate": _truncate, "delete": _delete, "chmod": _chmod, "chown": _chown,
    "link": _link, "directory": _directory, "write": _write, "append": _append,
}  # fmt: skip
