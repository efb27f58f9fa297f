"""Databases made, renamed and dropped by named jobs: the server's side of a restore and its undo (G2, G5)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from checks.postgres import Tools
from model.command import Command, Result
from model.errors import ReinstateError

SECONDS = 12 * 3600.0

# Database, owner, encoding and locale as the damaged one has them; settings and rights too, which a dump leaves out.
_CREATE = r"""
DROP DATABASE IF EXISTS :"fresh";
SELECT format('CREATE DATABASE %I TEMPLATE template0 OWNER %I ENCODING %L LC_COLLATE %L LC_CTYPE %L', :'fresh',
              CASE WHEN d.datname = :'live' THEN pg_get_userbyid(d.datdba) ELSE current_user END,
              pg_encoding_to_char(d.encoding), d.datcollate, d.datctype)
       || CASE j->>'datlocprovider'
            WHEN 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %L', coalesce(j->>'datlocale', j->>'daticulocale'))
            WHEN 'b' THEN format(' LOCALE_PROVIDER builtin BUILTIN_LOCALE %L', j->>'datlocale')
            ELSE '' END
       || CASE WHEN d.datname = :'live' THEN format(' CONNECTION LIMIT %s', d.datconnlimit) ELSE '' END
FROM pg_database d, to_jsonb(d) j WHERE d.datname IN (:'live', 'template1')
ORDER BY d.datname = :'live' DESC LIMIT 1
\gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'fresh')
FROM pg_database WHERE datname = :'live' AND datacl IS NOT NULL
\gexec
SELECT format('GRANT %s ON DATABASE %I TO %s%s', a.privilege_type, :'fresh',
              CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
              CASE WHEN a.is_grantable AND a.grantee <> d.datdba THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = :'live'
\gexec
SELECT format('ALTER %s SET %I TO %s',
              CASE WHEN s.setrole = 0 THEN format('DATABASE %I', :'fresh')
                   ELSE format('ROLE %I IN DATABASE %I', pg_get_userbyid(s.setrole), :'fresh') END,
              split_part(c, '=', 1),
              CASE WHEN lower(split_part(c, '=', 1)) IN ('search_path', 'temp_tablespaces', 'local_preload_libraries',
                                                         'session_preload_libraries')
                   THEN substr(c, strpos(c, '=') + 1) ELSE quote_literal(substr(c, strpos(c, '=') + 1)) END)
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c
WHERE d.datname = :'live'
\gexec
"""
# Both renames in one transaction: there is no moment without a database, and no half-done swap. Clients that connect
# again between the two first statements are the reason to try more than once.
_RENAME = r"""
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname IN (:'first', :'second') AND pid <> pg_backend_pid();
BEGIN;
SELECT format('ALTER DATABASE %I RENAME TO %I', :'first', :'aside') WHERE :'aside' <> ''
\gexec
ALTER DATABASE :"second" RENAME TO :"first";
COMMIT;
"""
_AGAIN = """
script=$(cat)
for try in 1 2 3 4 5; do
    printf '%s\\n' "$script" | "$@" && exit 0
    sleep 1
done
exit 1
"""


@dataclass(frozen=True)
class Names:
    """The three databases of an effect; the same for all its attempts and its undo.

    Attributes:
        live: the one people use.
        fresh: the one restored into; renamed to `live`.
        damaged: what `live` was; kept until commit.
        undone: the restored one after an undo, with what was written to it meanwhile.
    """

    live: str
    fresh: str
    damaged: str
    undone: str

    @classmethod
    def of(cls, database: str, job_prefix: str, action_id: str) -> Names:
        """The names for an effect `INCIDENT-ACTION-ATTEMPT` or its undo `INCIDENT-undo-ACTION-ATTEMPT`."""
        incident = re.split(rf"-(?:undo-)?{re.escape(action_id)}(?:-|$)", job_prefix)[0]
        suffix = hashlib.sha256(f"{incident}/{action_id}".encode()).hexdigest()[:8]
        return cls(database, *(f"{database}_{what}_{suffix}" for what in ("new", "damaged", "restored")))


@dataclass(frozen=True)
class DatabaseEffect:
    """The steps of one restore or undo on the server, each a named job."""

    tools: Tools
    names: Names
    prefix: str
    token: int

    def job(self, name: str, command: Command, what: str, remedy: str) -> Result:
        """Run a step; a step that failed raises, and never as Transient: its name has its result for good."""
        result = self.tools.connection.job(f"{self.prefix}-{name}", command, self.token)
        if not result.ok:
            raise ReinstateError(f"{what}: {result.tail(3)}.", self.where, remedy)
        return result

    def script(self, sql: str, *words: str, database: str = "postgres") -> Command:
        """Psql running a constant script; values come as its variables."""
        return self.tools.command(
            "psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", *words,
            "--file=-", database=database, stdin=sql.encode(), timeout=SECONDS,
        )  # fmt: skip

    def create(self) -> None:
        """Make the fresh database anew, like the live one but empty."""
        values = (f"--set=live={self.names.live}", f"--set=fresh={self.names.fresh}")
        self.job(
            "create", self.script(_CREATE, *values), f"{self.names.fresh} could not be created",
            "the database role of the plan needs CREATEDB and the rights of the owner",
        )  # fmt: skip

    def rename(self, name: str, first: str, second: str, aside: str) -> None:
        """`first` becomes `aside` (if given) and `second` becomes `first`, at once."""
        psql = self.script(_RENAME, f"--set=first={first}", f"--set=second={second}", f"--set=aside={aside}")
        again = Command(
            ("sh", "-c", _AGAIN, "reinstate-rename", *psql.argv), stdin=psql.stdin, sudo=True, user=psql.user,
            env=psql.env, timeout=600.0,
        )  # fmt: skip
        self.job(
            name, again, f"{second} could not be renamed to {first}",
            "see who holds a prepared transaction or a session there; both databases are as they were",
        )  # fmt: skip

    def drop(self, name: str, database: str) -> None:
        """Drop one of our own databases."""
        self.job(
            name, self.script('DROP DATABASE IF EXISTS :"gone";', f"--set=gone={database}"),
            f"{database} could not be dropped", "drop it by hand; it is not in use",
        )  # fmt: skip

    @property
    def where(self) -> str:
        """Host and database, for messages."""
        return f"{self.tools.connection.name}:{self.names.live}"
