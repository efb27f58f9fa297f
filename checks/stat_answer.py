"""What the probe on a host answers (`checks.stat_probe`), read as it comes and believed only when it is whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from checks.fact import Fact
from model.command import printable
from model.manifest import FileType

Tell = Callable[[int, int], None]
"""Told (paths looked at, paths in all)."""

KINDS = {
    "f": FileType.FILE, "d": FileType.DIRECTORY, "l": FileType.LINK, "o": FileType.OTHER, "a": FileType.ABSENT,
}  # fmt: skip
_KNOWN = [
    "900150983cd24fb0d6963f7d28e17f72", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", True,
]  # fmt: skip


@dataclass
class Ahead:
    """A script run on the host by the same command: it answers first, and is dealt with while the host hashes.

    Attributes:
        script: for sh; it must end with 0.
        argument: its only one.
        end: how its output ends; that must not occur before.
        take: gets the output, once; never called where the host has no Python.
    """

    script: str
    argument: str
    end: bytes
    take: Callable[[bytes], None]


class Answer:
    """What the probe says, read line by line as it comes; `whole` only when all of it is there and right.

    Attributes:
        facts: by path, of those that are not as expected.
        around: what else lies in folders.
        same: how many are as expected.
        clock_ns: of the host, before it looked.
        wrong: it is no answer of the probe.
    """

    def __init__(self, paths: Sequence[str], progress: Tell | None, ahead: Ahead | None) -> None:
        self.facts: dict[str, Fact] = {}
        self.paths = paths
        self.progress = progress
        self.around: list[str] = []
        self.same = 0
        self.clock_ns = 0
        self.canary = False
        self.whole = False
        self.wrong = False
        self._rest = b""
        self._greeted = False
        self._ahead = ahead
        self._before: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        """Take the next piece of the stream."""
        if self._ahead is not None:
            chunk = self._hand_over(chunk, self._ahead)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if not self.wrong:
                try:
                    self._line(json.loads(line))
                except (ValueError, TypeError, LookupError):
                    self.wrong = True

    def _hand_over(self, chunk: bytes, ahead: Ahead) -> bytes:
        """What comes behind the output of the script ahead, once that is whole."""
        tail = self._before.pop() if self._before else b""
        place = (tail + chunk).find(ahead.end)
        if place < 0:
            self._before += [tail, chunk] if len(chunk) >= len(ahead.end) else [tail + chunk]
            return b""
        stop = place + len(ahead.end)
        ahead.take(b"".join(self._before) + (tail + chunk)[:stop])
        self._ahead = None
        return (tail + chunk)[stop:]

    def _line(self, said: Any) -> None:  # noqa: ANN401 - JSON from the host, judged here
        if not self._greeted:
            self._greeted = True
            self.wrong = said != _KNOWN
        elif said[0] == "in":
            self.around = [str(path) for path in said[1]]
        elif said[0] == "end":
            self.clock_ns = int(said[2])
            known = len(self.facts) + self.same
            self.whole = not self._rest and self.canary and said[1] == known + 1 == len(self.paths) + 1
        else:
            facts, paths = self.facts, self.paths
            self.same += int(said[0])
            for number, kind, mode, uid, gid, size, mtime, link, md5, sha256, caps, error, *more in said[1:]:
                if number == len(paths):
                    self.canary = kind == "d"
                    continue
                path = paths[number]
                if not type(mode) is type(uid) is type(gid) is type(size) is type(mtime) is int:
                    raise TypeError
                if not type(link) is type(md5) is type(sha256) is type(caps) is str:
                    raise TypeError
                problem = printable(str(error)) if error else ""
                facts[path] = Fact(
                    path, KINDS[kind], mode, uid, gid, size, mtime, link, md5, sha256, caps, problem,
                    *(_more(more[0]) if more else ()),
                )  # fmt: skip
            if self.progress is not None:
                self.progress(len(self.facts) + self.same, len(self.paths))


def _more(said: Any) -> tuple[tuple[tuple[str, str], ...], tuple[int, int], int, bool, int, str]:  # noqa: ANN401 - judged here
    device, inode, names, sparse, ctime, attributes, xxh128 = said
    if (
        not type(device) is type(inode) is type(names) is type(ctime) is int
        or type(sparse) is not bool
        or type(xxh128) is not str
    ):
        raise TypeError
    for name, value in attributes:
        if type(name) is not str:
            raise TypeError
        bytes.fromhex(value)
    return tuple((name, value) for name, value in attributes), (device, inode), names, sparse, ctime, xxh128
