"""A MariaDB database: does it answer, does every table pass its engine's check, can every row be read (R-RESP-2)?

`CHECK TABLE` walks the trees, `CHECKSUM TABLE` reads every row to its end, and `innochecksum` reads what is on the
disk, which the server may still hold whole in memory. No row travels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from blocks.hosts.base import Connection
from blocks.secrets import Secrets
from checks import data_directory
from checks.database import READ_TIMEOUT, DatabaseData, wait_for_server
from checks.mariadb import MariadbTools, identifier, literal
from model.assets import MariadbAsset
from model.command import Command, printable
from model.errors import PreconditionFailed, Transient
from model.manifest import TableCount

_ERROR = re.compile(r"^ERROR (\d+) \(\w+\)(?: at line (\d+))?: (.*)$")
_GONE = {"2002", "2006", "2013", "2055", "1053", "1927"}
"""The server went away or is not there."""

_FACTS = """
SELECT JSON_OBJECT('version', VERSION(), 'folder', @@datadir, 'page', @@innodb_page_size)
"""
# A table's name as the server's own files have it.
_FILES = """
SELECT JSON_OBJECT('name', table_name, 'file', CAST(CONVERT(table_name USING filename) AS CHAR),
                   'plain', UPPER(row_format) <> 'COMPRESSED')
FROM information_schema.tables
WHERE table_schema = {database} AND engine = 'InnoDB' AND table_type <> 'SEQUENCE'
"""
# Three looks: a page that the server writes at this moment looks torn, and is whole a moment later. The size says what
# innochecksum does not: a file that was cut at the end of a page passes it.
_ON_DISK = r"""
cd -- "$1" || exit 3
command -v innochecksum >/dev/null || exit 4
page=$2
while IFS= read -r number && IFS= read -r plain && IFS= read -r name; do
    file=./$name.ibd
    [ -f "$file" ] || continue
    for try in 1 2 3; do
        said=$(innochecksum "$file" 2>&1) && said= && break
        sleep 1
    done
    if [ -z "$said" ] && [ "$plain" = 1 ]; then
        pages=$(od -An -tu4 --endian=big -j46 -N4 -- "$file") size=$(stat -c %s -- "$file")
        [ $((pages * page)) -le "$size" ] || said="the file has $size bytes, its first page says $((pages * page))"
    fi
    [ -z "$said" ] || printf '%s %s\n' "$number" "$(printf '%s' "$said" | head -n 1)"
done
"""


@dataclass
class TablesSeen:
    """What the server said of its tables.

    Attributes:
        errors: table → why it cannot be read or is not as it should be.
        shut: tables that cannot even be opened.
        counts: rows by table.
        sums: `CHECKSUM TABLE` by table.
    """

    errors: dict[str, str] = field(default_factory=dict)
    shut: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    sums: dict[str, str] = field(default_factory=dict)


def collect(connection: Connection, asset: MariadbAsset, secrets: Secrets) -> DatabaseData:
    """Connect, check and read every table to its end, on the host.

    Raises:
        Transient: the connection to the host was lost.
    """
    with MariadbTools(connection, asset, secrets) as tools:
        try:
            facts = tools.rows(_FACTS)[0]
            if asset.database not in tools.databases():
                return DatabaseData(unreachable="there is no such database", absent=True)
            tables = tools.tables(asset.database)
        except PreconditionFailed as error:
            return _silent(connection, asset, error.what)
        seen = look(tools, asset.database, tables)
        torn, unchecked = _on_disk(tools, facts)
        errors = {**torn, **seen.errors}
        return DatabaseData(
            version=str(facts["version"]),
            checksums=True,
            tables=tuple(tables),
            errors=tuple(sorted(errors.items())),
            counts=tuple(TableCount(table=table, rows=rows) for table, rows in sorted(seen.counts.items())),
            torn=frozenset(torn),
            unchecked=(
                f"{asset.database}: pages of no table, and values altered by a statement",
                *([f"{asset.database}: {unchecked}"] if unchecked else []),
            ),
        )


def _silent(connection: Connection, asset: MariadbAsset, why: str) -> DatabaseData:
    """A server that does not answer; where its whole data directory can be restored, whether that is the reason."""
    folder = asset.data_directory if asset.method == "mariabackup" else None
    said, torn = data_directory.unusable(connection, folder) if folder else ("", False)
    if folder is None or not said:
        return DatabaseData(unreachable=why)
    return DatabaseData(unreachable=why, errors=((folder, said),), torn=frozenset({folder} if torn else ()))


def look(tools: MariadbTools, database: str, tables: Sequence[str], *, check: bool = True) -> TablesSeen:
    """Have the server check, checksum and count tables; one that takes the server down is skipped when it is back.

    Args:
        tools: of the server.
        database: which.
        tables: their names.
        check: also `CHECK TABLE`; without it they are only read.

    Raises:
        PreconditionFailed: the server did not come back.
    """
    seen = TablesSeen()
    start = 0
    while start < len(tables):
        start += _some(tools, database, tables[start:], seen, check)
        if start < len(tables):
            wait_for_server(lambda: tools.rows("SELECT JSON_OBJECT('one', 1)"))
    return seen


def _some(tools: MariadbTools, database: str, tables: Sequence[str], seen: TablesSeen, check: bool) -> int:
    """Look at tables in one session until all are seen or it breaks; returns how many were dealt with."""
    script: list[str] = []
    places: dict[
        int, tuple[str, int]
    ] = {}  # a name may hold a newline: statements do not lie at even distances
    for number, table in enumerate(tables):
        name = f"{identifier(database)}.{identifier(table)}"
        statements = [
            f"SELECT '@{number}';",
            f"SELECT 1 FROM {name} LIMIT 0;",  # noqa: S608 - quoted by `identifier`
            f"CHECK TABLE {name};" if check else "DO 0;",
            f"CHECKSUM TABLE {name} EXTENDED; SELECT CONCAT('rows ', COUNT(*)) FROM {name};",  # noqa: S608 - quoted
        ]
        for kind, statement in enumerate(statements):
            places |= dict.fromkeys(
                range(len(script), len(script) + statement.count("\n") + 1), (table, kind)
            )
            script += statement.split("\n")
    result = tools.script("\n".join(script) + "\n", force=True, timeout=READ_TIMEOUT)
    told = _by_table(result.text)
    broken = ""
    for line in result.stderr.decode("utf-8", "replace").splitlines():
        error = _ERROR.match(line)
        if error is None:
            continue
        at = int(error[2] or 0) - 2  # the session's settings are line 1
        if error[1] in _GONE or at < 0:
            broken = broken or f"{error[1]} {error[3]}"
        elif at in places:
            table, kind = places[at]
            seen.errors.setdefault(table, printable(f"{error[1]} {error[3]}"))
            if kind == 1:
                seen.shut.add(table)
    done = len(told) if not broken else max(1, len(told))
    for number, table in enumerate(tables[:done]):
        _read(told.get(number, []), table, seen)
    if broken:
        seen.errors[tables[done - 1]] = printable(f"the server broke off: {broken}")
        return done
    return len(tables)


def _by_table(text: str) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line.startswith("@") and line[1:].isdigit():
            current = found.setdefault(int(line[1:]), [])
        else:
            current.append(line)
    return found


def _read(lines: Sequence[str], table: str, seen: TablesSeen) -> None:
    """What the server printed for one table: of its check, its checksum and its rows."""
    said_bad = []
    for line in lines:
        fields = line.split("\t")
        if len(fields) == 4 and fields[1] == "check":
            if fields[2].lower() in {"error", "warning"} and fields[3] != "OK":
                said_bad.append(fields[3])
        elif len(fields) == 2 and fields[1].isdigit():
            seen.sums[table] = fields[1]
        elif line.startswith("rows ") and line[5:].isdigit():
            seen.counts[table] = int(line[5:])
    if said_bad:
        seen.errors[table] = printable("; ".join(dict.fromkeys(said_bad)))[:300]


def _on_disk(tools: MariadbTools, facts: Mapping[str, object]) -> tuple[dict[str, str], str]:
    """Tables whose files are damaged on the disk, and why that was not looked at."""
    asset = tools.asset
    rows = tools.rows(_FILES.format(database=literal(asset.database)))
    stdin = "".join(f"{n}\n{int(bool(r['plain']))}\n{r['file']}\n" for n, r in enumerate(rows))
    folder = f"{str(facts['folder']).rstrip('/')}/{asset.database}"
    result = tools.connection.run(
        Command(
            ("sh", "-c", _ON_DISK, "reinstate-innochecksum", folder, str(facts["page"])), stdin=stdin.encode(),
            sudo=True, env={"LC_ALL": "C"}, timeout=READ_TIMEOUT,
        )
    )  # fmt: skip
    if result.status is None:
        raise Transient("the connection was lost during the check.", tools.connection.name, "run it again")
    if not result.ok:
        return {}, "what is on the disk (no innochecksum, or the data directory is on another host)"
    return dict(_torn(result.text, [str(row["name"]) for row in rows])), ""


def _torn(text: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        number, _, why = line.partition(" ")
        if number.isdigit() and int(number) < len(names):
            yield names[int(number)], printable(why)[:300]
