"""Which performer carries out an action on a host's own state."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.hosts.base import Connection
from model.assets import SystemAsset
from model.errors import Unsupported
from model.host_state import host_state
from model.manifest import Entry
from model.proposal import Action, FreeSpace, MendAccounts, RemountWritable, RestartTimeDaemon, RestoreUnits
from tasks import host_repairs, mend_accounts, restore_units
from tasks.performed import Performed
from tasks.staging import Progress


def perform(
    connection: Connection, asset: SystemAsset, action: Action, recorded: Sequence[Entry], *, job_prefix: str,
    token: int, progress: Progress,
) -> Performed:  # fmt: skip
    """Carry it out.

    Raises:
        Unsupported: it is no action on the state of a host.
    """
    match action:
        case RestoreUnits():
            state = host_state(recorded)
            contents = state.contents if state else {}
            return restore_units.perform(
                connection, action, contents, job_prefix=job_prefix, token=token, progress=progress
            )
        case MendAccounts():
            return mend_accounts.perform(
                connection, action, job_prefix=job_prefix, token=token, progress=progress
            )
        case FreeSpace():
            return host_repairs.free_space(
                connection, action, job_prefix=job_prefix, token=token, progress=progress
            )
        case RemountWritable():
            return host_repairs.remount(
                connection, action, job_prefix=job_prefix, token=token, progress=progress
            )
        case RestartTimeDaemon():
            return host_repairs.restart_time_daemon(
                connection, asset, action, job_prefix=job_prefix, token=token, progress=progress
            )
        case _:
            raise Unsupported(
                f"{action.kind} does not fit {action.asset}, which is of kind {asset.kind}.",
                action.host,
                "propose again: the plan changed",
            )
