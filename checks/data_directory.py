"""A MariaDB data directory whose server is silent: is there anything a server could start on? And its binary logs."""

from __future__ import annotations

from blocks.hosts.base import Connection
from checks.database import READ_TIMEOUT
from checks.fact import require
from model.command import Command, printable

# The doublewrite buffer, in two extents of the system tablespace, holds copies of other files' pages, which
# innochecksum takes for damaged ones (10.11.19, measured). Where it is stands on page 5, 200 bytes before its end.
PAGES = r"""
number() { od -An -tu4 --endian=big -j "$2" -N 4 -- "$1" 2>/dev/null | tr -d ' '; }
# page_size IBDATA: $page, from the flags of the tablespace.
page_size() {
    flags=$(number "$1" 54)
    size=$((${flags:-0} & 16 ? ${flags:-0} & 15 : ${flags:-0} >> 6 & 15))
    page=$((512 << size))
    [ "$page" -ge 4096 ] && [ "$page" -le 65536 ] || page=16384
}
# pages FILE WORDS…: whether the checksum of every page is right; WORDS make us the owner of the data.
pages() {
    file=$1
    shift
    case ${file##*/} in
        ibdata*)
            at=$((6 * page - 190)) extent=$((page > 16384 ? 64 : 1048576 / page))
            if [ "$(number "$file" "$at")" = 536853855 ]; then
                first=$(number "$file" $((at + 4))) second=$(number "$file" $((at + 8)))
                last=$(($(stat -c %s -- "$file") / page - 1))
                set -- "$@" innochecksum
                "$@" -e $((first - 1)) "$file" || return 1
                [ $((first + extent)) -ge "$second" ] ||
                    "$@" -s $((first + extent)) -e $((second - 1)) "$file" || return 1
                [ $((second + extent)) -gt "$last" ] || "$@" -s $((second + extent)) "$file"
                return
            fi
            ;;
    esac
    "$@" innochecksum "$file"
}
"""
"""Shell functions that check the pages of InnoDB's files, the server standing still."""

# Pages that a crash tore were mended when the server started again: of one that stands still they are damaged.
_LOOK = (
    PAGES
    + r"""
[ -d "$1" ] || { echo "gone the data directory"; exit; }
for name in ibdata1 mysql; do
    if [ -d "$1/$name" ]; then
        [ -n "$(ls -A -- "$1/$name")" ] || echo "gone $name of the data directory"
    else
        [ -s "$1/$name" ] || echo "gone $name of the data directory"
    fi
done
command -v innochecksum >/dev/null || exit 0
for each in /proc/[0-9]*/cwd; do [ "$(readlink "$each")" != "$1" ] || exit 0; done
page_size "$1/ibdata1"
find "$1" -type f '(' -name '*.ibd' -o -name 'ibdata*' -o -name 'undo[0-9]*' ')' | while IFS= read -r each; do
    said=$(pages "$each" </dev/null 2>&1) || echo "torn ${each#"$1/"}: $(printf '%s' "$said" | head -n 1)"
done
"""
)
_LOGS = r"""
[ -r "${1%.*}.index" ] || exit 0
first=$1 base=${1%.*} seen='' last=''
while IFS= read -r line; do
    file=${first%/*}/${line##*/}
    if [ "$file" = "$first" ]; then seen=yes; fi
    [ -n "$seen" ] || continue
    for tool in mariadb-binlog mysqlbinlog; do ! command -v "$tool" >/dev/null || break; done
    "$tool" --no-defaults --verify-binlog-checksum -- "$file" </dev/null >/dev/null 2>&1 || exit 0
    last=$file
done <"$base.index"
[ -z "$last" ] || printf '%s\n' "$last"
"""


def unusable(connection: Connection, folder: str) -> tuple[str, bool]:
    """Why no server can start on a data directory, in words, and whether its pages are the reason; empty: it could.

    Raises:
        Transient: the connection was lost.
    """
    answer = connection.run(
        Command(
            ("sh", "-c", _LOOK, "reinstate-data", folder),
            sudo=True,
            env={"LC_ALL": "C"},
            timeout=READ_TIMEOUT,
        )
    )
    require(answer, connection.name, "looking at the data directory")
    told = [printable(line).partition(" ") for line in answer.text.splitlines()]
    gone = [rest for word, _, rest in told if word == "gone"]
    torn = [rest for word, _, rest in told if word == "torn"]
    if gone:
        return f"{' and '.join(gone)} {'is' if len(gone) == 1 else 'are'} gone", False
    more = f", and {len(torn) - 1} more files" if len(torn) > 1 else ""
    return (f"damaged pages in {torn[0][:200]}{more}", True) if torn else ("", False)


def replayable(connection: Connection, position: str) -> str:
    """What people could replay by hand onto a backup, in one sentence; empty without whole binary logs since then.

    Args:
        connection: the host.
        position: of the backup: `lsn NUMBER binlog FILE NUMBER`.

    Raises:
        Transient: the connection was lost.
    """
    words = position.split(" ")
    if len(words) != 5 or words[2] != "binlog":
        return ""
    answer = connection.run(
        Command(("sh", "-c", _LOGS, "reinstate-binlog", words[3]), sudo=True, timeout=3600.0)
    )
    require(answer, connection.name, "reading the binary logs")
    last = printable(answer.text.strip())
    if not last:
        return ""
    return (
        f"The server's binary logs from {words[3]}, position {words[4]}, to {last} are whole: what was written since "
        "can be replayed from them by hand (docs/databases.md). Where they lie in the data directory, they are kept "
        "with the damaged one."
    )
