"""The demo's emergency organisation: four people, each with the secret of their one-time codes."""

from __future__ import annotations

from pathlib import Path

import pyotp

from deployments.demo.facts import Person
from deployments.demo.host import write_secret

PEOPLE = {
    "lena": ("Lena Hartmann", ("leading_group",)),
    "omar": ("Omar Said", ("leading_group",)),
    "mia": ("Mia Larsen", ("working_group", "technical_support")),
    "paul": ("Paul Okoro", ("information", "user_service", "logistics")),
}


def create(secret_dir: Path) -> tuple[Person, ...]:
    """Describes the people; makes their secrets (mode 600) once and keeps them, as phones do."""
    people = []
    for key, (name, roles) in PEOPLE.items():
        path = secret_dir / f"totp-{key}"
        if not path.exists():
            write_secret(path, f"{pyotp.random_base32()}\n")
        people.append(Person(key=key, name=name, email=f"{key}@example.invalid", roles=roles, totp_file=path))
    return tuple(people)
