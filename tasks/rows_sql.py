"""The SQL that compares a table with its earlier self and merges rows back; identifiers quoted, no row in any text."""

# ruff: noqa: S608 - every name in these statements passes `identifier`, every text `literal`

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from checks.postgres import identifier, literal

SETTINGS = (
    "SET datestyle = ISO; SET timezone = UTC; SET extra_float_digits = 3; SET intervalstyle = postgres; "
    "SET bytea_output = hex; SET row_security = off; SET statement_timeout = 0;\n"
)
"""Equal rows have equal text on both servers."""

TABLES = r"""
SELECT n.nspname AS schema, c.relname AS name,
    (SELECT coalesce(json_agg(a.attname ORDER BY k.n), '[]')
        FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k (c, n) JOIN pg_attribute a ON a.attnum = k.c
        WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid) AS key,
    (SELECT json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum)
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
    (SELECT coalesce(json_agg(a.attname), '[]') FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> '') AS generated,
    (SELECT coalesce(json_agg(json_build_array(f.conname, fn.nspname, fc.relname,
            (SELECT json_agg(a.attname ORDER BY k.n) FROM unnest(f.conkey) WITH ORDINALITY k (c, n)
                JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.c),
            (SELECT json_agg(a.attname ORDER BY k.n) FROM unnest(f.confkey) WITH ORDINALITY k (c, n)
                JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.c))), '[]')
        FROM pg_constraint f JOIN pg_class fc ON fc.oid = f.confrelid JOIN pg_namespace fn ON fn.oid = fc.relnamespace
        WHERE f.conrelid = c.oid AND f.contype = 'f') AS references
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\_%'
  AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'reinstate\_%'
ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Table:
    """A table as one of the servers has it.

    Attributes:
        key: columns of its primary key.
        columns: name and type of every column, in order.
        generated: columns that the server computes.
        references: foreign keys as (name, schema, table, own columns, columns there).
    """

    schema: str
    name: str
    key: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    generated: frozenset[str]
    references: tuple[tuple[str, str, str, tuple[str, ...], tuple[str, ...]], ...]

    @classmethod
    def of(cls, row: dict[str, object]) -> Table:
        """From a row of `TABLES`."""
        data: dict[str, list[list[str]]] = {key: value or [] for key, value in row.items()}  # type: ignore[misc]
        references = tuple((f[0], f[1], f[2], tuple(f[3]), tuple(f[4])) for f in data["references"])
        columns = tuple((one[0], one[1]) for one in data["columns"])
        generated = frozenset(str(one) for one in data["generated"])
        return cls(
            str(row["schema"]),
            str(row["name"]),
            tuple(str(one) for one in data["key"]),
            columns,
            generated,
            references,
        )

    @property
    def title(self) -> str:
        """Schema and name, for people."""
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> str:
        """Schema and name, for SQL."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    @property
    def written(self) -> str:
        """The columns that can be written, for SQL."""
        return ", ".join(identifier(name) for name, _ in self.columns if name not in self.generated)

    @property
    def keys(self) -> str:
        """The columns of the key, for SQL."""
        return ", ".join(identifier(name) for name in self.key)

    def same_key(self, one: str, other: str) -> str:
        """That two rows have the same key, for SQL."""
        return " AND ".join(f"{one}.{identifier(name)} = {other}.{identifier(name)}" for name in self.key)


def live_keys(table: Table, number: int) -> tuple[str, str, str]:
    """Three statements: the table for the live keys (beside), reading them (live), writing them (beside)."""
    place = f"reinstate.live_{number}"
    return (
        f"CREATE SCHEMA IF NOT EXISTS reinstate; DROP TABLE IF EXISTS {place}; CREATE UNLOGGED TABLE {place} AS "
        f"SELECT {table.keys}, 0::bigint AS reinstate_hash FROM {table.quoted} WHERE false;",
        f"COPY (SELECT {table.keys}, hashtextextended(t::text, 0) FROM ONLY {table.quoted} t) TO STDOUT",
        f"COPY {place} FROM STDIN",
    )


def difference(table: Table, number: int) -> str:
    """A SELECT of `before`, `missing`, `changed` and `newer`, on the server beside."""
    place = f"reinstate.live_{number}"
    return (
        "SELECT count(b.reinstate_hash) AS before, "
        "count(b.reinstate_hash) FILTER (WHERE l.reinstate_hash IS NULL) AS missing, "
        "count(*) FILTER (WHERE l.reinstate_hash <> b.reinstate_hash) AS changed, "
        "count(*) FILTER (WHERE b.reinstate_hash IS NULL) AS newer "
        f"FROM (SELECT {table.keys}, hashtextextended(t::text, 0) AS reinstate_hash FROM ONLY {table.quoted} t) b "
        f"FULL JOIN {place} l ON {table.same_key('b', 'l')}"
    )


def wanted(table: Table, number: int, changed: bool) -> str:
    """COPY of the rows that shall come back, on the server beside."""
    also = " OR l.reinstate_hash <> hashtextextended(t::text, 0)" if changed else ""
    columns = ", ".join(f"t.{identifier(name)}" for name, _ in table.columns)
    return (
        f"COPY (SELECT {columns} FROM ONLY {table.quoted} t LEFT JOIN reinstate.live_{number} l "
        f"ON {table.same_key('t', 'l')} WHERE l.reinstate_hash IS NULL{also}) TO STDOUT"
    )


def prepare(schema: str, tables: Sequence[Table]) -> str:
    """Make our own schema on the live server anew, with room for the rows that come back and for what they replace."""
    made = [
        f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}; REVOKE ALL ON SCHEMA {schema} FROM PUBLIC;"
    ]
    for number, table in enumerate(tables):
        made += [
            f"CREATE TABLE {schema}.{what}_{number} (LIKE {table.quoted});"
            for what in ("before", "inserted", "replaced")
        ]
        # LIKE keeps NOT NULL; nothing else of the table belongs here.
    made.append(
        f"CREATE TABLE {schema}.told (number int, inserted bigint, conflicts bigint, replaced bigint);"
    )
    made.append(f"CREATE TABLE {schema}.orphans (what text, rows bigint);")
    return "\n".join(made)


def received(schema: str, table: Table, number: int) -> str:
    """COPY of the rows into our schema."""
    columns = ", ".join(identifier(name) for name, _ in table.columns)
    return f"COPY {schema}.before_{number} ({columns}) FROM STDIN"


def merge(schema: str, tables: Sequence[Table], changed: bool) -> str:
    """One transaction on the live server: missing rows in, changed rows back, references proven, numbers kept."""
    lines = [SETTINGS, "BEGIN;", "SET LOCAL session_replication_role = replica;"]
    lines += [f"LOCK TABLE {table.quoted} IN SHARE ROW EXCLUSIVE MODE;" for table in tables]
    for number, table in enumerate(tables):
        lines += _merge_one(schema, table, number, changed)
    for number, table in enumerate(tables):
        lines += [_orphans(schema, table, number, reference) for reference in table.references]
    lines.append(
        "DO $$ DECLARE found text; BEGIN SELECT string_agg(rows || ' ' || what, '; ') INTO found FROM "
        f"{schema}.orphans WHERE rows > 0; IF found IS NOT NULL THEN "
        "RAISE EXCEPTION 'references would break: %', found; END IF; END $$;"
    )
    lines.append(f"CREATE TABLE {schema}.done (at timestamptz DEFAULT now()); COMMIT;")
    return "\n".join(lines)


def _merge_one(schema: str, table: Table, number: int, changed: bool) -> list[str]:
    before, inserted, replaced = (f"{schema}.{what}_{number}" for what in ("before", "inserted", "replaced"))
    lines = []
    if changed:
        settings = ", ".join(
            f"{identifier(name)} = b.{identifier(name)}"
            for name, _ in table.columns
            if name not in table.generated and name not in table.key
        )
        same = table.same_key("t", "b")
        lines.append(
            f"INSERT INTO {replaced} SELECT t.* FROM ONLY {table.quoted} t JOIN {before} b ON {same} "
            "WHERE t::text <> b::text;"
        )
        if settings:
            lines.append(
                f"UPDATE ONLY {table.quoted} t SET {settings} FROM {before} b WHERE {same} AND t::text <> b::text;"
            )
    columns = ", ".join(f"b.{identifier(name)}" for name, _ in table.columns if name not in table.generated)
    lines.append(
        f"WITH ours AS (INSERT INTO {table.quoted} ({table.written}) OVERRIDING SYSTEM VALUE SELECT {columns} "
        f"FROM {before} b WHERE NOT EXISTS (SELECT FROM ONLY {table.quoted} t WHERE {table.same_key('t', 'b')}) "
        f"ON CONFLICT DO NOTHING RETURNING *) INSERT INTO {inserted} SELECT * FROM ours;"
    )
    lines.append(
        f"INSERT INTO {schema}.told SELECT {number}, (SELECT count(*) FROM {inserted}), "
        f"(SELECT count(*) FROM {before} b WHERE NOT EXISTS (SELECT FROM ONLY {table.quoted} t "
        f"WHERE {table.same_key('t', 'b')})), (SELECT count(*) FROM {replaced});"
    )
    return lines


def _orphans(
    schema: str, table: Table, number: int, reference: tuple[str, str, str, tuple[str, ...], tuple[str, ...]]
) -> str:
    name, there_schema, there, own, theirs = reference
    whole = " AND ".join(f"i.{identifier(column)} IS NOT NULL" for column in own)
    same = " AND ".join(f"p.{identifier(b)} = i.{identifier(a)}" for a, b in zip(own, theirs, strict=True))
    what = literal(
        f"rows of {table.title} refer to rows of {there_schema}.{there} that are not there ({name})"
    )
    return (
        f"INSERT INTO {schema}.orphans SELECT {what}, count(*) FROM (SELECT * FROM {schema}.inserted_{number} "
        f"UNION ALL SELECT b.* FROM {schema}.before_{number} b JOIN {schema}.replaced_{number} r "
        f"ON {table.same_key('b', 'r')}) i "
        f"WHERE {whole} AND NOT EXISTS (SELECT FROM {identifier(there_schema)}.{identifier(there)} p WHERE {same});"
    )


def unmerge(schema: str, tables: Sequence[Table]) -> str:
    """One transaction on the live server: our rows out, replaced rows back, unless somebody changed them since."""
    lines = [SETTINGS, "BEGIN;", "SET LOCAL session_replication_role = replica;"]
    for number, table in enumerate(tables):
        before, inserted, replaced = (
            f"{schema}.{what}_{number}" for what in ("before", "inserted", "replaced")
        )
        lines.append(
            f"DELETE FROM ONLY {table.quoted} t USING {inserted} i WHERE {table.same_key('t', 'i')} "
            "AND t::text = i::text;"
        )
        settings = ", ".join(
            f"{identifier(name)} = r.{identifier(name)}"
            for name, _ in table.columns
            if name not in table.generated and name not in table.key
        )
        if settings:
            lines.append(
                f"UPDATE ONLY {table.quoted} t SET {settings} FROM {replaced} r JOIN {before} b "
                f"ON {table.same_key('r', 'b')} WHERE {table.same_key('t', 'r')} AND t::text = b::text;"
            )
    lines.append(f"ALTER TABLE {schema}.done RENAME TO undone; COMMIT;")
    return "\n".join(lines)
