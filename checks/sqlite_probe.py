"""Runs on the host, as `python3 -I -S -c` of this text: SQLite databases are asked, digested and copied there.

Arguments: `query PATH`, `digest PATH`, `backup PATH TARGET`. `query` and `digest` read JSON lines from standard input,
a statement each, and answer each with a JSON line. Nothing but the standard library of Python 3.6.
"""
# ruff: noqa: PTH110, PTH107, UP031
# - plain os calls start fastest and run on old interpreters

import hashlib
import json
import math
import os
import re
import sys
from urllib.parse import quote

try:
    import sqlite3
except ImportError:  # a Python that was made without it
    sys.exit(97)

ROWS = 10000


def opened(path: str) -> "sqlite3.Connection":
    """The database, for reading; text that is no UTF-8 is kept byte by byte."""
    connection = sqlite3.connect("file:%s?mode=ro" % quote(path), uri=True, timeout=30.0)
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    connection.execute("PRAGMA query_only = 1")
    connection.create_function(
        "regexp", 2, lambda pattern, text: None if text is None else bool(re.search(pattern, str(text)))
    )
    connection.create_function("sqrt", 1, lambda number: None if number is None else math.sqrt(number))
    return connection


def plain(value: object) -> object:
    """A value as JSON has it."""
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def query(connection: "sqlite3.Connection", statement: str) -> "dict[str, object]":
    """The rows of a statement; never many."""
    cursor = connection.execute(statement)
    rows = cursor.fetchmany(ROWS + 1)
    if len(rows) > ROWS:
        return {"error": "more than %d rows: ask the database for less" % ROWS}
    return {
        "columns": [column[0] for column in cursor.description or ()],
        "rows": [[plain(value) for value in row] for row in rows],
    }


def digest(connection: "sqlite3.Connection", statement: str) -> "dict[str, object]":
    """SHA-256 over the only column of the rows, a line each."""
    told = hashlib.sha256()
    for (line,) in connection.execute(statement):
        told.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return {"sha256": told.hexdigest()}


def backup(path: str, target: str) -> None:
    """A copy of one moment by the backup API, also while others write."""
    with sqlite3.connect("file:%s?mode=ro" % quote(path), uri=True, timeout=60.0) as source:
        copy = sqlite3.connect(target)
        try:
            source.backup(copy)
            # The copy stands alone: no -wal has to come with it. The file's own mode is put back when it is opened.
            copy.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            copy.close()
    for suffix in ("-wal", "-shm", "-journal"):
        if os.path.exists(target + suffix):
            os.remove(target + suffix)


def main() -> None:
    """What the arguments say."""
    what, path = sys.argv[1:3]
    if what == "backup":
        backup(path, sys.argv[3])
        return
    connection = opened(path)
    for line in sys.stdin:
        try:
            answer = (query if what == "query" else digest)(connection, json.loads(line))
        except sqlite3.Error as error:
            answer = {"error": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")


try:
    main()
except sqlite3.Error as error:
    sys.stderr.write("%s\n" % error)
    sys.exit(3)
