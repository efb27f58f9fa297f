"""SSH keys of people."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_key(folder: Path, name: str) -> str:
    """An SSH key pair of a person; returns the public line."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name), "-C", ""], check=True
    )
    return (folder / f"{name}.pub").read_text().strip()
