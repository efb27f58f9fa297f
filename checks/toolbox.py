"""The host's own tools, each tried on a known answer, before anything they say is believed. One command, only sh.

A damaged host whose `find` lies or whose `md5sum` does not start must not look like a host without files (G11). What is
broken is a finding of its own; what the examination needs of it is lent for its time (`tasks.toolset`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from blocks.hosts.base import Connection
from model.assets import DpkgAsset
from model.command import Command, printable
from model.errors import Transient
from model.finding import CheckResult, Code, Degree, Finding, judged

PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "dash": ("sh",),
    "coreutils": (
        *(
            "cat",
            "head",
            "tail",
            "tr",
            "wc",
            "sort",
            "md5sum",
            "sha256sum",
            "ls",
            "stat",
            "date",
            "env",
            "id",
            "rm",
        ),
        *(
            "mv",
            "cp",
            "ln",
            "mkdir",
            "rmdir",
            "touch",
            "chmod",
            "chown",
            "mktemp",
            "sync",
            "dd",
            "sleep",
            "df",
        ),
    ),
    "findutils": ("find", "xargs"),
    "grep": ("grep",),
    "sed": ("sed",),
    "tar": ("tar",),
    "gzip": ("gzip",),
    "diffutils": ("diff",),
    "util-linux": ("flock", "setsid", "runuser"),
    "dpkg": ("dpkg", "dpkg-deb", "dpkg-query", "dpkg-split", "start-stop-daemon"),
    "libc-bin": ("ldconfig",),
    "apt": ("apt-get",),
    "python3-minimal": ("python3",),
    "perl-base": ("perl",),
}
"""What is tried, by the Debian package that has it."""

OWNERS: Mapping[str, str] = {name: package for package, names in PROGRAMS.items() for name in names}

OPTIONAL = frozenset({"apt-get", "python3", "perl", "flock", "setsid", "runuser", "gzip", "dpkg-split"})
"""Tools a host may do without; only broken ones are findings, and nothing of ours stops without them."""

# `t NAME EXPECTED WORDS…` compares what WORDS print, `v NAME BEGINNING` what `NAME --version` prints.
_SCRIPT = r"""
LC_ALL=C; export LC_ALL
if [ -n "${REINSTATE_TOOLS-}" ]; then
    unset LD_LIBRARY_PATH
    PATH=${PATH#"$REINSTATE_TOOLS/bin:"}
fi
PATH=$PATH:/usr/sbin:/sbin
nl='
'
tell() {
    where=$(command -v "$1" 2>/dev/null) || where=
    printf '%s\t%s\t%s\t%s\n' "$1" "$where" "$2" "${3%%"$nl"*}"
}
judge() {
    if [ "$3" = "$4" ]; then return; fi
    why=$("$5" --version 2>&1 >/dev/null </dev/null)
    tell "$1" "$2" "$why"
}
t() { name=$1 want=$2; shift 2; got=$("$@" 2>/dev/null); judge "$name" "$?" "$got" "$want" "$name"; }
v() {
    got=$("$1" --version 2>/dev/null </dev/null); rc=$?
    case $got in "$2"*) ;; *) judge "$1" "$rc" no yes "$1" ;; esac
}
abc() { printf abc; }
two() { printf 'b\na\n'; }
p() { in=$1 name=$2 want=$3; shift 3; got=$("$in" | "$@" 2>/dev/null); judge "$name" "$?" "$got" "$want" "$name"; }
p abc cat abc cat
p abc head ab head -c 2
p two tail a tail -n 1
p abc tr axc tr b x
p abc wc 3 wc -c
p two sort "a${nl}b" sort
p two grep b grep b
p abc sed axc sed s/b/x/
p abc md5sum '900150983cd24fb0d6963f7d28e17f72  -' md5sum
p abc sha256sum 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -' sha256sum
p two xargs 'b.a.' xargs printf '%s.'
t find 'd/' find / -maxdepth 0 -printf '%y%p'
t ls / ls -d /
t stat / stat -c %n /
t date 1970 date -u -d @0 +%Y
t env A=b env -i A=b env
t id "$(id -u 2>/dev/null || echo 0)" id -u
zip() { printf abc | gzip -c | gzip -dc; }
got=$(zip 2>/dev/null); judge gzip "$?" "$got" abc gzip
for n in rm mv cp ln mkdir rmdir touch chmod chown mktemp sync sleep df; do v "$n" "$n ("; done
v dd 'dd ('
v tar 'tar ('
v diff 'diff ('
v dpkg "Debian 'dpkg'"
v dpkg-deb "Debian 'dpkg-deb'"
v dpkg-query 'Debian '
v dpkg-split "Debian 'dpkg-split'"
v start-stop-daemon 'start-stop-daemon '
v ldconfig 'ldconfig ('
for n in flock setsid runuser; do v "$n" "$n from"; done
v apt-get 'apt '
t perl 42 perl -e 'print 42'
t python3 42 python3 -I -S -c 'print(42)'
printf 'end\t\t\t\n'
"""


@dataclass(frozen=True)
class Broken:
    """A tool that does not do what it is for.

    Attributes:
        name: of the program.
        path: where the host has it; empty when it is not there.
        why: what it said, or how it ended.
    """

    name: str
    path: str
    why: str

    @property
    def needed(self) -> bool:
        """Whether the examination or a repair stops without it."""
        return self.name not in OPTIONAL


def probe(connection: Connection) -> tuple[Broken, ...]:
    """Try the host's own tools, also where others are lent.

    Returns:
        Those that are broken; of optional ones only those that are there. A shell that does not run hides the rest:
        try again with a lent one.

    Raises:
        Transient: the connection was lost.
    """
    result = connection.run(Command(("sh", "-c", _SCRIPT, "reinstate-tools"), sudo=True, timeout=120.0))
    lines = [line.split("\t", 3) for line in result.text.splitlines()]
    if not lines or lines[-1][0] != "end":
        if result.status is None and not connection.run(Command(("echo", "here"), timeout=20.0)).ok:
            raise Transient(
                "the connection was lost while its tools were tried.", connection.name, "try again"
            )
        why = result.tail(1) or f"ended with {result.status}"
        return (Broken("sh", "/bin/sh", why),)
    found = []
    for name, path, status, why in (line for line in lines[:-1] if len(line) == 4):
        broken = Broken(name, path, printable(why) or f"wrong answer (status {status})")
        if broken.needed or path:
            found.append(broken if path else Broken(name, "", "it is not there"))
    return tuple(found)


def judge(name: str, asset: DpkgAsset, broken: Sequence[Broken]) -> CheckResult:
    """A finding for each broken tool."""
    return judged(
        "tools", asset.host, name, len(OWNERS), tuple(_findings(name, asset, broken)), "tools of the system"
    )


def _findings(name: str, asset: DpkgAsset, broken: Collection[Broken]) -> Iterator[Finding]:
    for tool in broken:
        yield Finding(
            code=Code.TOOL_BROKEN, host=asset.host, asset=name, subject=tool.path or tool.name,
            degree=Degree.SERIOUS if tool.needed else Degree.SLIGHT, expected="it answers a known question",
            actual=tool.why[:200], package=OWNERS.get(tool.name, ""),
        )  # fmt: skip
