"""A MariaDB data directory whose server is silent: is there anything a server could start on? And its binary logs."""

from __future__ import annotations

from blocks.hosts.base import Connection
from checks.fact import require
from model.command import Command, printable

# Only what no server starts without: after a crash single pages may be torn, which the server itself mends.
_MISSING = r"""
[ -d "$1" ] || { echo .; exit; }
for name in ibdata1 mysql; do
    if [ -d "$1/$name" ]; then
        [ -n "$(ls -A -- "$1/$name")" ] || echo "$name"
    else
        [ -s "$1/$name" ] || echo "$name"
    fi
done
"""
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


def missing(connection: Connection, folder: str) -> str:
    """What of a data directory is gone, in words; empty when a server could start on it.

    Raises:
        Transient: the connection was lost.
    """
    answer = connection.run(Command(("sh", "-c", _MISSING, "reinstate-data", folder), sudo=True))
    require(answer, connection.name, "looking at the data directory")
    names = answer.text.split()
    if "." in names:
        return "the data directory is gone"
    return (
        f"{' and '.join(names)} of the data directory {'is' if len(names) == 1 else 'are'} gone"
        if names
        else ""
    )


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
