"""The programs of the host that a recovery of one asset runs: whether each of them starts. One command; read-only."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.hosts.base import Connection
from checks.fact import require
from model.assets import Asset, MariadbAsset, PostgresAsset, SqliteAsset
from model.backup_sources import BackupSource, PgBackRestSource
from model.command import Command

# Words that begin with / or a letter are tried; of a group that `|` joins, one is enough.
_STARTS = r"""
PATH=$PATH:/usr/sbin:/sbin
for group; do
    rest=$group found=
    while [ -n "$rest" ]; do
        program=${rest%%|*}
        case $rest in *'|'*) rest=${rest#*|} ;; *) rest= ;; esac
        for option in --version version; do
            "$program" "$option" </dev/null >/dev/null 2>&1 && found=yes && break
        done
    done
    [ -n "$found" ] || printf '%s\0' "$group"
done
"""


def programs(asset: Asset, source: BackupSource | None) -> tuple[str, ...]:
    """What is run; alternatives joined by `|`."""
    match asset:
        case PostgresAsset():
            cluster = isinstance(source, PgBackRestSource)
            return (_in(asset.bin_dir, "psql"), "pgbackrest" if cluster else _in(asset.bin_dir, "pg_restore"))
        case MariadbAsset(method="mariabackup"):
            # `mbstream` comes with the first of these, and has no option to try it with.
            tools = (
                ("mariadb",),
                ("mariadb-backup", "mariabackup"),
                ("mariadbd", "mysqld"),
                ("innochecksum",),
            )
            return tuple("|".join((*(_in(asset.bin_dir, name) for name in group), *group)) for group in tools)
        case MariadbAsset():
            return (_in(asset.bin_dir, "mariadb"),)
        case SqliteAsset():
            return ("python3|/usr/libexec/platform-python|sqlite3",)
        case _:
            return ()


def _in(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder else name


def broken(connection: Connection, groups: Sequence[str]) -> list[str]:
    """Those that do not start.

    Raises:
        Transient: the connection was lost. PreconditionFailed: the host has no shell that runs.
    """
    if not groups:
        return []
    answer = connection.run(
        Command(("sh", "-c", _STARTS, "reinstate-starts", *groups), sudo=True, timeout=120.0)
    )
    require(answer, connection.name, "starting the programs a recovery needs")
    return [group.replace("|", " or ") for group in answer.text.split("\0") if group]
