"""What an action on the state of a host changes, in a few words."""

from __future__ import annotations

from model.proposal import FreeSpace, MendAccounts, RemountWritable, RestartTimeDaemon, RestoreUnits


def what_of_system(
    action: RestoreUnits | FreeSpace | RemountWritable | RestartTimeDaemon | MendAccounts,
) -> str:
    """The thing it changes."""
    match action:
        case RestoreUnits():
            parts = [
                *(entry.path for entry in action.files[:5]),
                *(f"remove {entry.path}" for entry in action.gone[:5]),
                *(f"start {unit}" for unit in action.start[:5]),
            ]
            more = len(action.files) + len(action.gone) + len(action.start) - len(parts)
            return (", ".join(parts) or "systemd's units") + (f" and {more} more" if more else "")
        case FreeSpace():
            names = ", ".join(entry.path for entry in action.files[:5])
            more = len(action.files) - 5
            return f"remove {names}{f' and {more} more' if more > 0 else ''}: {action.frees} bytes on {action.mount}"
        case RemountWritable():
            return f"{action.mount}, writable again"
        case RestartTimeDaemon():
            return action.unit
        case MendAccounts():
            return f"{action.path}, with lines of {action.source}"
