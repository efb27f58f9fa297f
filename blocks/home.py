"""Where this installation keeps its journal, and the store opened there."""

from __future__ import annotations

import os
from pathlib import Path

from blocks.journals.base import JournalStore
from blocks.journals.directory import DirectoryJournal
from blocks.keys import SigningKey
from model.errors import BadInput

SYSTEM_HOME = Path("/var/lib/reinstate")


def home() -> Path:
    """The folder of this installation.

    `$REINSTATE_HOME`, else /var/lib/reinstate for root, else `~/.local/share/reinstate`.

    Raises:
        BadInput: REINSTATE_HOME is not an absolute path.
    """
    chosen = os.environ.get("REINSTATE_HOME", "")
    if chosen:
        path = Path(chosen).expanduser()
        if not path.is_absolute():
            raise BadInput(
                f"REINSTATE_HOME is {chosen!r}, which depends on the working directory.",
                remedy="give an absolute path",
            )
        return path
    return SYSTEM_HOME if os.geteuid() == 0 else Path.home() / ".local" / "share" / "reinstate"


def signing_key() -> SigningKey:
    """This installation's signing key."""
    return SigningKey.load_or_create(home() / "keys")


def open_store(root: Path | None = None) -> JournalStore:
    """The journal store of this installation.

    Args:
        root: its folder; default: `home()`.

    Raises:
        PreconditionFailed: the folder cannot be made or written.
        Damaged: the signing key was altered.
    """
    return DirectoryJournal(root if root is not None else home())
