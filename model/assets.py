"""The assets of a plan: what can be damaged and how each kind is looked at and brought back (R-SCOPE-1)."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from model.canonical import Value

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
"""A name in the plan: lower case letters, digits, dashes (also valid as a Prefect block name)."""

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
"""A login or a person's id: never starts with a dash (G10)."""

Unit = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,254}$")]
"""A systemd unit, also an instance of a template such as `postgresql@15-main.service`; never starts with a dash."""


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path or "\n" in path or "/../" in f"{path}/":
        raise ValueError("give an absolute path without `..`, NUL or newline")
    return path.rstrip("/") or "/"


HostPath = Annotated[str, AfterValidator(_absolute)]
"""An absolute path on a host, without trailing slash."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def _seconds(value: object) -> object:
    if isinstance(value, str) and value[-1:] in _UNITS and _DECIMAL.fullmatch(value[:-1]):
        return float(value[:-1]) * _UNITS[value[-1]]
    if isinstance(value, str | bool):
        raise ValueError("give a duration such as 30s, 10m, 4h or 1d")
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]
"""A duration; in the plan a number of seconds or `30s`, `10m`, `4h`, `1d`."""

SecretRef = Annotated[
    str, Field(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00\n]+|block:[a-z0-9-]+/[a-z0-9-]+)$")
]
"""Where a secret lives, never the secret: `env:NAME`, `file:PATH` (relative to the plan file) or `block:TYPE/NAME`."""

Argv = Annotated[tuple[str, ...], Field(min_length=1)]
"""A command as a list of words; never a shell line."""


def _public_key(text: str) -> str:
    lines = text.strip().splitlines()
    edges = ("-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----")
    if len(lines) < 3 or (lines[0].strip(), lines[-1].strip()) != edges:
        raise ValueError("give an ASCII-armoured public key, as `gpg --armor --export` prints it")
    return text.strip() + "\n"


class StepRule(Value):
    """How the steps that repair or restore one asset are run.

    Attributes:
        critical: when one of them fails, everything is rolled back. False: that step is undone, the asset's other steps
            are left out, and the recovery goes on; the acceptance and the report name what stayed damaged.
        timeout: a program on the host that runs longer is stopped, and the step has failed.
        retries: how often a step is tried again after a passing trouble, such as a lost connection.
        runs_in: the incidents in which the asset is repaired; in the others what is found stays declared as not cured.
    """

    critical: bool = True
    timeout: Annotated[Seconds, Field(ge=1)] | None = None
    retries: int = Field(default=4, ge=0, le=20)
    runs_in: Literal["both", "real", "drill"] = "both"


class AssetBase(Value):
    """What all assets have: a host, an order, and the services to restart once they are repaired.

    Attributes:
        depends_on: assets that are repaired first; assets of different hosts that do not depend on each other are
            repaired side by side.
        step: how the steps of its repair are run.
        reimport: what users do to bring back what no backup holds; shown with the proposal and in the report.
    """

    host: Name
    depends_on: tuple[Name, ...] = ()
    services: tuple[Name, ...] = ()
    step: StepRule = StepRule()
    description: str = ""
    reimport: str = Field(default="", max_length=4000)


class DpkgAsset(AssetBase):
    """Debian packages. An empty `packages` means every installed package.

    Attributes:
        root: the dpkg root (`dpkg --root`); `/` on an ordinary host.
        store: package store with .debs, used before the host's mirrors when its cache has no copy of the same version.
        allow_unsigned_mirror: also use mirrors whose index nobody signed (`[trusted=yes]`).
        other_version: `refuse`, or `propose` the nearest version in the store when the installed one is nowhere.
        conffiles: where deleted configuration files come from first: the `backup` of a files asset, or the `package`.
        ignore: glob patterns of paths that are not damage (path excludes, accepted local changes).
        rootless: run dpkg with `--force-not-root --force-script-chrootless` (a tree owned by a user).
    """

    kind: Literal["dpkg"]
    packages: tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")], ...] = ()
    root: HostPath = "/"
    store: Name | None = None
    allow_unsigned_mirror: bool = False
    other_version: Literal["refuse", "propose"] = "refuse"
    conffiles: Literal["backup", "package"] = "backup"
    ignore: tuple[str, ...] = ()
    rootless: bool = False


class RpmAsset(AssetBase):
    """RPM packages. An empty `packages` means every installed package.

    Attributes:
        store: package store with .rpm files, used before the host's own repositories.
        keys: public keys that packages must be signed with, as text (`-----BEGIN PGP PUBLIC KEY BLOCK-----`); empty:
            the keys the host's own rpm database trusts.
        backup: keep a copy of the rpm database there, to repair it from.
        ignore: glob patterns of paths that are not damage.
    """

    kind: Literal["rpm"]
    packages: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9+._-]*$")], ...] = ()
    store: Name | None = None
    keys: tuple[Annotated[str, AfterValidator(_public_key)], ...] = ()
    backup: Name | None = None
    ignore: tuple[str, ...] = ()


class PipAsset(AssetBase):
    """A Python environment, verified by RECORD and repaired from a wheelhouse.

    Attributes:
        python: the environment's interpreter on the host.
        tool: what installs a wheel: `pip`, `uv`, or `unpack` (Reinstate's own, which needs neither). `auto` takes the
            one that installed it where that is there and whole, else `unpack`.
        pip: the pip command on the host, as words; `{python}` is replaced. Default: the environment's own pip.
        uv: the uv command on the host, as words.
        distributions: names to look at; empty means all.
        store: package store with the wheels.
    """

    kind: Literal["pip"]
    python: HostPath
    tool: Literal["auto", "pip", "uv", "unpack"] = "auto"
    pip: Argv = ("{python}", "-m", "pip")
    uv: Argv = ("uv",)
    distributions: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], ...] = ()
    store: Name


class FilesAsset(AssetBase):
    """A set of files with a backup: configuration or users' data.

    Attributes:
        path: the directory or single file.
        role: `configuration` is the first rung of the ladder, `data` the last but one.
        exclude: glob patterns, relative to `path`, neither backed up nor checked.
        digest: what checks compare contents with. `sha256`: who alters a file on purpose is found, too. `xxh128`:
            several times as fast, where the host has libxxhash and the backup was taken with this setting; finds
            accidents, and not who forges. What is restored is proven with SHA-256 all the same.
        screen: `none`: every byte is read at every check. `ctime`: a file found whole before, and neither changed nor
            replaced since by what the file system says, is not read again; damage below the file system is missed.
        rehash: how often every byte is read all the same.
        stop_services: whether its `services` stand still while files are put into place; default: for `data` yes, for
            `configuration` no (a service reads that when it is restarted).
    """

    kind: Literal["files"]
    path: HostPath
    role: Literal["configuration", "data"] = "data"
    backup: Name
    exclude: tuple[str, ...] = ()
    digest: Literal["sha256", "xxh128"] = "sha256"
    screen: Literal["none", "ctime"] = "none"
    rehash: Seconds = 7 * 86400.0
    stop_services: bool | None = None

    @property
    def needs_stillness(self) -> bool:
        """Whether its services stand still while files are put into place."""
        return self.role == "data" if self.stop_services is None else self.stop_services


class PostgresAsset(AssetBase):
    """One PostgreSQL database, restored from a dump beside it, or with its whole cluster from pgBackRest.

    Attributes:
        database: its name.
        server: host name or socket directory as seen from the host.
        user: database role used by the tools on the host, by peer or trust, or with `password`.
        os_user: run the tools as this user of the host; empty: the login.
        bin_dir: where psql, pg_dump and pg_restore are; empty: the PATH.
        password: secret reference; handed over on stdin and by tunnel, never in argv.
        service: service asset that runs the server, if the plan has one; pgBackRest needs it.
        data_directory: of the cluster, on the host; pgBackRest needs it.
    """

    kind: Literal["postgresql"]
    database: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,40}$")]
    server: str = Field(default="127.0.0.1", pattern=r"^[A-Za-z0-9./_:-]+$")
    port: int = Field(default=5432, ge=1, le=65535)
    user: Word = "postgres"
    os_user: Annotated[str, Field(pattern=r"^$|^[a-z_][a-z0-9_-]*$")] = ""
    bin_dir: str = Field(default="", pattern=r"^$|^/[^\x00\n]*$")
    password: SecretRef | None = None
    backup: Name
    service: Name | None = None
    data_directory: HostPath | None = None


class MariadbAsset(AssetBase):
    """One MariaDB database, restored from a dump beside it, or with its server's whole data directory from mariabackup.

    Attributes:
        database: its name.
        method: `dump`: this database alone, by mariadb-dump. `mariabackup`: the server's whole data directory.
        server: host name, or path of the socket, as seen from the host.
        user: database user of the tools on the host, by socket, or with `password`.
        os_user: run the tools as this user of the host; empty: the login.
        bin_dir: where the client and the tools are; empty: the PATH.
        password: secret reference; handed over in a file of mode 600, never in argv.
        service: service asset that runs the server, if the plan has one; mariabackup needs it.
        data_directory: of the server, on the host; mariabackup needs it.
    """

    kind: Literal["mariadb"]
    database: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,40}$")]
    server: str = Field(default="/run/mysqld/mysqld.sock", pattern=r"^[A-Za-z0-9./_:-]+$")
    port: int = Field(default=3306, ge=1, le=65535)
    user: Word = "root"
    os_user: Annotated[str, Field(pattern=r"^$|^[a-z_][a-z0-9_-]*$")] = ""
    bin_dir: str = Field(default="", pattern=r"^$|^/[^\x00\n]*$")
    password: SecretRef | None = None
    backup: Name
    service: Name | None = None
    method: Literal["dump", "mariabackup"] = "dump"
    data_directory: HostPath | None = None


class SqliteAsset(AssetBase):
    """One SQLite database file; its `services` are stopped while a restored file is put into its place.

    Attributes:
        path: the database file.
        os_user: open it as this user of the host; empty: the login.
    """

    kind: Literal["sqlite"]
    path: HostPath
    os_user: Annotated[str, Field(pattern=r"^$|^[a-z_][a-z0-9_-]*$")] = ""
    backup: Name

    @property
    def database(self) -> str:
        """What the database is called: its path."""
        return self.path

    @property
    def files(self) -> tuple[str, ...]:
        """The file and those SQLite keeps beside it."""
        return (self.path, *(f"{self.path}{suffix}" for suffix in ("-wal", "-shm", "-journal")))


DatabaseAsset = PostgresAsset | MariadbAsset | SqliteAsset
"""Every kind of database."""


class ServiceAsset(AssetBase):
    """A service: a systemd unit, or any supervisor driven by commands with LSB exit codes (0 running, 3 stopped).

    Attributes:
        logs: log files of its own on the host, read for the cause of a damage; `*` is allowed in the last part.
    """

    kind: Literal["service"]
    unit: Unit | None = None
    start: Argv | None = None
    stop: Argv | None = None
    status: Argv | None = None
    logs: tuple[HostPath, ...] = ()

    @model_validator(mode="after")
    def _can_be_driven(self) -> Self:
        if self.unit is None and not (self.start and self.stop and self.status):
            raise ValueError("give `unit`, or all of `start`, `stop` and `status`")
        return self

    def command(self, verb: Literal["start", "stop", "restart", "status"]) -> tuple[tuple[str, ...], ...]:
        """The commands for a verb, run in order; `restart` of a command-driven service is stop, then start."""
        if self.unit is not None:
            words: tuple[str, ...] = ("is-active", "--quiet") if verb == "status" else (verb,)
            return (("systemctl", *words, "--", self.unit),)
        if verb == "restart":
            return (*self.command("stop"), *self.command("start"))
        words = {"start": self.start, "stop": self.stop, "status": self.status}[verb] or ()
        return (words,)


Watched = Literal["disks", "clock", "certificates", "units", "accounts", "boot"]
"""A part of a host's own state."""

EVERYTHING: tuple[Watched, ...] = ("disks", "clock", "certificates", "units", "accounts", "boot")


class SystemAsset(AssetBase):
    """The state of a host itself: disks, clock, certificates, units, accounts, and what it needs to start again.

    Attributes:
        watch: the parts to look at.
        free_percent: a file system with less room, or fewer inodes, is full.
        free_bytes: room that is enough whatever the percentage says: large disks need no 5 %.
        mounts: mount points to look at; empty means every local file system.
        clock_tolerance: how far the clock may be from the orchestrator's.
        certificates: PEM files (glob patterns) beside those that web, mail and database servers name.
        endpoints: TLS servers as `address:port`, as seen from the host.
        certificate_warning: how long before its end a certificate is found.
        accept: glob patterns of what is as it should be: a finding's subject, or its code, a space and its subject.
    """

    kind: Literal["system"]
    watch: tuple[Watched, ...] = EVERYTHING
    free_percent: int = Field(default=5, ge=0, le=99)
    free_bytes: int = Field(default=1 << 30, ge=0, le=1 << 50)
    mounts: tuple[HostPath, ...] = ()
    clock_tolerance: Seconds = 5.0
    certificates: tuple[HostPath, ...] = ("/etc/letsencrypt/live/*/fullchain.pem",)
    endpoints: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*:[0-9]{1,5}$")], ...] = ()
    certificate_warning: Seconds = 14 * 86400.0
    accept: tuple[str, ...] = ()


Asset = Annotated[
    DpkgAsset | RpmAsset | PipAsset | FilesAsset | DatabaseAsset | ServiceAsset | SystemAsset,
    Field(discriminator="kind"),
]
