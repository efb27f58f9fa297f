"""What every stage works with: the incident, its plan as it was when it was opened, its journal and its connections."""

from __future__ import annotations

import functools
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter

from blocks.backups import open_backup_stores
from blocks.backups.base import BackupStore
from blocks.home import home, open_store, signing_key
from blocks.hosts.base import Connection
from blocks.hosts.ssh import SSHHost
from blocks.journals.base import JournalStore
from blocks.journals.names import is_id
from blocks.packages import PackageStore, open_package_store
from blocks.packages.store import Memory
from blocks.secrets import Secrets
from checks.many import side_by_side
from model.accepted import Accepted
from model.assets import FilesAsset, PostgresAsset
from model.canonical import now
from model.errors import BadInput, Refused, ReinstateError
from model.incident import Incident, Kind, Source, new_incident_id
from model.journal import Noted, Opened, Payload, Record, State, fold
from model.manifest import Entry
from model.mistake import Mistake
from model.plan import Plan
from model.planfile import plan_digest, read_plan
from model.staged import StagedPlan, staged
from tasks.versions import glass_needed, published_number

_ENTRIES = TypeAdapter(tuple[Entry, ...])
_ACCEPTED = TypeAdapter(tuple[Accepted, ...])


@dataclass(frozen=True)
class PlanFile:
    """A plan with the text it was read from and the folder its relative references start at.

    Attributes:
        paper: of a tabletop exercise: no connection is opened to any host.
    """

    plan: Plan
    text: str
    path: Path
    paper: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        return plan_digest(self.text)

    @property
    def secrets(self) -> Secrets:
        """Resolver of the plan's secret references."""
        return Secrets(self.path.parent)

    def connect(self, host: str) -> Connection:
        """Open a connection to a host of the plan; the caller closes it.

        Raises:
            Transient: unreachable. Refused: not the host key of the plan. PreconditionFailed: login refused.
        """
        if self.paper:
            raise Refused("a tabletop exercise connects to no host.", host, "report this as a bug")
        wanted = self.plan.hosts[host]
        if isinstance(self.plan, StagedPlan) and wanted.role != "staging":
            raise Refused(
                f"a drill connects to staging only, and this is {wanted.role}.", host, "report this as a bug"
            )
        connection = SSHHost.from_plan(host, wanted, self.secrets).connect()
        connection.host = wanted
        return connection

    def drilled(self, incident: Incident) -> PlanFile:
        """The same as an incident follows it: on paper, with staging in place of every host, or as it is.

        Raises:
            Refused: nothing stands in for a host.
        """
        if incident.tabletop:
            return PlanFile(self.plan, self.text, self.path, paper=True)
        return self.staged() if incident.drill else self

    def staged(self) -> PlanFile:
        """The same with staging in place of every host, as a drill follows it.

        Raises:
            Refused: nothing stands in for a host.
        """
        if isinstance(self.plan, StagedPlan):
            return self
        return PlanFile(staged(self.plan), self.text, self.path)

    @contextmanager
    def connections(self, hosts: set[str] | None = None) -> Iterator[dict[str, Connection]]:
        """Connections to the named hosts (default: all), opened side by side, closed together."""
        names = [name for name in self.plan.hosts if hosts is None or name in hosts]
        with ExitStack() as stack:
            opened = side_by_side(lambda name: stack.enter_context(self.connect(name)), names)
            yield dict(zip(names, opened, strict=True))

    def backups(self) -> dict[str, BackupStore]:
        """The backup sources of the plan, opened."""
        return open_backup_stores(
            self.plan.name, self.plan.backups, self.secrets, signing_key(), self.path.parent, home()
        )

    def package_stores(self, memory: Memory) -> dict[str, PackageStore]:
        """The package stores of the plan, opened; `memory`, the journal store, keeps the newest index seen of each."""
        key = signing_key()
        return {
            name: open_package_store(name, self.plan.name, store, self.secrets, key, self.path.parent, memory)
            for name, store in self.plan.package_stores.items()
        }


@dataclass(frozen=True)
class Work:
    """An open incident."""

    incident: Incident
    file: PlanFile
    store: JournalStore

    @property
    def plan(self) -> Plan:
        """The plan this incident follows."""
        return self.file.plan

    def state(self) -> State:
        """The journal folded, read and verified now."""
        return fold(self.store.read(self.incident.id))

    def record(self, payload: Payload) -> Record:
        """Append to the journal; durable on return."""
        return self.store.append(self.incident.id, payload)

    def note_once(self, sentence: str) -> None:
        """Note something in the journal, unless it says so already."""
        records = self.store.read(self.incident.id)
        if all(not isinstance(r.payload, Noted) or r.payload.sentence != sentence for r in records):
            self.record(Noted(sentence=sentence))

    def folder(self, name: str) -> Path:
        """Folder of this incident for bulk files (`evidence/HOST`, `snapshot/HOST`)."""
        return self.store.folder(f"{self.incident.id}/{name}")


def owner() -> str:
    """Who holds a lease: host, process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def load_plan(reference: str, store: JournalStore | None = None) -> PlanFile:
    """Load a plan by file path, or by the name under which `register_plan` put it; by its id, a drill's staged plan.

    Raises:
        BadInput: no such file or name. BadPlan: the plan is wrong.
    """
    if is_id(reference, "drl"):
        return open_work(reference, store).file
    path = Path(reference).expanduser()
    if not path.is_file():
        known = registered(reference, store or open_store())
        if known is None:
            raise BadInput(
                "there is no such plan file and no plan registered under this name.",
                where=reference,
                remedy="give the path of a plan, or start `reinstate up PLAN` to register it",
            )
        path = known
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"the plan cannot be read: {error}.", where=str(path), remedy="check the file"
        ) from error
    return PlanFile(read_plan(text, str(path)), text, path.resolve())


def registered(name: str, store: JournalStore) -> Path | None:
    """The file of the plan that is registered under this name; None: there is none."""
    known = store.get(f"plans/{name}.json") if _is_name(name) else None
    return None if known is None else Path(json.loads(known)["path"])


def register_plan(file: PlanFile, store: JournalStore) -> None:
    """Make a plan known by its name, for the forms of the UI."""
    store.put(f"plans/{file.plan.name}.json", json.dumps({"path": str(file.path)}).encode())


def _is_name(text: str) -> bool:
    return text.replace("-", "").isalnum()


def require_mistakes(plan: Plan, mistakes: Iterable[Mistake]) -> None:
    """Refuse reported mistakes that nothing of the plan can have.

    Raises:
        BadInput: it is no PostgreSQL database and no file set, or what is said is of the other kind.
    """
    for mistake in mistakes:
        match plan.assets.get(mistake.asset):
            case FilesAsset():
                wrong = mistake.mark or mistake.tables or mistake.rows == "changed"
                why, remedy = "is a file set, which has no tables, rows or WAL", "give a moment, and `--path`"
            case PostgresAsset():
                wrong = mistake.until is not None or mistake.paths
                why, remedy = (
                    "is a database, which has no paths and one moment",
                    "give one moment, and `--table`",
                )
            case _:
                wrong, why = True, "is no PostgreSQL database and no file set of the plan"
                remedy = "name a PostgreSQL or file asset of the plan"
        if wrong:
            raise BadInput(f"{mistake.asset!r} {why}.", "--mistake", remedy)


def open_incident(
    file: PlanFile,
    store: JournalStore,
    summary: str,
    reported_by: str,
    source: Source,
    kind: Kind = Kind.REAL,
    detected_at: datetime | None = None,
    mistakes: tuple[Mistake, ...] = (),
    drill: str = "",
    tabletop: bool = False,
) -> Work:
    """Open an incident: the first record of its journal, the plan's text beside it (R-RESP-1).

    Args:
        file: the plan.
        store: where the journal lives.
        summary: what was noticed, in words.
        reported_by: a person of the plan, or the name of the monitor; a person named here may not sign.
        source: how the report came in.
        kind: real, drill or verification.
        detected_at: when it was noticed; now when not known.
        mistakes: what people did by mistake.
        drill: the drill it is part of; staging then stands in for every host.
        tabletop: it is played through on paper.
    """
    file = file.staged() if drill and not tabletop else file
    require_mistakes(file.plan, mistakes)
    if source in {Source.UI, Source.CLI} and reported_by not in file.plan.people:
        raise BadInput(
            f"{reported_by!r} is not a person of the plan; who reports may not sign, so it must be known who it is.",
            where="reported_by",
            remedy=f"give one of {', '.join(file.plan.people)}",
        )
    production = [name for name, host in file.plan.hosts.items() if host.role == "production"]
    if kind is Kind.DRILL and production and not tabletop:
        raise Refused(
            f"a drill never touches production, and {', '.join(production)} is production.",
            where=file.plan.name,
            remedy=f"`reinstate drill {file.plan.name}` puts staging in their place",
        )
    moment = now()
    incident = Incident(
        id=new_incident_id(moment),
        kind=kind,
        plan=file.plan.name,
        plan_version=file.plan.version,
        plan_digest=file.digest,
        summary=summary,
        reported_by=reported_by,
        source=source,
        detected_at=detected_at or moment,
        opened_at=moment,
        mistakes=mistakes,
        published=published_number(store, file.plan.name, file.digest),
        drill=drill,
        tabletop=tabletop,
    )
    work = keep_incident(incident, file, store)
    if (needed := glass_needed(store, incident)) is not None:
        work.record(needed)
    return work


def keep_incident(incident: Incident, file: PlanFile, store: JournalStore) -> Work:
    """Write an incident's first record, beside it the plan whose rules it follows."""
    write_first(incident, file, store)
    return Work(incident, file.drilled(incident), store)


def write_first(incident: Incident, file: PlanFile, store: JournalStore) -> None:
    """Write the first record of a journal, beside it the plan's text."""
    store.put(f"incidents/{incident.id}/plan.yaml", file.text.encode())
    store.put(f"incidents/{incident.id}/plan-path.json", json.dumps({"path": str(file.path)}).encode())
    store.append(incident.id, Opened(incident=incident), expect=0)


def open_work(incident: str, store: JournalStore | None = None) -> Work:
    """Open an existing incident with the plan text it was opened with.

    Raises:
        BadInput: there is no such incident. Damaged: its journal or plan was altered.
    """
    store = store or open_store()
    records = store.read(incident)
    if not records:
        raise BadInput(
            "there is no such incident.", where=incident, remedy="`reinstate incidents` lists them"
        )
    opened = fold(records).require_incident()
    file = kept_plan(store, opened)
    return Work(opened, file.drilled(opened), store)


def kept_plan(store: JournalStore, incident: Incident) -> PlanFile:
    """The plan that is kept with an incident, as it was written.

    Raises:
        ReinstateError: it is missing or was altered.
    """
    text = store.get(f"incidents/{incident.id}/plan.yaml")
    path = store.get(f"incidents/{incident.id}/plan-path.json")
    if text is None or path is None or plan_digest(text.decode()) != incident.plan_digest:
        raise ReinstateError(
            "the plan kept with the incident is missing or altered.",
            where=incident.id,
            remedy="restore the journal store's documents from its backup",
        )
    where = Path(json.loads(path)["path"])
    return PlanFile(read_plan(text.decode(), str(where)), text.decode(), where)


def baseline(store: JournalStore, plan: Plan, asset: str) -> tuple[Entry, ...] | None:
    """The recorded metadata of a package asset's files; None when none was ever recorded."""
    data = store.get(_baseline_key(plan, asset))
    return None if data is None else _entries(data)


@functools.lru_cache(maxsize=1)
def _entries(data: bytes) -> tuple[Entry, ...]:
    """The last baseline read: a diagnosis asks for the same one several times."""
    return _ENTRIES.validate_json(data)


class Baselines(Mapping[str, tuple[Entry, ...]]):
    """The baselines of a plan by asset, each read when asked for and not kept: a fleet's would fill the memory."""

    def __init__(self, store: JournalStore, plan: Plan) -> None:
        """Of this plan in this store."""
        self._store, self._plan = store, plan

    def __getitem__(self, asset: str) -> tuple[Entry, ...]:
        """The baseline of an asset.

        Raises:
            KeyError: none was ever recorded.
        """
        found = baseline(self._store, self._plan, asset)
        if found is None:
            raise KeyError(asset)
        return found

    def __iter__(self) -> Iterator[str]:
        """Every asset of the plan that has one."""
        return (
            name for name in self._plan.assets if self._store.get(_baseline_key(self._plan, name)) is not None
        )

    def __len__(self) -> int:
        """How many there are."""
        return sum(1 for _ in self)


def accepted(store: JournalStore, plan: Plan, asset: str) -> tuple[Accepted, ...]:
    """The differences of a package asset that people accepted, oldest first."""
    data = store.get(f"accepted/{plan.kept_as}/{asset}.json")
    return () if data is None else _ACCEPTED.validate_json(data)


def save_accepted(store: JournalStore, plan: Plan, asset: str, differences: Sequence[Accepted]) -> None:
    """Record differences as accepted, in place of earlier ones of the same paths."""
    known = {one.entry.path: one for one in (*accepted(store, plan, asset), *differences)}
    store.put(f"accepted/{plan.kept_as}/{asset}.json", _ACCEPTED.dump_json(tuple(known.values())))


def save_baseline(store: JournalStore, plan: Plan, asset: str, entries: tuple[Entry, ...]) -> None:
    """Record the metadata of a package asset's files as healthy."""
    store.put(
        _baseline_key(plan, asset),
        json.dumps([entry.model_dump(mode="json") for entry in entries]).encode(),
    )


def _baseline_key(plan: Plan, asset: str) -> str:
    return f"baselines/{plan.kept_as}/{asset}.json"
