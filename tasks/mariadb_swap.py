"""Tables of a MariaDB database moved into place and back by named jobs: the server's side of a restore (G2, G5).

MariaDB cannot rename a database, so all its tables are renamed by one statement that takes effect as a whole. Triggers
stand in its way and are made anew afterwards, with views, routines and events. A table that cannot be opened, or whose
damage keeps the server from following its foreign keys, cannot be renamed either: its files are copied aside, and an
empty one of the same make goes the way in its stead.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from checks.mariadb import SESSION, MariadbTools, identifier, literal
from model.command import Command, Result
from model.errors import ReinstateError
from tasks.database_swap import SECONDS, Names
from tasks.dump_grammar import CODE

# The session that renames waits half a minute for those who use the tables; then they are ended.
_RENAME = r"""
database=$1 code=$2; shift 2
script=$(cat)
for try in 1 2 3 4 5; do
    if [ "$try" -gt 1 ]; then
        printf "SELECT id FROM information_schema.processlist WHERE db = '%s' AND id <> connection_id();" "$database" |
            "$@" | while read -r id; do printf 'KILL %s;\n' "$id" | "$@" 2>/dev/null; done
        sleep 1
    fi
    printf '%s\n' "$script" | "$@" && exit 0
done
[ ! -s "$code" ] || "$@" "--database=$database" <"$code" || :
exit 1
"""
# What is of a table that cannot be opened is in the files that are copied aside.
_KEEP_CODE = r"""
umask 077
kept=$1 database=$2; shift 2
set -f
views=$(cat)
IFS='
'
{
    "$@" --force --skip-lock-tables --no-data --no-create-info --triggers --routines --events \
        --default-character-set=utf8mb4 -- "$database" || :
    [ -z "$views" ] || "$@" --force --skip-lock-tables --no-data --skip-triggers --default-character-set=utf8mb4 \
        -- "$database" $views || :
} >"$kept.part" && mv -f -- "$kept.part" "$kept" && sync -f -- "$kept"
"""
_TABLES_OF = r"""LC_ALL=C sed "/^$2\$/,\$d" <"$1" | { shift 2; exec "$@"; }"""
_CODE_OF = r"""LC_ALL=C sed -n "/^$2\$/,\$p" <"$1" | { shift 2; exec "$@"; }"""
_FROM = 'file=$1; shift; [ ! -s "$file" ] || exec "$@" <"$file"'
# Names of the files of a table, as the server has them, one a line.
_ASIDE = r"""
umask 077
from=$1 to=$2
mkdir -p -- "$to" || exit 3
while IFS= read -r name; do
    for file in "$from/$name".* "$from/$name#"*; do
        [ ! -f "$file" ] || cp -p -- "$file" "$to/" || exit 3
    done
done
sync -f -- "$to"
"""


@dataclass(frozen=True)
class MariadbEffect:
    """The steps of one restore or undo on the server, each a named job."""

    tools: MariadbTools
    names: Names
    prefix: str
    token: int

    @property
    def where(self) -> str:
        """Host and database, for messages."""
        return f"{self.tools.connection.name}:{self.names.live}"

    @property
    def folder(self) -> str:
        """Where files of this effect are kept on the host until commit."""
        return f"{self.tools.connection.host.state_dir.rstrip('/')}/set-aside/{self.names.damaged}"

    @property
    def code(self) -> str:
        """The file with triggers, views, routines and events as they were before the restore."""
        return f"{self.folder}.code.sql"

    def job(self, name: str, command: Command, what: str, remedy: str) -> Result:
        """Run a step; a step that failed raises, and never as Transient: its name has its result for good."""
        result = self.tools.connection.job(f"{self.prefix}-{name}", command, self.token)
        if not result.ok:
            raise ReinstateError(f"{what}: {result.tail(3)}.", self.where, remedy)
        return result

    def sql(self, name: str, statements: Sequence[str], what: str, remedy: str) -> Result:
        """Run statements in one session."""
        text = SESSION + "".join(f"{statement};\n" for statement in statements)
        stdin = text.encode("utf-8", "surrogateescape")
        return self.job(name, self.tools.command(self.tools.client(), SECONDS, stdin), what, remedy)

    def create(self) -> None:
        """Make the fresh database anew, with the character set of the live one."""
        fresh = identifier(self.names.fresh)
        self.sql(
            "create", ("SET SESSION foreign_key_checks = 0", f"DROP DATABASE IF EXISTS {fresh}", self.making(fresh)),
            f"{self.names.fresh} could not be created", "the database user of the plan needs CREATE and DROP",
        )  # fmt: skip

    def making(self, quoted: str) -> str:
        """The statement that makes a database like the live one."""
        rows = self.tools.rows(
            "SELECT JSON_OBJECT('set', default_character_set_name, 'collation', default_collation_name) "  # noqa: S608
            f"FROM information_schema.schemata WHERE schema_name = {literal(self.names.live)}"
        )
        like = f" CHARACTER SET {rows[0]['set']} COLLATE {rows[0]['collation']}" if rows else ""
        return f"CREATE DATABASE IF NOT EXISTS {quoted}{like}"

    def load(self, dump: str) -> None:
        """Load the tables of a staged dump into the fresh database."""
        words = ("sh", "-c", _TABLES_OF, "reinstate-load", dump, CODE.decode())
        self.job(
            "load", self.tools.command((*words, *self.tools.client(self.names.fresh)), SECONDS),
            "the dump could not be loaded", "look at the server's log; the live database was not touched",
        )  # fmt: skip

    def load_code(self, dump: str) -> None:
        """Load triggers, routines, events and views of a staged dump into the live database."""
        words = ("sh", "-c", _CODE_OF, "reinstate-code", dump, CODE.decode())
        self.job(
            "code", self.tools.command((*words, *self.tools.client(self.names.live)), SECONDS),
            "triggers, routines, events or views could not be made",
            "the tables are restored; look at the message, then run it again or roll back",
        )  # fmt: skip

    def keep_code(self) -> None:
        """Keep the live database's triggers, views, routines and events in a file, for the undo."""
        stdin = "".join(f"{view}\n" for view in self.tools.views(self.names.live)).encode(
            "utf-8", "surrogateescape"
        )
        words = ("sh", "-c", _KEEP_CODE, "reinstate-keep", self.code, self.names.live)
        command = self.tools.command((*words, *self.tools.words("mariadb-dump")), SECONDS, stdin)
        self.tools.connection.write_file(f"{self.folder}.begun", b"")
        self.job(
            "keep", command, "triggers, views and routines could not be kept for an undo",
            "look at the message; the live database was not touched",
        )  # fmt: skip

    def set_aside(self, lost: Sequence[str]) -> None:
        """Copy the files of tables that cannot be renamed."""
        names = self.tools.rows(
            "SELECT JSON_OBJECT('name', CAST(CONVERT(table_name USING filename) AS CHAR), 'folder', @@datadir) "  # noqa: S608
            f"FROM information_schema.tables WHERE table_schema = {literal(self.names.live)} "
            f"AND table_name IN ({', '.join(map(literal, lost))})"
        )
        source = f"{str(names[0]['folder']).rstrip('/')}/{self.names.live}"
        stdin = "".join(f"{row['name']}\n" for row in names).encode()
        command = Command(
            ("sh", "-c", _ASIDE, "reinstate-aside", source, self.folder), stdin=stdin, sudo=True,
            env={"LC_ALL": "C"}, timeout=SECONDS,
        )  # fmt: skip
        self.job(
            "aside", command, "the files of damaged tables could not be copied aside",
            "free space in the state directory; the live database was not touched",
        )  # fmt: skip

    def without_code(self, database: str, lost: Sequence[str] = ()) -> list[str]:
        """Statements that drop a database's triggers, views, routines and events; not those of lost tables."""
        of, quoted = literal(database), identifier(database)
        rows = self.tools.rows(
            "SELECT JSON_OBJECT('kind', kind, 'name', name) FROM ("  # noqa: S608 - a literal, quoted
            "SELECT 'TRIGGER' AS kind, trigger_name AS name FROM information_schema.triggers "
            f"WHERE trigger_schema = {of} "
            f"AND event_object_table NOT IN ({', '.join(map(literal, ('', *lost)))}) "
            f"UNION ALL SELECT 'VIEW', table_name FROM information_schema.views WHERE table_schema = {of} "
            f"UNION ALL SELECT routine_type, routine_name FROM information_schema.routines WHERE routine_schema = {of} "
            f"UNION ALL SELECT 'EVENT', event_name FROM information_schema.events WHERE event_schema = {of}) code "
            "ORDER BY kind, name"
        )
        kinds = {"TRIGGER", "VIEW", "PROCEDURE", "FUNCTION", "EVENT"}
        return [
            f"DROP {row['kind']} IF EXISTS {quoted}.{identifier(row['name'])}"
            for row in rows
            if row["kind"] in kinds
        ]

    def rename(
        self,
        name: str,
        moves: Sequence[tuple[str, str]],
        first: Sequence[str],
        without: Collection[str] = (),
    ) -> None:
        """Move all tables of databases to others by one statement.

        Args:
            name: of the step.
            moves: (from, to), in this order: children follow their parents' renames.
            first: statements before it.
            without: tables of the first database that are not moved.
        """
        pairs = [
            f"{identifier(source)}.{identifier(table)} TO {identifier(target)}.{identifier(table)}"
            for source, target in moves
            for table in self.tools.tables(source)
            if source != moves[0][0] or table not in without
        ]
        whole = [*first, *([f"RENAME TABLE {', '.join(pairs)}"] if pairs else [])]
        text = SESSION + "".join(f"{statement};\n" for statement in whole)
        words = ("sh", "-c", _RENAME, "reinstate-rename", self.names.live, self.code)
        self.job(
            name,
            self.tools.command(
                (*words, *self.tools.client()), 3600.0, text.encode("utf-8", "surrogateescape")
            ),
            f"the tables of {self.names.live} could not be exchanged",
            "see who holds a lock there; the tables are as they were",
        )

    def drop(self, name: str, database: str) -> None:
        """Drop one of our own databases."""
        self.sql(
            name, ("SET SESSION foreign_key_checks = 0", f"DROP DATABASE IF EXISTS {identifier(database)}"),
            f"{database} could not be dropped", "drop it by hand; it is not in use",
        )  # fmt: skip

    def load_kept_code(self) -> None:
        """Make triggers, views, routines and events of the live database again as they were kept."""
        words = ("sh", "-c", _FROM, "reinstate-code", self.code)
        self.job(
            "code", self.tools.command((*words, *self.tools.client(self.names.live)), SECONDS),
            "triggers, views or routines could not be made again",
            f"the tables are as before the recovery; load {self.code} by hand",
        )  # fmt: skip
