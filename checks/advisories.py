"""Known vulnerabilities of Python distributions, from a file or folder beside the plan; nothing is fetched.

Read are OSV records as JSON or YAML (the PyPA advisory database, OSV's own exports) and what `pip-audit --format json`
wrote.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from checks.pip_facts import normal
from model.errors import BadInput

LARGEST = 64 << 20


@dataclass(frozen=True, slots=True)
class Advisory:
    """One advisory about one distribution.

    Attributes:
        ranges: (introduced, fixed, last affected) as versions; empty text: no such bound.
        versions: affected ones by name.
    """

    id: str
    aliases: tuple[str, ...]
    name: str
    ranges: tuple[tuple[str, str, str], ...]
    versions: frozenset[str]

    @property
    def cves(self) -> tuple[str, ...]:
        """CVE ids among its names."""
        return tuple(sorted({one for one in (self.id, *self.aliases) if one.startswith("CVE-")}))

    def affects(self, version: str) -> bool:
        """Whether a version is affected; one that is no version only by its name."""
        if version in self.versions:
            return True
        try:
            mine = Version(version)
            return any(_within(mine, *bounds) for bounds in self.ranges)
        except InvalidVersion:
            return False

    def fixed(self, version: str) -> str:
        """The first version above it in which it is mended; empty: none is named."""
        try:
            later = [Version(fix) for _, fix, _ in self.ranges if fix and Version(fix) > Version(version)]
        except InvalidVersion:
            return ""
        return str(min(later)) if later else ""


def _within(mine: Version, introduced: str, fixed: str, last: str) -> bool:
    after = introduced in {"", "0"} or mine >= Version(introduced)
    return after and not (fixed and mine >= Version(fixed)) and not (last and mine > Version(last))


def load(place: Path) -> dict[str, list[Advisory]]:
    """All advisories of a file or folder, by normalised name.

    Raises:
        BadInput: it is not there, or a file in it is none of the known forms.
    """
    if not place.exists():
        raise BadInput(
            "there are no advisories.", str(place), "put them there, or take `advisories` out of the plan"
        )
    files = (
        [place]
        if place.is_file()
        else sorted(p for p in place.rglob("*") if p.suffix in {".json", ".yaml", ".yml"})
    )
    found: dict[str, list[Advisory]] = {}
    for path in files:
        for advisory in _read(path):
            found.setdefault(advisory.name, []).append(advisory)
    if not found:
        raise BadInput(
            "no advisory about a Python distribution is there.", str(place), "an empty list proves nothing"
        )
    return found


def _read(path: Path) -> Iterator[Advisory]:
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else YAML(typ="safe", pure=True).load(text)
        if isinstance(data, dict) and "dependencies" in data:
            yield from _pip_audit(data["dependencies"])
        else:
            for record in data if isinstance(data, list) else [data]:
                yield from _osv(record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, YAMLError) as error:
        raise BadInput(
            f"this is no advisory in the OSV form, and no answer of pip-audit: {str(error)[:200]}.", str(path),
            "take the file away, or fetch it again",
        ) from error  # fmt: skip


def _osv(record: dict[str, Any]) -> Iterator[Advisory]:
    if record.get("withdrawn"):
        return
    for affected in record["affected"]:
        package = affected["package"]
        if package["ecosystem"] != "PyPI":
            continue
        ranges = [
            r
            for one in affected.get("ranges", ())
            if one["type"] == "ECOSYSTEM"
            for r in _ranges(one["events"])
        ]
        yield Advisory(
            str(record["id"]), tuple(map(str, record.get("aliases", ()))), normal(package["name"]), tuple(ranges),
            frozenset(map(str, affected.get("versions", ()))),
        )  # fmt: skip


def _ranges(events: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    introduced: str | None = None
    for event in events:
        if "introduced" in event:
            introduced = str(event["introduced"])
        elif introduced is not None:
            yield introduced, str(event.get("fixed", "")), str(event.get("last_affected", ""))
            introduced = None
    if introduced is not None:
        yield introduced, "", ""


def _pip_audit(dependencies: Iterable[dict[str, Any]]) -> Iterator[Advisory]:
    for one in dependencies:
        for vulnerability in one.get("vulns", ()):
            fixes = [("", str(fix), "") for fix in vulnerability.get("fix_versions", ())]
            yield Advisory(
                str(vulnerability["id"]), tuple(map(str, vulnerability.get("aliases", ()))), normal(one["name"]),
                tuple(fixes), frozenset({str(one["version"])}),
            )  # fmt: skip
