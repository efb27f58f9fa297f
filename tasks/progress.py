"""What a run shows: progress as an artifact inside a task run, log lines without Prefect; tables as artifacts."""

from __future__ import annotations

import time
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.context import TaskRunContext
from prefect.logging import get_logger

INTERVAL = 1.0
"""Seconds between two updates: each is a request to the server."""


class Progress:
    """Call it with (done, total) as often as you like."""

    def __init__(self, label: str, key: str) -> None:
        """Name the work.

        Args:
            label: what a person reads, e.g. `restore_files on web-1`.
            key: artifact key: lower case letters, digits, dashes.
        """
        self.label, self.key = label, key
        self._artifact: UUID | None = None
        self._last = 0.0

    def __call__(self, done: int, total: int, note: str = "", /) -> None:
        """Show how far it is, and what that means in words; at most once per INTERVAL, and always at the end."""
        finished = total > 0 and done >= total
        if not finished and time.monotonic() - self._last < INTERVAL:
            return
        self._last = time.monotonic()
        percent = min(100.0, 100.0 * done / total) if total > 0 else 0.0
        if TaskRunContext.get() is None:
            said = f" ({note})" if note else ""
            get_logger("reinstate").info("%s: %.0f %%%s", self.label, percent, said)
        elif self._artifact is None:
            self._artifact = cast(
                UUID, create_progress_artifact(percent, key=self.key, description=self.label)
            )
        else:
            update_progress_artifact(
                self._artifact, percent, description=f"{self.label}: {note}" if note else None
            )


def table_artifact(key: str, rows: list[dict[str, Any]], description: str) -> None:
    """A table on the page of the run; nothing without Prefect."""
    if TaskRunContext.get() is not None:
        create_table_artifact(table=rows, key=key, description=description)
