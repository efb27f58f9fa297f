"""Services stopped around a change: those that ran before run again afterwards, also when the change failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from blocks.hosts.base import Connection
from model.assets import ServiceAsset
from model.errors import PreconditionFailed, Transient
from tasks.restart_service import change
from tasks.staging import ask


@contextmanager
def stopped(
    connection: Connection, services: Mapping[str, ServiceAsset], job_prefix: str, token: int
) -> Iterator[None]:
    """Stop services for the time of the context.

    What ran is asked by a job, too: its answer outlives us, so a second execution starts what the first one stopped.

    Raises:
        PreconditionFailed: one does not stop; nothing else was changed.
    """
    ran = [
        name
        for name, service in services.items()
        if all(
            change(connection, f"{job_prefix}-was-{name}-{number}", words, token)[0]
            for number, words in enumerate(service.command("status"))
        )
    ]
    lost = False
    try:
        for name in ran:
            for number, words in enumerate(services[name].command("stop")):
                change(connection, f"{job_prefix}-stop-{name}-{number}", words, token)
            if all(ask(connection, *words).ok for words in services[name].command("status")):
                raise PreconditionFailed(
                    f"{name} does not stop.", connection.name, "stop it by hand, then run it again"
                )
        yield
    except Transient:
        lost = True  # the next execution of the same effect goes on and starts them
        raise
    finally:
        if not lost:
            for name in reversed(ran):
                for number, words in enumerate(services[name].command("start")):
                    change(connection, f"{job_prefix}-start-{name}-{number}", words, token)
