"""Read-only queries through `psql`: no driver to install, and errors arrive as sentences."""

from __future__ import annotations

import json
import subprocess


class QueryError(Exception):
    """The database refused or could not be reached; the text is its first line."""


def rows(psql: str, dsn: str, sql: str, *, timeout: float = 10) -> list[dict[str, object]]:
    """Runs one fixed SELECT and returns its rows.

    Args:
        psql: path of the client.
        dsn: connection string without the password, which is in the file it names.
        sql: the query; never built from values.
        timeout: seconds.
    """
    wrapped = f"select coalesce(json_agg(q), '[]') from ({sql}) q"  # noqa: S608 - callers pass constants
    command = [psql, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", wrapped]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QueryError(str(error)) from error
    if done.returncode != 0:
        raise QueryError(done.stderr.strip().partition("\n")[0] or f"psql ended with {done.returncode}")
    found = json.loads(done.stdout)
    if not isinstance(found, list):
        raise QueryError("the answer is not a list of rows")
    return found
