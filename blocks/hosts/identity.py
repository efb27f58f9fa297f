"""Which host is this? Machine-id and role, read from the host and compared with the plan (G7)."""

from __future__ import annotations

from blocks.hosts import scripts
from blocks.hosts.base import Connection, Identity
from model.command import Command, printable
from model.errors import PreconditionFailed, Refused

_REMEDY = (
    "See that the plan's address leads to the right host; if the host was reinstalled, publish a new plan."
)


def read(connection: Connection) -> Identity:
    """Read the identity facts; needs no program on the host but sh or bash.

    Raises:
        PreconditionFailed: the machine-id file or the role file cannot be read.
        Transient: the connection was lost.
    """
    host = connection.host
    path = host.machine_id_file
    role_path = f"{host.state_dir.rstrip('/')}/role"
    result = connection.run(scripts.script(scripts.IDENTITY, path, role_path), limit=4096)
    if not result.ok and result.status not in {None, 2, 44, 45}:  # sh or env may be what is damaged
        command = Command(("bash", "-c", scripts.IDENTITY, "reinstate", path, role_path), sudo=True)
        again = connection.run(command, limit=4096)
        result = again if again.status in {0, 44, 45} else result
    if result.status in {2, 44, 45}:
        missing = role_path if result.status == 45 else path
        raise PreconditionFailed(
            f"the identity file {missing} is missing, empty or unreadable: {result.tail()}",
            connection.name,
            "Correct `machine_id_file` or `state_dir` in the plan, or restore the file on the host from its console.",
        )
    lines = scripts.explain(result, f"read {path}", connection.name, path).text.split("\n")
    return Identity(machine_id=lines[0].strip(), host_key=host.host_key, role=lines[1].strip())


def prove(connection: Connection) -> Identity:
    """Compare the host's facts with the plan and return them.

    The host key is proved already: without it there is no connection. A role file that is not there says nothing;
    whether one is required is for the caller (a drill requires it, G12).

    Raises:
        Refused: machine-id or role differ from the plan.
        PreconditionFailed: the machine-id cannot be read.
        Transient: the connection was lost.
    """
    host, found = connection.host, connection.identity()
    if found.machine_id != host.machine_id:
        raise Refused(
            f"the host says it is machine {printable(found.machine_id)[:80]}, the plan means {host.machine_id}.",
            connection.name,
            _REMEDY,
        )
    if found.role and found.role != host.role:
        raise Refused(
            f"the host says its role is {printable(found.role)[:80]}, the plan says {host.role}.",
            connection.name,
            _REMEDY,
        )
    return found
