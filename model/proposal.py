"""The proposal: the exact diff that people sign and that alone is executed (G6)."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from model.assets import HostPath, Unit
from model.canonical import HostText, Value, digest
from model.manifest import Entry, RecoveryPoint
from model.mistake import Mistake, TableDifference
from model.outcome import Stage


class Rung(IntEnum):
    """The repair ladder, least invasive first (design.md)."""

    CONFIGURATION = 1
    FILE = 2
    PACKAGE = 3
    PACKAGE_ROLLBACK = 4
    DATABASE = 5
    DATA_SET = 6
    HOST = 7
    SERVICE = 0


class ActionBase(Value):
    """What every action says.

    Attributes:
        id: `a01`, `a02`, … in order of execution; the effect's name is `incident/id/attempt` (G2).
        stage: the stage that executes it, repair or restore.
        rung: step of the ladder.
        reason: why this action, and why not a lower rung.
        undo: how it is undone until commit.
        touches: absolute paths on the host that change; the snapshot covers exactly these.
        bytes: bytes that will be moved to the host.
        minutes: expected duration.
        findings: ids of the findings it cures.
    """

    id: str = Field(pattern=r"^a[0-9]{2,4}$")
    host: str
    asset: str
    stage: Literal[Stage.REPAIR, Stage.RESTORE]
    rung: Rung
    reason: str
    undo: str
    touches: tuple[HostText, ...] = ()
    bytes: int = Field(default=0, ge=0)
    minutes: float = Field(default=0.1, ge=0)
    findings: tuple[str, ...] = ()


class SetMetadata(ActionBase):
    """Set mode and owner of files whose content is right.

    Attributes:
        capable: those of them whose file capabilities are set as well; the others keep theirs.
    """

    kind: Literal["set_metadata"] = "set_metadata"
    files: tuple[Entry, ...] = Field(min_length=1)
    capable: tuple[HostText, ...] = ()


class RestoreLinks(ActionBase):
    """Make symbolic links lead where they should; `links` hold path and target."""

    kind: Literal["restore_links"] = "restore_links"
    links: tuple[Entry, ...] = Field(min_length=1)


class SetAside(ActionBase):
    """Move what belongs to nobody into quarantine on the host, below the state directory."""

    kind: Literal["set_aside"] = "set_aside"
    paths: tuple[HostText, ...] = Field(min_length=1)


class ReinstallPackage(ActionBase):
    """Install the same version of a Debian package again.

    Attributes:
        instead_of: the installed version, when another one is installed because that one is nowhere.
        source: `host-cache`, `mirror` (the host's configured apt sources) or `store:NAME`.
        filename: name of the .deb in that source.
        sha256: hash the .deb must have; from the source's index.
        conffiles: missing configuration files the reinstall brings back; edited ones are kept.
        held: dpkg was told to hold the package; it is held again afterwards.
    """

    kind: Literal["reinstall_package"] = "reinstall_package"
    package: str
    version: str
    instead_of: str = ""
    architecture: str
    source: str
    filename: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    conffiles: tuple[str, ...] = ()
    held: bool = False


class RestorePackageDatabase(ActionBase):
    """Put a whole status file in the place of dpkg's damaged one.

    Attributes:
        path: the status file.
        base: the copy it is made whole from.
        sha256: hash of the file as it will be written; made again from host and copy when it is performed.
        restored: packages whose entries come from the copy.
        again: packages whose entry says that they must be installed again.
    """

    kind: Literal["restore_package_database"] = "restore_package_database"
    path: HostText
    base: HostText
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    restored: tuple[str, ...] = ()
    again: tuple[str, ...] = ()


class ConfigurePackages(ActionBase):
    """Finish what an interrupted dpkg left: `dpkg --configure -a`; no file is fetched."""

    kind: Literal["configure_packages"] = "configure_packages"
    packages: tuple[str, ...] = Field(min_length=1)


class ReinstallRpm(ActionBase):
    """Install the same version of an RPM package again.

    Attributes:
        version: `epoch:version-release`, without the epoch where it is 0.
        source: `host-cache`, `mirror` (the host's configured repositories) or `store:NAME`.
        filename: name of the .rpm in that source; for the host's cache its path.
        sha256: hash the .rpm must have.
        replaces: other versions that an interrupted transaction left in the rpm database; they are removed from it.
        aside: paths of another type that stand in the way; they are moved aside first.
        keeps: files the host changes lawfully, though they are no configuration (`%verify(not md5)`); rpm would
            overwrite them, so they are put back as they are now.
        conffiles: missing configuration files the reinstall brings back; edited ones are kept.
    """

    kind: Literal["reinstall_rpm"] = "reinstall_rpm"
    package: str
    version: str
    architecture: str
    source: str
    filename: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    replaces: tuple[str, ...] = ()
    aside: tuple[HostText, ...] = ()
    keeps: tuple[HostText, ...] = ()
    conffiles: tuple[HostText, ...] = ()


class RpmHeader(Value):
    """A record the rpm database lost, and the .rpm file (or the key, of `gpg-pubkey`) that gives it back.

    Attributes:
        source: as of `ReinstallRpm`; of a key: `plan`, or `host-key` for a file of the host.
    """

    package: str
    version: str
    architecture: str
    source: str
    filename: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class RebuildRpmDatabase(ActionBase):
    """Make the rpm database anew beside the damaged one, and swap it in once it is proven whole.

    Attributes:
        database: its folder on the host.
        point: kept copy that it is made from; None: what can still be read of the damaged one.
        files: files of the kept copy.
        lost: records that come back from .rpm files.
        expected: packages that it must hold afterwards, as `NAME-VERSION.ARCHITECTURE`.
    """

    kind: Literal["rebuild_rpm_database"] = "rebuild_rpm_database"
    database: str
    point: RecoveryPoint | None = None
    files: tuple[Entry, ...] = ()
    lost: tuple[RpmHeader, ...] = ()
    expected: tuple[str, ...] = ()


InstallTool = Literal["pip", "uv", "unpack"]
"""What installs a wheel: the environment's pip, uv, or our own unpacking where neither is there or whole."""


class ReinstallDistribution(ActionBase):
    """Install the same version of a Python distribution again from the wheelhouse, offline.

    Attributes:
        tool: what installs it.
    """

    kind: Literal["reinstall_distribution"] = "reinstall_distribution"
    distribution: str
    version: str
    filename: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    tool: InstallTool = "pip"


class RebuildInterpreter(ActionBase):
    """Make a virtual environment's links to its base interpreter, and its pyvenv.cfg, whole again.

    Attributes:
        base: the interpreter they lead to.
        version: version it must have, as `3.11`.
        links: links that are made anew.
        config_path: the environment's pyvenv.cfg.
        config: its whole text; empty: it stays as it is.
        uid: owner of pyvenv.cfg.
        gid: group of pyvenv.cfg.
    """

    kind: Literal["rebuild_interpreter"] = "rebuild_interpreter"
    base: HostText
    version: str
    links: tuple[Entry, ...] = ()
    config_path: HostText
    config: HostText = ""
    uid: int = Field(default=0, ge=0)
    gid: int = Field(default=0, ge=0)


class RestoreFiles(ActionBase):
    """Bring files back from a recovery point: staging → verify → swap, only what is damaged.

    Attributes:
        point: where they come from.
        root: folder of the file set.
        files: what comes back, relative to the root.
        stops: services of the plan that stand still while the files change places, and at an undo.
    """

    kind: Literal["restore_files"] = "restore_files"
    point: RecoveryPoint
    root: str
    files: tuple[Entry, ...] = Field(min_length=1)
    stops: tuple[str, ...] = ()


class RestoreDatabase(ActionBase):
    """Restore a database from a dump into a new one and rename it into place; the damaged one is kept until commit."""

    kind: Literal["restore_database"] = "restore_database"
    point: RecoveryPoint
    database: str


class RestoreCluster(ActionBase):
    """Restore a database server's data directory beside the live one, and exchange the two.

    Attributes:
        older: points that are tried in this order when the first does not give a whole cluster; the end is the same.
        database: the database whose damage asked for it.
        data_directory: of the server, with all of its databases.
        replays: it goes forward to the end of the WAL (PostgreSQL from pgBackRest); else it is as it was backed up
            (MariaDB from mariabackup).
    """

    kind: Literal["restore_cluster"] = "restore_cluster"
    point: RecoveryPoint
    older: tuple[RecoveryPoint, ...] = ()
    database: str
    data_directory: HostPath
    replays: bool = Field(default=True, exclude_if=lambda replays: replays)


class RestoreRows(ActionBase):
    """Bring rows back that a person deleted or changed, from the moment before, restored beside; newer rows stay.

    Attributes:
        older: points that are tried when the first does not reach the moment.
        mistake: what was reported.
        tables: what comes back, as it was seen for the proposal; each without its rows.
    """

    kind: Literal["restore_rows"] = "restore_rows"
    point: RecoveryPoint
    older: tuple[RecoveryPoint, ...] = ()
    database: str
    data_directory: HostPath
    mistake: Mistake
    tables: tuple[TableDifference, ...] = Field(min_length=1)


class RestartService(ActionBase):
    """Restart a service whose files or data were repaired."""

    kind: Literal["restart_service"] = "restart_service"
    service: str


class RestoreUnits(ActionBase):
    """Put units back as the baseline recorded them, have systemd read them again, and start what shall run.

    Attributes:
        files: unit files, drop-ins and links to put back; their content is kept with the baseline.
        gone: what is removed, exactly as it is now: masks and additions the baseline does not have.
        start: units that are started; they failed, or ran when the baseline was recorded.
        restart: units that are restarted if they run, because they run with what is put right.
    """

    kind: Literal["restore_units"] = "restore_units"
    files: tuple[Entry, ...] = ()
    gone: tuple[Entry, ...] = ()
    start: tuple[Unit, ...] = ()
    restart: tuple[Unit, ...] = ()


class FreeSpace(ActionBase):
    """Remove exactly these files: packages that apt can fetch again, rotated journals.

    Attributes:
        mount: the file system that is full.
        files: what is removed, as it is now.
        frees: bytes it gives.
    """

    kind: Literal["free_space"] = "free_space"
    mount: str
    files: tuple[Entry, ...] = Field(min_length=1)
    frees: int = Field(ge=1)


class RemountWritable(ActionBase):
    """Make a file system writable again that turned read-only without any error in the kernel's log."""

    kind: Literal["remount_writable"] = "remount_writable"
    mount: HostText


class RestartTimeDaemon(ActionBase):
    """Restart the daemon that keeps the clock, and wait until the clock is right."""

    kind: Literal["restart_time_daemon"] = "restart_time_daemon"
    unit: Unit


class MendAccounts(ActionBase):
    """Put the broken lines of an account file back from its own backup; every whole line of today stays.

    Attributes:
        path: `/etc/passwd`, `group`, `shadow` or `gshadow`.
        source: the file the lines come from.
        before: SHA-256 of the damaged file.
        source_sha256: SHA-256 of the source.
        after: SHA-256 of what will be there.
        returned: names whose line comes back.
        dropped: numbers of lines that nobody can read.
        known: ids by name, from the baseline.
    """

    kind: Literal["mend_accounts"] = "mend_accounts"
    path: str = Field(pattern=r"^/etc/(passwd|group|shadow|gshadow)$")
    source: str
    before: str = Field(pattern=r"^[0-9a-f]{64}$")
    source_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    after: str = Field(pattern=r"^[0-9a-f]{64}$")
    returned: tuple[HostText, ...] = ()
    dropped: tuple[int, ...] = ()
    known: dict[str, int] = {}


Action = Annotated[
    SetMetadata
    | RestorePackageDatabase
    | RestoreLinks
    | SetAside
    | ReinstallPackage
    | ReinstallRpm
    | RebuildRpmDatabase
    | ConfigurePackages
    | ReinstallDistribution
    | RebuildInterpreter
    | RestoreFiles
    | RestoreDatabase
    | RestoreCluster
    | RestoreRows
    | RestartService
    | RestoreUnits
    | FreeSpace
    | RemountWritable
    | RestartTimeDaemon
    | MendAccounts,
    Field(discriminator="kind"),
]  # fmt: skip


def returns_to(action: Action) -> RecoveryPoint | None:
    """The recovery point whose moment the action's data is of afterwards; None: of a later one, or it restores none."""
    if isinstance(action, RestoreCluster):
        return None if action.replays else action.point
    return action.point if isinstance(action, RestoreFiles | RestoreDatabase) else None


class Loss(Value):
    """Data newer than the recovery point that the restore gives up; declared, never hidden."""

    asset: str
    recovery_point: str
    newer_than: AwareDatetime
    sentence: str


class PointChoice(Value):
    """Which recovery point of an asset is used, and why none that is newer.

    Attributes:
        age: seconds between its moment and that at which the damage was noticed.
        rpo: seconds the plan allows.
        sentence: what it costs and what is said about it.
        passed_over: points that are not used: id, and why.
    """

    asset: str
    point: str
    taken_at: AwareDatetime
    age: float
    rpo: float
    sentence: HostText
    passed_over: tuple[tuple[str, HostText], ...] = ()


class Reimport(Value):
    """What users must bring back themselves because no backup holds it (R-RESP-6).

    Attributes:
        since: what was entered after this moment is missing; None: no recovery point holds any of it.
        until: the moment the damage was noticed.
        things: paths or tables, as far as they are known.
        steps: what the plan says users do.
    """

    asset: str
    since: AwareDatetime | None
    until: AwareDatetime
    things: tuple[HostText, ...] = ()
    more: int = Field(default=0, ge=0)
    sentence: HostText
    steps: str = ""


class Unmet(Value):
    """A finding no action of this proposal cures, and what a person can do."""

    finding: str
    sentence: str
    remedy: str


class Proposal(Value):
    """Everything that will be done, for sign-off.

    Attributes:
        incident: the incident's id.
        plan_digest: digest of the plan followed.
        hosts: host name → machine-id it was made for (G7).
        actions: in order of execution.
        losses: data that will be lost.
        unmet: findings it does not cure; a proposal with an unmet finding says so in its first line.
        points: the recovery points chosen.
        reimport: what users must bring back themselves.
        expires_at: after this moment a new proposal is needed.
    """

    incident: str
    plan_digest: str
    hosts: dict[str, str]
    actions: tuple[Action, ...]
    losses: tuple[Loss, ...] = ()
    unmet: tuple[Unmet, ...] = ()
    points: tuple[PointChoice, ...] = Field(default=(), exclude_if=lambda points: not points)
    reimport: tuple[Reimport, ...] = Field(default=(), exclude_if=lambda items: not items)
    created_at: AwareDatetime
    expires_at: AwareDatetime

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: what a sign-off covers."""
        return digest(self)

    @property
    def bytes(self) -> int:
        """Bytes that will be moved to hosts."""
        return sum(action.bytes for action in self.actions)

    @property
    def minutes(self) -> float:
        """Expected duration of all actions, one after another."""
        return sum(action.minutes for action in self.actions)

    def action(self, action_id: str) -> Action:
        """The action with this id.

        Raises:
            KeyError: there is none.
        """
        for action in self.actions:
            if action.id == action_id:
                return action
        raise KeyError(action_id)
