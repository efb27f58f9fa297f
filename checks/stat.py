"""Facts about many paths of a host in one command: type, mode, owner, size, time, link target, hashes, capabilities.

Where the host has a Python, a small program of ours looks with several processes and reads each file once; where it
has none, or one that lies, the host's own tools do it (`checks.stat_shell`), slower and without capabilities.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blocks.hosts.base import Connection
from checks import stat_shell
from checks.fact import Digests, Fact, require
from checks.stat_answer import KINDS, Ahead, Answer, Tell
from model.command import Command
from model.errors import PreconditionFailed, ReinstateError
from model.manifest import MOST_PATHS, Entry, FileType

__all__ = ["Ahead", "Digests", "Fact", "Tell", "collect", "excluded", "list_tree", "require"]


@dataclass
class Around:
    """A question for what lies in folders and is none of the paths looked at.

    Attributes:
        folders: absolute; links are not followed.
        aliases: links at the top to the folder they stand for (`/bin` → `/usr/bin`): a path counts under both names.
        found: the answer, sorted.
    """

    folders: frozenset[str]
    aliases: Mapping[str, str] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)


@dataclass
class Expected:
    """What paths should be: mode, owner, SHA-256 or XXH3, link and capabilities.

    The host says of those that are so only how many they are, which saves time.

    Attributes:
        entries: by path, of which one of these two is asked for; where more is asked for, only files that have one name
            each, and whose attributes are known.
        same: the answer: those that are so; they stand nowhere else.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    same: Mapping[str, Entry] = field(default_factory=dict)


@dataclass
class Screen:
    """What files were when they were last read: whatever still is the same file, unchanged, is not read again.

    Who changes a file cannot set the time of its last change (ctime) back, short of setting the clock or writing to the
    disk past the file system; damage below the file system is not seen.

    Attributes:
        known: facts with `file` and `ctime_ns`, by path.
        clock_ns: of the host, before it looked; 0 where it was not asked.
        whole: what may be known from now on; see `checks.files.unharmed`.
    """

    known: Mapping[str, Fact] = field(default_factory=dict)
    clock_ns: int = 0
    whole: Mapping[str, Fact] = field(default_factory=dict)


PROBE = Path(__file__).with_name("stat_probe.py")

# The interpreters of Debian and of RHEL (there `python3` may be missing); status 97: none.
_RUN = r"""
ahead=$1 argument=$2; shift 2
exec 3<&0 4>&1
{ [ -z "$ahead" ] || sh -c "$ahead" reinstate-ahead "$argument" </dev/null >&4 3<&-; echo $?; } | {
    for python in python3 /usr/libexec/platform-python; do
        command -v "$python" >/dev/null 2>&1 && exec "$python" -I -S -c "$@"
    done
    exit 97
}
"""

_TREE = r"""
LC_ALL=C; export LC_ALL
{ errs=$(find "$1" -print0 2>&1 >&3); rc=$?; } 3>&1
[ "$rc" -le 1 ] || exit 92
[ -z "$errs" ] && exit "$rc"
bad=$(printf '%s\n' "$errs" | grep -v ': No such file or directory$') || exit 0
printf '%s\n' "$bad" >&2
exit 93
"""

_KIND_OF = {kind: letter for letter, kind in KINDS.items()}
_CANARY = "n/\0f0,0,0,,,\0"
"""The last question: the top is no file. Whoever finds it as expected is not believed."""

_CONTENT: frozenset[Digests | None] = frozenset({"sha256", "xxh128"})
_LETTER = {"none": "n", "md5": "m", "sha256": "s", "both": "b", "xxh128": "x", "sha256+xxh128": "c"}


def collect(
    connection: Connection,
    paths: Iterable[str],
    digests: Digests | Mapping[str, Digests] = "sha256",
    *,
    around: Around | None = None,
    ahead: Ahead | None = None,
    expected: Expected | None = None,
    more: bool = False,
    screen: Screen | None = None,
    jobs: int = 0,
    timeout: float = 7200.0,
    progress: Tell | None = None,
) -> dict[str, Fact]:
    """Look at paths; links are not followed, and only regular files are read.

    Args:
        connection: an open connection.
        paths: absolute; odd bytes as surrogate escapes. Each path once, in the order of the answer.
        digests: which hashes of regular files; a mapping says it for each path. XXH3 needs `more`.
        around: asks also for what else lies in some folders; the answer is put into it.
        ahead: what else is asked by the same command.
        expected: what paths should be, of those whose SHA-256 is asked for; the answer is put into it.
        more: ask also for extended attributes, hard links, holes and ctime; it costs some time, and Python on the host.
        screen: what need not be read again; asks for more, too.
        jobs: processes on the host; 0: one per processor, eight at most.
        timeout: seconds for all of it.
        progress: told now and then.

    Returns:
        A fact for every path that is not as expected; a path that is not there has the type ABSENT.

    Raises:
        Transient: the connection was lost. PreconditionFailed: the host's tools are missing or give wrong answers.
    """
    wanted: dict[str, Digests] = (
        {path: digests[path] for path in paths}
        if isinstance(digests, Mapping)
        else dict.fromkeys(paths, digests)
    )
    bad = next((path for path in wanted if not path.startswith("/")), None)
    if bad is not None:
        raise ReinstateError(
            f"a relative path was asked for: {bad!r}.", connection.name, "report this as a bug"
        )
    if not wanted:
        return {}
    for folder in around.folders if around else ():
        wanted.setdefault(folder, "none")
    facts = _by_python(
        connection, wanted, jobs, timeout, progress, around, ahead, expected, screen,
        more=more or screen is not None,
    )  # fmt: skip
    if facts is None:
        facts = {}
        for kind in dict.fromkeys(wanted.values()):
            group = [path for path, needed in wanted.items() if needed == kind]
            facts |= stat_shell.collect(connection, group, kind, jobs or 2, timeout)
            if progress is not None:
                progress(len(facts), len(wanted))
        facts = {path: facts[path] for path in wanted}
        if around is not None:
            around.found[:] = stat_shell.around(connection, around.folders, around.aliases, facts)
    return facts


def _by_python(
    connection: Connection,
    wanted: Mapping[str, Digests],
    jobs: int,
    timeout: float,
    progress: Tell | None,
    around: Around | None,
    ahead: Ahead | None,
    expected: Expected | None,
    screen: Screen | None,
    *,
    more: bool,
) -> dict[str, Fact] | None:
    """The facts by the host's Python; None when there is none or it cannot be trusted."""
    paths = list(wanted)
    answer = Answer(paths, progress, ahead)
    entries = expected.entries if expected else {}
    texts = _texts(entries, wanted, more=more)
    known = {
        path: fact
        for path, fact in (screen.known if screen else {}).items()
        if (fact.sha256 and wanted.get(path) in _CONTENT) or (fact.xxh128 and wanted.get(path) == "xxh128")
    }
    texts |= {path: _unchanged(fact) for path, fact in known.items()}
    records = {p: f"{_LETTER[d]}{p}\0{texts.get(p, '')}\0" for p, d in wanted.items()}
    aliases: tuple[str, ...] = ()
    if around is not None:
        for folder in around.folders:
            records[folder] = records[folder][0].upper() + records[folder][1:]
        aliases = tuple(word for pair in around.aliases.items() for word in pair)
    command = Command(
        (
            "sh",
            "-c",
            _RUN,
            "reinstate-stat",
            ahead.script if ahead else "",
            ahead.argument if ahead else "",
            PROBE.read_text(encoding="utf-8"),
            str(jobs),
            "x" if more else "-",
            *aliases,
        ),
        stdin="".join([*records.values(), _CANARY]).encode("utf-8", "surrogateescape"),
        sudo=True,
        timeout=timeout,
    )
    result = connection.run(command, on_stdout=answer.feed)
    if not result.ok or answer.wrong or not answer.whole:
        return None  # a lost connection shows again with the host's own tools
    same = [path for path in paths if path not in answer.facts]
    if not texts.keys() >= set(same):
        return None  # nothing was expected there
    if around is not None:
        around.found[:] = answer.around
    if screen is not None:
        screen.clock_ns = answer.clock_ns
    if expected is not None:
        expected.same = {path: entries[path] for path in same if path not in known}
    looked = known | answer.facts
    return {path: looked[path] for path in paths if path in looked}


def _texts(entries: Mapping[str, Entry], wanted: Mapping[str, Digests], *, more: bool) -> dict[str, str]:
    """Entries as the probe writes what it sees."""
    heads: dict[tuple[FileType, int, int, int], str] = {}
    texts: dict[str, str] = {}
    for path, entry in entries.items():
        if (want := wanted.get(path)) in _CONTENT:
            key = entry.type, entry.mode, entry.uid, entry.gid
            head = heads.get(key)
            if head is None:
                head = heads[key] = f"{_KIND_OF[entry.type]}{entry.mode:o},{entry.uid},{entry.gid},"
            content = entry.xxh128 if want == "xxh128" else entry.sha256
            text = f"{head}{content},{entry.capabilities},{entry.link}"
            texts[path] = f"{text},1,{_attributes(entry)}" if more else text
    return texts


def _attributes(entry: Entry) -> str:
    return ",".join(f'[{json.dumps(one.name)},"{one.value}"]' for one in entry.attributes or ())


def _unchanged(fact: Fact) -> str:
    """What must be the same for a file not to be read again."""
    device, inode = fact.file or (0, 0)
    return f"#{device},{inode},{fact.ctime_ns},{fact.size},{fact.mtime_ns}"


def excluded(relative: str, patterns: Sequence[str]) -> bool:
    """Whether a relative path, or a directory above it, matches one of the glob patterns (`*` also matches `/`)."""
    if not patterns:
        return False
    parts = relative.split("/")
    above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in above)


def list_tree(connection: Connection, root: str, exclude: Sequence[str] = ()) -> list[str]:
    """Absolute paths of everything at and below `root`, sorted, without what `exclude` names.

    Raises:
        Transient: the connection was lost.
        PreconditionFailed: `find` does not work on the host, or a directory cannot be read: the list is not whole; or
            there are too many paths.
    """
    chunks: list[bytes] = []
    count = 0

    def take(chunk: bytes) -> None:
        nonlocal count
        count += chunk.count(0)
        if count > MOST_PATHS:
            raise PreconditionFailed(
                f"there are more than {MOST_PATHS:,} paths in {root}.", connection.name,
                "make several assets of it, or leave out with `exclude` what needs no backup",
            )  # fmt: skip
        chunks.append(chunk)

    command = Command(("sh", "-c", _TREE, "reinstate-tree", root), sudo=True, timeout=3600.0)
    result = connection.run(command, on_stdout=take)
    require(result, connection.name, f"listing {root} with find")
    paths = [raw.decode("utf-8", "surrogateescape") for raw in b"".join(chunks).split(b"\0") if raw]
    skip = len(root.rstrip("/")) + 1
    return sorted(path for path in paths if not (len(path) > skip and excluded(path[skip:], exclude)))
