"""The three independent facts that must say staging before a drill touches anything (G12, R-DRILL-3).

1. The plan that the leading group signed says so, and no production host of it has the same identity.
2. The host's own marker file says so.
3. The staging credentials cannot log in at the production host.
"""

from __future__ import annotations

from blocks.hosts.ssh import SSHHost
from blocks.hosts.transport import LoginRefused
from blocks.journals.base import JournalStore
from model.command import printable
from model.errors import Refused, ReinstateError, Transient
from model.host import Host
from model.plan import Plan
from model.planfile import read_plan
from model.staged import not_staging
from tasks.versions import versions_of
from tasks.work import PlanFile

Facts = dict[str, tuple[str, ...]]


class NotStaging(Refused):
    """A fact does not say staging: nothing was touched."""

    code = "NOT_STAGING"


def prove_staging(file: PlanFile, store: JournalStore) -> Facts:
    """Check the facts of every stand-in; all that is wrong is found before anything is said.

    Args:
        file: the plan as it is written, with production and its stand-ins.
        store: where the published versions are.

    Returns:
        Host → one sentence for each fact.

    Raises:
        NotStaging: at least one fact of a host does not hold; all are named.
        Damaged: a published version was altered.
    """
    file.staged()
    by_plan = not_staging(_signed(file, store), file.plan)
    wrong: list[str] = []
    found: Facts = {}
    for name in file.plan.hosts:
        if name not in by_plan:
            continue
        bad = [f"plan: {'; '.join(by_plan[name])}"] if by_plan[name] else []
        marker, reached = _marker(file, name), _reaches(file, name)
        bad += [f"marker: {marker}"] if marker else []
        bad += [f"credentials: {reached}"] if reached else []
        if bad:
            wrong.append(f"{name}: {'. '.join(bad)}")
        found[name] = (
            "The signed plan says staging, and its identity is none of production's.",
            "The marker file on the host says staging.",
            "The staging key cannot log in at the production host.",
        )
    if wrong:
        raise NotStaging(
            f"not every fact says staging. {' '.join(f'{one}.' for one in wrong)}", f"plan {file.plan.name}",
            "correct what is named; the role file of a staging host is written by hand, on that host",
        )  # fmt: skip
    return found


def _signed(file: PlanFile, store: JournalStore) -> Plan:
    """The newest published version; a plan never published counts by its file, as for real incidents."""
    versions = versions_of(store, file.plan.name)
    return read_plan(versions[-1].text, f"{file.plan.name}@{len(versions)}") if versions else file.plan


def _marker(file: PlanFile, name: str) -> str:
    """What speaks against a host by what it says of itself; empty when it says staging."""
    stand_in = file.plan.drill.staging[name]
    try:
        with SSHHost.from_plan(name, stand_in, file.secrets).connect() as connection:
            found = connection.identity()
    except ReinstateError as error:
        return printable(f"it could not be asked: {error.what}").rstrip(".")
    if found.machine_id != stand_in.machine_id:
        return f"the host says it is machine {printable(found.machine_id)[:80]}, not {stand_in.machine_id}"
    if found.role != "staging":
        says = f"says {printable(found.role)[:80]}" if found.role else "is not there"
        return f"the file {stand_in.state_dir.rstrip('/')}/role on the host {says}"
    return ""


def _reaches(file: PlanFile, name: str) -> str:
    """What speaks against the staging credentials; empty when production refuses them or cannot be reached.

    A login that succeeds is closed at once: nothing is run there.
    """
    production, stand_in = file.plan.hosts[name], file.plan.drill.staging[name]
    for user in dict.fromkeys((stand_in.user, production.user)):
        tried = Host.model_validate(production.model_dump() | {"user": user, "key": stand_in.key})
        try:
            SSHHost.from_plan(name, tried, file.secrets).connect().close()
        except (LoginRefused, Transient):
            continue
        except ReinstateError as error:
            return printable(f"it could not be shown: {error.what}").rstrip(".")
        return f"the staging key logs in at production host {name} as {user}"
    return ""
