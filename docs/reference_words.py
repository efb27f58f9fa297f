"""What the reference pages say beyond the program: introductions, and keys whose name says nearly all."""

from __future__ import annotations

from pydantic import BaseModel

from model.alerts import AlertRules, AlertSource
from model.assets import (
    AssetBase,
    DpkgAsset,
    FilesAsset,
    MariadbAsset,
    PipAsset,
    PostgresAsset,
    RpmAsset,
    ServiceAsset,
    SqliteAsset,
    StepRule,
    SystemAsset,
)
from model.backup_sources import (
    BorgSource,
    DirectorySource,
    PgBackRestSource,
    ResticSource,
    S3Source,
    S3TreeSource,
    TreeSource,
)
from model.communication import Audience, Channel, Communication
from model.drill import DrillRule, StagingHost
from model.host import Host
from model.plan import (
    Checks,
    DirectoryPackages,
    Expectation,
    Fresh,
    GateRule,
    Objectives,
    Person,
    Plan,
    Probe,
    Reference,
    Roles,
    S3Packages,
    Service,
    SignOff,
    TableChecks,
)
from model.points import PointRule
from model.readiness import ReadinessRule
from model.review import ReviewRule
from model.scanning import BackUpRule, ScanRule
from model.schedule import Blackout
from model.status_page import StatusPage
from model.verification import VerificationRule

PLAN_INTRO = """\
# The plan file

A plan is one YAML file per service: what is protected, who decides, where it runs, how each part comes back and what
proves that it works. Start from `plans/sample.yaml` in the repository.

```console
$ reinstate plan check plans/sample.yaml
plans/sample.yaml: plan ticket-desk version 1 is right (...).
Nothing was ever published here.
```

How it is read:

- An unknown key, a key that stands twice, a name that is not defined and a rule nobody can meet are errors. All of them
  are listed at once, each with its line.
- What a right plan still lacks is listed after that, such as a gate that nobody could sign if one person were away. It
  stops nothing.
- Two versions are compared with `reinstate plan diff OLD NEW`: what weakens the plan is said first.
- Tags, anchors and aliases are refused: the file says what it means where you read it. The limit is 1 MiB.
- A **duration** is a number of seconds, or `30s`, `10m`, `4h`, `1d`.
- A **name** has lower case letters, digits and dashes. An **id** may also have capitals, `_` and `.`.
- A **secret reference** says where a secret lives and never holds it: `env:NAME` (environment of every process of
  Reinstate), `file:PATH` (below the plan's folder, or absolute; refused while every user of the machine can read it) or
  `block:TYPE/NAME` (a Prefect block; needs the server, so `env:` or `file:` are safer in an emergency).
- An incident keeps the plan's text as it was when the incident was opened. Changing the file later does not change a
  recovery that is under way; secret references are still followed from the file's folder.

`reinstate plan schema` prints a JSON Schema for editors. It does not know durations with a unit yet and marks them;
`plan check` decides."""

SECTIONS: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("The file", Plan, "The keys at the top."),
    ("`service`", Service, ""),
    (
        "`people`",
        Person,
        "One entry per person: the key is the person's id, used everywhere else in the plan.",
    ),
    ("`roles`", Roles, "Who fills which role of the emergency organisation: lists of ids of `people`."),
    ("`objectives`", Objectives, "Targets; the report sets what was measured beside them."),
    ("`hosts`", Host, ""),
    ("`backups` of kind `s3`", S3Source, ""),
    ("`backups` of kind `directory`", DirectorySource, ""),
    ("`backups` of kind `restic`", ResticSource, "See [backup engines](backup-engines.md)."),
    ("`backups` of kind `borg`", BorgSource, "See [backup engines](backup-engines.md)."),
    ("`backups` of kind `tree`", TreeSource, "See [backup engines](backup-engines.md)."),
    ("`backups` of kind `s3-tree`", S3TreeSource, "See [backup engines](backup-engines.md)."),
    (
        "`backups` of kind `pgbackrest`",
        PgBackRestSource,
        "Whole PostgreSQL clusters with their WAL: see [PostgreSQL](postgresql.md).",
    ),
    (
        "`package_stores` of kind `directory`",
        DirectoryPackages,
        "What lies there counts only where its signed index names it: see [package stores](package-stores.md).",
    ),
    ("`package_stores` of kind `s3`", S3Packages, ""),
    (
        "`assets`: what all kinds have",
        AssetBase,
        "What can be damaged. `kind` decides how it is examined and repaired; these keys are common to all kinds.",
    ),
    ("`assets`: `step`", StepRule, ""),
    ("`assets` of kind `dpkg`", DpkgAsset, ""),
    ("`assets` of kind `rpm`", RpmAsset, ""),
    ("`assets` of kind `pip`", PipAsset, ""),
    ("`assets` of kind `files`", FilesAsset, ""),
    ("`assets` of kind `postgresql`", PostgresAsset, ""),
    ("`assets` of kind `mariadb`", MariadbAsset, "See [MariaDB and SQLite](databases.md)."),
    ("`assets` of kind `sqlite`", SqliteAsset, "See [MariaDB and SQLite](databases.md)."),
    ("`assets` of kind `service`", ServiceAsset, ""),
    (
        "`assets` of kind `system`",
        SystemAsset,
        "The host itself. `{kind: system, host: web-1}` is a whole asset; [The state of a host](host-state.md) says "
        "what is looked at and what is repaired.",
    ),
    ("`checks`", Checks, ""),
    ("`checks.probes`", Probe, ""),
    ("`checks.tables`", TableChecks, ""),
    ("`checks.tables.expectations`", Expectation, ""),
    ("`checks.tables.fresh`", Fresh, ""),
    ("`checks.tables.refers`", Reference, ""),
    ("`scan`", ScanRule, ""),
    ("`back_up`", BackUpRule, "[Recovery points](recovery-points.md) says what stops it."),
    ("`verification`", VerificationRule, "[Backups proven](backup-verification.md) says what a run does."),
    ("`drill`", DrillRule, "[Drills](drills.md) says what a drill does."),
    ("`drill.staging`", StagingHost, "The keys of a host; its role is `staging`."),
    ("`blackout` of `scan`, `back_up`, `verification`, `drill`", Blackout, "See [Schedules](schedules.md)."),
    ("`readiness`", ReadinessRule, "[Readiness](readiness.md) says what is looked at."),
    ("`recovery_points`", PointRule, "[Recovery points](recovery-points.md) says how they are chosen."),
    ("`review`", ReviewRule, "[End and review](review.md) says how items are tracked."),
    ("`signoff`", SignOff, ""),
    ("Each of `signoff`: `decide`, `accept`, `break_glass`, `publish`", GateRule, ""),
    (
        "`communication`",
        Communication,
        "[Information](information.md) says how messages are sent and proven.",
    ),
    ("`communication.channels`", Channel, ""),
    ("`communication.audiences`", Audience, ""),
    ("`alerts`", AlertRules, "See [Alerts](alerts.md)."),
    ("`alerts.sources`", AlertSource, ""),
    ("`status_page`", StatusPage, "See [Status page](status-page.md)."),
)

KEYS = {
    "Plan.reinstate": "version of this file format",
    "Plan.name": "name of the plan; deployments in the Prefect UI carry it",
    "Plan.version": "your own version number; every incident records it together with the file's SHA-256",
    "Plan.service": "what is protected",
    "Plan.people": "who may act, by id",
    "Plan.roles": "who fills which role",
    "Plan.objectives": "targets for time and data loss",
    "Plan.severity": "degree (`slight`, `serious`, `total`) → scope (`part`, `service`, `several`) → level (`I`, the "
    "gravest, to `IV`); the default is the table in `plans/sample.yaml`",
    "Plan.hosts": "hosts, by name",
    "Plan.backups": "where recovery points are kept, by name",
    "Plan.package_stores": "signed stores of package files, by name; of kind `directory` or `s3`",
    "DirectoryPackages.keys": "files of the public keys that may sign its index; default: this installation's own key",
    "S3Packages.keys": "files of the public keys that may sign its index; default: this installation's own key",
    "Plan.assets": "what can be damaged, by name",
    "Plan.checks": "what proves that the service works",
    "Plan.signoff": "who signs what",
    "Plan.scan": "regular checks: [Regular checks](regular-checks.md)",
    "Plan.back_up": "regular backups: [Recovery points](recovery-points.md)",
    "Plan.verification": "regular restores into a sandbox: [Backups proven](backup-verification.md)",
    "Plan.drill": "regular drills against staging: [Drills](drills.md)",
    "StagingHost.role": "only `staging`; the file `STATE_DIR/role` on the host must say so as well",
    "Plan.readiness": "regular looks at whether a recovery could be done now: [Readiness](readiness.md)",
    "Plan.recovery_points": "how recovery points are judged: [Recovery points](recovery-points.md)",
    "Plan.alerts": "monitoring systems that may report damage: [Alerts](alerts.md); left out: none",
    "Plan.status_page": "a page for everybody: [Status page](status-page.md); left out: none is written",
    "Plan.communication": "who is told what, when and how: [Information](information.md); left out: nobody is told",
    "Plan.review": "rectification items after the end: [End and review](review.md)",
    "Service.name": "as people know it",
    "Service.description": "what stands still without it",
    "Service.owner": "the person who answers for it",
    "Person.name": "full name",
    "Person.email": "e-mail address",
    "Person.phone": "telephone number",
    "Person.totp": "the secret of the person's one-time codes, base32 (RFC 6238: SHA-1, six digits, 30 s)",
    "Person.ssh_keys": "public keys with which the person may sign: `ssh-ed25519 AAAA…`",
    "Roles.leading_group": "decides, accepts, declares the end",
    "Roles.working_group": "carries the recovery out",
    "Roles.technical_support": "diagnoses and repairs",
    "Roles.information": "collects and submits information",
    "Roles.user_service": "informs and helps users",
    "Roles.logistics": "keeps supplies ready",
    "Objectives.rto": "time from detection until the result is accepted",
    "Objectives.rpo": "age of the data that may be lost",
    "Host.address": "host name or IP address",
    "Host.port": "TCP port of its SSH server",
    "Host.user": "login",
    "Host.key": "the private key to log in with, without passphrase",
    "Host.host_key": "the only host key that is accepted, as in `/etc/ssh/ssh_host_ed25519_key.pub`",
    "Host.machine_id": "32 hex digits, as in `/etc/machine-id`; a host that says another one is refused",
    "Host.machine_id_file": "where the host keeps its machine-id",
    "Host.role": "what the host is; compared with `STATE_DIR/role` on the host when that file exists",
    "Host.sudo": "whether the login may run anything as root through `sudo -n`",
    "Host.state_dir": "folder on the host for jobs, fence and trace",
    "S3Source.kind": "an S3 bucket",
    "S3Source.bucket": "its name",
    "S3Source.prefix": "put before every object's key",
    "S3Source.endpoint": "address of the store; empty means AWS",
    "S3Source.region": "region of the bucket",
    "S3Source.access_key": "access key id",
    "S3Source.secret_key": "secret access key",
    "S3Source.compatible": "send no checksum headers that only AWS understands",
    "S3Source.pull": "`auto`: the host fetches large files itself with a presigned URL where it can; `stream`: always "
    "through the orchestrator",
    "EngineSource.manifests": "source of kind `s3` or `directory` that keeps the signed manifests; default: this "
    "installation's own folder",
    "ResticSource.kind": "a restic repository, read and written by restic on the host",
    "ResticSource.repository": "as `restic --repo` takes it on the host: a path, `s3:https://…`, `rest:https://…`, "
    "`sftp:…`",
    "ResticSource.password": "of the repository",
    "ResticSource.access_key": "for a repository in S3",
    "ResticSource.secret_key": "for a repository in S3",
    "ResticSource.ca_file": "on the host, the authority that signed the server's certificate",
    "BorgSource.kind": "a borg repository, read and written by borg on the host",
    "BorgSource.repository": "a path on the host, or `ssh://…`",
    "BorgSource.passphrase": "of the repository's key; none for a repository without encryption",
    "TreeSource.kind": "plain trees on the host, one folder per recovery point",
    "TreeSource.path": "folder of the host that holds them, a mounted share as a rule",
    "S3TreeSource.kind": "files as single objects of a versioned S3 bucket",
    "PgBackRestSource.kind": "a pgBackRest stanza, configured on the host",
    "PgBackRestSource.stanza": "its name",
    "PgBackRestSource.config": "pgBackRest's own configuration file on the host",
    "PgBackRestSource.full_every": "age of the newest full backup at which the next one is full again; between them "
    "they are incremental",
    "DirectorySource.kind": "a folder of the machine that runs Reinstate (a mounted share)",
    "DirectorySource.path": "the folder; a relative path begins at the plan's folder",
    "AssetBase.host": "the host it is on",
    "AssetBase.services": "service assets to restart once this one was repaired",
    "AssetBase.description": "for people",
    "DpkgAsset.kind": "Debian packages, examined by dpkg's own checksums",
    "DpkgAsset.packages": "names; empty means every installed package",
    "RpmAsset.kind": "RPM packages, examined by rpm's own records",
    "RpmAsset.packages": "names; empty means every installed package",
    "PipAsset.kind": "a Python environment, examined by `RECORD`",
    "FilesAsset.kind": "a folder or a file, compared with its newest recovery point",
    "FilesAsset.backup": "where its recovery points are",
    "FilesAsset.screen": "`none`: every byte is read at every check; `ctime`: what was found whole and has not changed "
    "since is not read again, see [Restoring files](restoring-files.md#the-ctime-screen)",
    "FilesAsset.stop_services": "whether its `services` stand still while files are put into place",
    "FilesAsset.rehash": "with `screen: ctime`, how often every byte is read all the same",
    "PostgresAsset.kind": "a PostgreSQL database",
    "PostgresAsset.port": "TCP port, also part of the socket's name",
    "PostgresAsset.backup": "where its dumps are, or the pgBackRest repository of its cluster",
    "MariadbAsset.kind": "a MariaDB database",
    "MariadbAsset.port": "TCP port, where `server` is no socket",
    "MariadbAsset.backup": "where its dumps, or the backups by mariabackup, are: of kind `s3` or `directory`",
    "SqliteAsset.kind": "a SQLite database file",
    "SqliteAsset.backup": "where its copies are",
    "ServiceAsset.kind": "a service",
    "ServiceAsset.unit": "systemd unit; instead of the three commands",
    "ServiceAsset.start": "command that starts it, as a list of words",
    "ServiceAsset.stop": "command that stops it",
    "ServiceAsset.logs": "its own log files, read for the cause of a damage; `*` may stand in the last part",
    "ServiceAsset.status": "command that ends with 0 when it runs, with 3 when it is stopped",
    "SystemAsset.kind": "the state of a host itself",
    "Checks.probes": "HTTP requests that must succeed",
    "Checks.tables": "expectations on database tables, checked after a restore",
    "Checks.soak": "how long every probe must pass before people are asked to accept",
    "Checks.interval": "pause between two rounds of probes",
    "Probe.name": "its name in reports",
    "Probe.url": "`http://` or `https://`",
    "Probe.from_host": "send it from this host instead of from the orchestrator",
    "Probe.status": "HTTP status that counts as success",
    "Probe.contains": "text the answer must contain",
    "Probe.timeout": "how long one request may take",
    "TableChecks.database": "the database asset",
    "TableChecks.table": "the table, with its schema if it is not `public`",
    "TableChecks.expectations": "what must hold",
    "Fresh.column": "a column with moments",
    "Fresh.within": "age of its newest moment at most, by the database's own clock",
    "Reference.column": "a column of this table",
    "Reference.table": "the table it refers to",
    "Reference.key": "the column there",
    "Expectation.type": "name of the expectation, such as `expect_column_values_to_not_be_null`",
    "Expectation.kwargs": "its arguments",
    "SignOff.decide": "the proposal, before anything is changed",
    "SignOff.accept": "the result, before the end; a denial rolls everything back",
    "SignOff.break_glass": "letting a real incident follow a plan that was changed and not published; at least two "
    "people, whose word holds until `deadline`",
    "SignOff.publish": "a new version of the plan; the version before says who",
    "GateRule.roles": "roles whose people may sign",
    "GateRule.quorum": "how many different people must approve; one denial settles the gate",
    "GateRule.deadline": "how long people have; recorded with the gate and shown",
    "GateRule.on_timeout": "what happens then: it goes on waiting, counts as denied, or (only at `accept`) everything "
    "is rolled back, or counts as accepted. Nothing is ever changed that nobody signed",
    "GateRule.remind": "how long before the deadline those who may still sign are told again",
    "GateRule.escalate": "how long before the deadline `escalate_to` is told that it is not signed",
    "GateRule.escalate_to": "roles whose people are told then; they do not sign in place of others",
}
"""Meaning of keys the models' docstrings leave out; the docstring counts for all others."""

PATTERNS = {
    r"^[a-z0-9][a-z0-9-]{0,62}$": "name",
    r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$": "id",
    r"^[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,254}$": "unit name",
    r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00\n]+|block:[a-z0-9-]+/[a-z0-9-]+)$": "secret reference",
    r"^([01][0-9]|2[0-3]):[0-5][0-9]$": "`HH:MM`",
    r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$": "`HH:MM`",
}

PLURALS = {"a mapping": "mappings", "id": "ids", "name": "names", "text": "texts"}

VALUES = {
    "GateRule.roles": "list of roles",
    "Audience.moments": "list of `opened`, `confirmed`, `decided`, `progress`, `impact_changed`, `recovered`, `ended`, "
    "`reminded`, `escalated`",
    "Audience.gate": "told only about this gate, at `asked`, `reminded` and `escalated`; left out: about every gate",
}
"""Values that the schema describes at too great a length."""

COMMANDS_INTRO = """\
# Commands

`reinstate COMMAND --help` prints the same. Results go to standard output, everything for people (progress, questions,
errors) to standard error. With `--json` the result is one JSON document; an error is then also an object with `error`,
`what`, `where`, `remedy` and `problems`.

`PLAN` is the path of a plan file or the name of a plan that `reinstate up` registered. A name is looked up only when
there is no such file."""

EXIT_CODES: tuple[tuple[int, str, str], ...] = (
    (
        0,
        "",
        "It was done. For `scan`: every check passed. For `recover --local`: the service was recovered.",
    ),
    (1, "ERROR", "Something else went wrong, or you answered no to a question; the message says what."),
    (
        2,
        "",
        "`scan`: damage was found, or a check could not run. `scan`, `backups`, `verify-backups`: a recovery point is "
        "missing, altered, not whole or overdue. `readiness`: something is blocked. Also: the command line was wrong.",
    ),
    (10, "ROLLED_BACK", "`demo`, `recover --local`: the recovery was rolled back."),
    (
        11,
        "STOPPED_SAFE",
        "`demo`, `recover --local`: the recovery stopped before any change (also: there was no damage), or where only "
        "a person can go on.",
    ),
)
"""Exit codes that are no error's."""
