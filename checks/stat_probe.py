"""Runs on the host, by `python3 -I -S -c`: facts and hashes of many paths, read once, by several processes.

Arguments: the number of processes, `x` where more is asked for or `-`, then pairs of a link at the top and the folder
it stands for. Standard input: the status of what writes to the same output before. Descriptor 3: pairs of
`<digests><path>` and what is expected there, each ended by NUL. The digests:
`n`one, `m`d5, `s`ha256, `b`oth, `x`xh128 or `c`, sha256 and xxh128 (sha256 instead of `x` where the host has no
libxxhash); a capital letter asks also for what lies in that folder and is none of the paths.
What is expected may be `#device,inode,ctime,size,mtime`: a path that still has these is as expected, unread.
Output, a line each: the answers to known questions; lists of how many paths are as expected, then of the others
`[number, type, mode, uid, gid, size, mtime_ns, link, md5, sha256, capabilities, error]`, with `x` also `[device, inode,
names, sparse, ctime_ns, [[attribute, value], …], xxh128]`; `["in", [path, …]]` for what else lies in folders;
`["end", count, clock]`, the clock as it was before. Only the standard library of Python 3.6.
"""
# ruff: noqa: PTH115, S324 - plain os calls start fastest and take any bytes as names; md5 is what packages give

import errno
import gc
import hashlib
import os
import stat
import sys
import time

try:  # `import json` costs more than looking at a thousand files
    from _json import encode_basestring_ascii as quoted
except ImportError:
    from json import dumps as quoted

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing `typing` would take as long as hashing a hundred files
    from collections.abc import Callable

BATCH = 64
FEW, AHEAD = 4, 256
"""The first AHEAD paths go out FEW at a time: whoever asks puts the largest there."""
WRITE = 6
"""Batches written at once: a packet on the wire costs as much as looking at ten files."""
ATTRIBUTES = ("system.posix_acl_access", "system.posix_acl_default")
"""Beside `user.*`: capabilities are told apart from them."""
MORE = sys.argv[2:3] == ["x"]
_GONE = (errno.ENOENT, errno.ENOTDIR)
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BUFFER = bytearray(1 << 16)  # what fits into the cache: four times as much takes a third longer
_VIEW = memoryview(_BUFFER)
_KILL = 9
XXH = None  # type: tuple[Callable[[], object], Callable[[int], object], Callable[[], str]] | None


def opened(path: bytes) -> int:
    """A descriptor to read from, without touching the access time where that is allowed."""
    try:
        return os.open(path, _FLAGS | os.O_NOATIME)
    except PermissionError:
        return os.open(path, _FLAGS)


def xxhash() -> "tuple[Callable[[], object], Callable[[int], object], Callable[[], str]] | None":
    """XXH3 of what is in our buffer: begin, go on with so many bytes, tell in hex. None: not here, or a wrong one."""
    try:
        import ctypes

        class Hash(ctypes.Structure):
            _fields_ = (("low", ctypes.c_uint64), ("high", ctypes.c_uint64))

        library = ctypes.CDLL("libxxhash.so.0")
        library.XXH3_createState.restype = ctypes.c_void_p
        library.XXH3_128bits_digest.restype = Hash
        state = ctypes.c_void_p(library.XXH3_createState())
        buffer = (ctypes.c_char * len(_BUFFER)).from_buffer(_BUFFER)
        reset, update, digest = (
            library.XXH3_128bits_reset,
            library.XXH3_128bits_update,
            library.XXH3_128bits_digest,
        )
    except (ImportError, OSError, AttributeError):
        return None

    def told() -> str:
        found = digest(state)
        return f"{found.high:016x}{found.low:016x}"

    _BUFFER[:3] = b"abc"
    reset(state)
    update(state, buffer, ctypes.c_size_t(3))
    if told() != "06b05ab6733a618578af5f94892f3950":
        return None
    return lambda: reset(state), lambda count: update(state, buffer, ctypes.c_size_t(count)), told


def hashes(path: bytes, want: bytes) -> "tuple[str, str, str, str]":
    """MD5, SHA-256 and XXH3 in hex, as wanted, of one reading, and the capabilities of what was read."""
    md5 = hashlib.md5() if want in b"mb" else None
    sha = hashlib.sha256() if want in b"sbc" or (want == b"x" and XXH is None) else None
    xxh = XXH if want in b"xc" else None
    if xxh is not None:
        xxh[0]()
    descriptor = opened(path)
    try:
        caps = capabilities(descriptor)
        while True:
            count = os.readv(descriptor, (_BUFFER,))
            part = _VIEW[:count]
            if md5 is not None:
                md5.update(part)
            if sha is not None:
                sha.update(part)
            if xxh is not None:
                xxh[1](count)
            if count < len(_BUFFER):
                break
    finally:
        os.close(descriptor)
    return md5.hexdigest() if md5 else "", sha.hexdigest() if sha else "", xxh[2]() if xxh else "", caps


def capabilities(place: "bytes | int") -> str:
    """File capabilities as the kernel keeps them, in hex; empty: none."""
    try:
        if isinstance(place, int):  # open already: the path is not looked up once more
            return os.getxattr(place, b"security.capability").hex()
        return os.getxattr(place, b"security.capability", follow_symlinks=False).hex()
    except OSError:
        return ""


def holes(path: bytes, info: os.stat_result) -> bool:
    """Whether a file has any."""
    if not stat.S_ISREG(info.st_mode) or info.st_blocks * 512 >= info.st_size:
        return False
    try:
        descriptor = opened(path)
        try:
            return os.lseek(descriptor, 0, os.SEEK_HOLE) < info.st_size
        finally:
            os.close(descriptor)
    except OSError:
        return False


def attributes(path: bytes, info: os.stat_result) -> str:
    """Extended attributes but capabilities, values in hex, as JSON writes them without its outer brackets."""
    if stat.S_ISLNK(info.st_mode):
        return ""
    try:
        return ",".join(
            f'[{quoted(name)},"{os.getxattr(path, name, follow_symlinks=False).hex()}"]'
            for name in sorted(os.listxattr(path, follow_symlinks=False))
            if name.startswith("user.") or name in ATTRIBUTES
        )
    except OSError:
        return ""


def more(path: bytes, info: os.stat_result, named: str, xxh128: str) -> str:
    """What else a path has: which file it is, holes, the time of its last change, attributes, XXH3."""
    sparse = "true" if holes(path, info) else "false"
    return f',[{info.st_dev},{info.st_ino},{info.st_nlink},{sparse},{info.st_ctime_ns},[{named}],"{xxh128}"]'


def unchanged(info: os.stat_result, known: bytes) -> bool:
    """Whether a file still is the one it was, and nobody wrote to it."""
    screen = info.st_dev, info.st_ino, info.st_ctime_ns, info.st_size, info.st_mtime_ns
    return stat.S_ISREG(info.st_mode) and known == ",".join(map(str, screen)).encode()


def row(number: int, record: bytes, expected: bytes) -> "str | None":
    """Everything about one path; links are not followed. None: it is as expected."""
    want, path = record[:1].lower(), record[1:]
    try:
        info = os.lstat(path)
    except OSError as error:
        if error.errno in _GONE:
            return f'[{number},"a",0,0,0,0,0,"","","","",""]'
        return f'[{number},"o",0,0,0,0,0,"","","","",{quoted(error.strerror or "")}]'
    if expected[:1] == b"#":
        if unchanged(info, expected[1:]):
            return None
        expected = b""
    kind, link, md5, sha256, xxh128, caps, problem = "o", "", "", "", "", "", ""
    if stat.S_ISREG(info.st_mode):
        kind = "f"
        try:
            if want == b"n":
                caps = capabilities(path)
            else:
                md5, sha256, xxh128, caps = hashes(path, want)
        except OSError:
            problem = "it cannot be read"
            caps = capabilities(path)
    elif stat.S_ISDIR(info.st_mode):
        kind = "d"
    elif stat.S_ISLNK(info.st_mode):
        kind = "l"
        link = os.fsdecode(os.readlink(path))
    named = attributes(path, info) if MORE else ""
    mode = stat.S_IMODE(info.st_mode)
    if expected and not problem:
        content = xxh128 if want == b"x" else sha256
        seen = f"{kind}{mode:o},{info.st_uid},{info.st_gid},{content},{caps},{link}"
        if os.fsencode(f"{seen},{info.st_nlink},{named}" if MORE else seen) == expected:
            return None
    numbers = ",".join(map(str, (mode, info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns)))
    texts = ",".join(map(quoted, (link, md5, sha256, caps, problem)))
    return f'[{number},"{kind}",{numbers},{texts}{more(path, info, named, xxh128) if MORE else ""}]'


def strangers(records: "list[bytes]", links: "list[bytes]") -> "list[str]":
    """What lies in the folders asked for and is none of the paths, under whichever of its names."""
    known = {record[1:] for record in records}
    for place in range(0, len(links), 2):
        link, target = links[place : place + 2]
        top = link + b"/"
        known |= {target + path[len(link) :] for path in known if path.startswith(top)}
    found = []
    for folder in (record[1:] for record in records if record[:1].isupper()):
        try:
            names = os.listdir(folder) if stat.S_ISDIR(os.lstat(folder).st_mode) else []  # noqa: PTH208
        except OSError:
            continue
        found += [path for path in (folder + b"/" + name for name in names) if path not in known]
    return [os.fsdecode(path) for path in sorted(found)]


def write(data: bytes) -> None:
    """All of it to standard output."""
    while data:
        data = data[os.write(1, data) :]


def look_around(records: "list[bytes]", links: "list[bytes]", lock: "tuple[int, int]") -> None:
    """Write what else lies in folders."""
    line = f'["in",[{",".join(map(quoted, strangers(records, links)))}]]\n'.encode()
    os.read(lock[0], 1)
    write(line)
    os.write(lock[1], b"x")


def work(records: "list[bytes]", expected: "list[bytes]", tickets: int, lock: "tuple[int, int]") -> None:
    """Take batches until there are none; one process writes at a time."""
    lines = []  # type: list[str]
    ticket = b"first"
    while ticket:
        ticket = os.read(tickets, 4)
        if ticket:
            start = int.from_bytes(ticket, "big")
            stop = start + (FEW if start < AHEAD else BATCH)
            rows = [row(n, records[n], expected[n]) for n in range(start, min(stop, len(records)))]
            other = [one for one in rows if one is not None]
            lines.append(f"[{','.join([str(len(rows) - len(other)), *other])}]")
        if lines and (len(lines) == WRITE or not ticket):
            data = ("\n".join(lines) + "\n").encode()
            os.read(lock[0], 1)
            write(data)
            os.write(lock[1], b"x")
            lines = []


def hand_out(count: int, tickets: int) -> None:
    """Write a ticket per batch; whoever is free takes the next."""
    for start in (*range(0, min(count, AHEAD), FEW), *range(AHEAD, count, BATCH)):
        os.write(tickets, start.to_bytes(4, "big"))


def child(act: "Callable[[], None]") -> int:
    """Do this in a process of its own."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return pid


def await_turn() -> None:
    """Return when what writes before has written everything."""
    if sys.stdin.buffer.read() != b"0\n":
        sys.exit(1)


def main() -> int:
    """Known answers, the work, and a last line that proves that it is everything."""
    global XXH  # noqa: PLW0603 - the processes that are forked have it
    folder = "true" if stat.S_ISDIR(os.lstat("/").st_mode) else "false"
    greeting = (
        f'["{hashlib.md5(b"abc").hexdigest()}","{hashlib.sha256(b"abc").hexdigest()}",{folder}]\n'.encode()
    )
    clock = int(time.time() * 1e9)
    with os.fdopen(3, "rb") as questions:
        pairs = questions.read().split(b"\0")
    records, expected = pairs[0:-1:2], pairs[1:-1:2]
    gc.disable()
    if any(record[:1] in b"xXcC" for record in records):
        XXH = xxhash()
    jobs = int(sys.argv[1]) or min(8, len(os.sched_getaffinity(0)))
    (take, give), lock = os.pipe(), os.pipe()
    first = child(await_turn)
    children = {first, child(lambda: hand_out(len(records), give))}
    os.close(give)
    children |= {
        child(lambda: work(records, expected, take, lock))
        for _ in range(max(1, min(jobs, len(records) // BATCH)))
    }
    os.close(take)
    if any(record[:1].isupper() for record in records):
        links = [os.fsencode(word) for word in sys.argv[3:]]
        children.add(child(lambda: look_around(records, links, lock)))
    failed = False
    while children:
        pid, status = os.wait()
        children.discard(pid)
        if pid == first and not status:
            write(greeting)
            os.write(lock[1], b"x")
        if status and not failed:  # it may hold the lock: nobody waits for it
            failed = True
            for other in children:
                os.kill(other, _KILL)
    if failed:
        return 3
    write(f'["end",{len(records)},{clock}]\n'.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
