"""The shop's health: configuration, database, files and packages, each really used and not only looked at."""

from __future__ import annotations

import csv
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

from . import catalog, config


def check(path: Path) -> dict[str, str]:
    """Runs every check and returns its name with `ok` or what is wrong."""
    try:
        current = config.read(path)
    except config.ConfigError as error:
        return {"config": str(error)}
    found = {"config": "ok"}
    checks: dict[str, Callable[[config.Config], str]] = {
        "database": _database,
        "files": _files,
        "theme": _theme,
        "report": _report,
    }
    for name, run in checks.items():
        try:
            found[name] = run(current)
        except Exception as error:  # noqa: BLE001 - whatever broke is the answer of this check
            found[name] = f"{type(error).__name__}: {error}"
    return found


def _database(current: config.Config) -> str:
    ledger = catalog.ledger(current)
    if not ledger["orders"]:
        return "there are no orders"
    if ledger["wrong"]:
        return f"{ledger['wrong']} orders do not add up"
    return "ok"


def _files(current: config.Config) -> str:
    with (current.files / "catalog/index.csv").open(newline="", encoding="utf-8") as stream:
        entries = list(csv.DictReader(stream))
    if not entries:
        return "the index of files is empty"
    for entry in entries:
        path = current.files / entry["file"]
        if path.is_symlink() or not path.is_file():
            return f"{entry['file']} is missing or no plain file"
        if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            return f"{entry['file']} is damaged"
    return "ok"


def _theme(current: config.Config) -> str:
    text = current.theme.read_text(encoding="utf-8")
    if not text.startswith("/* shop-theme") or not text.endswith("/* end of shop-theme */\n"):
        return f"{current.theme.name} is damaged"
    return "ok"


def _report(current: config.Config) -> str:
    done = subprocess.run([current.report], capture_output=True, text=True, timeout=5, check=False)
    if done.returncode != 0 or "shop-report" not in done.stdout:
        return f"{current.report.name} ended with {done.returncode}"
    return "ok"
