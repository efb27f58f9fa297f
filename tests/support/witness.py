"""Witnesses of what a recovery did to a host: they look from outside and know nothing of the code under test."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.base import LabError
from tests.lab.facts import FileFacts
from tests.lab.host import LabHost

TREES = ("/etc", "/usr", "/srv", "/opt", "/home", "/root", "/var/lib/dpkg", "/var/cache/apt", "/var/backups")
"""Everything on the host that a recovery could change and the host itself does not."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One path as the kernel of this machine sees it, times included."""

    facts: FileFacts
    mtime_ns: int


def look(host: LabHost, trees: Iterable[str] = TREES) -> dict[str, Seen]:
    """Everything below the trees: type, mode, owner, content or link target, time of change; by path on the host."""
    seen: dict[str, Seen] = {}
    for tree in trees:
        top = host.inside(tree)
        for path in _walk(top):
            status = path.lstat()
            if stat.S_ISSOCK(status.st_mode):
                continue
            name = f"{tree}/{path.relative_to(top)}" if path != top else tree
            seen[name] = Seen(FileFacts.of(path), status.st_mtime_ns)
    return seen


def look_at(host: LabHost, paths: Iterable[str]) -> dict[str, Seen | None]:
    """The paths themselves, links not followed; None where there is nothing."""
    found: dict[str, Seen | None] = {}
    for path in paths:
        place = host.inside(path, follow=False)
        found[path] = Seen(FileFacts.of(place), place.lstat().st_mtime_ns) if os.path.lexists(place) else None
    return found


def changes(before: dict[str, Seen], after: dict[str, Seen]) -> list[str]:
    """What differs, one line per path, for people."""
    lines = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old != new:
            lines.append(f"{path}: {_said(old)} -> {_said(new)}")
    return lines


def trace(host: LabHost, state_dir: str = "/var/lib/reinstate") -> list[str]:
    """Names of the effects the host itself says were started on it, in order."""
    file = host.inside(f"{state_dir}/trace")
    return [line.split(" ", 2)[2] for line in file.read_text().splitlines()] if file.is_file() else []


def dpkg_complains(host: LabHost) -> list[str]:
    """Paths `dpkg --verify` finds different; its exit status says nothing (lab.md)."""
    done = host.shell(["dpkg", "--verify"], seconds=120)
    return sorted(line.split()[-1] for line in done.stdout.splitlines() if line.strip())


def bad_pages(host: LabHost) -> list[str]:
    """Files of the stopped cluster in which PostgreSQL's own tool finds a page with a wrong checksum."""
    (cluster,) = host.inside("/etc/postgresql").glob("*/main")
    version = cluster.parent.name
    unit, data = f"postgresql@{version}-main.service", f"/var/lib/postgresql/{version}/main"
    checker = f"/usr/lib/postgresql/{version}/bin/pg_checksums"
    host.must(["systemctl", "stop", unit])  # not the group, whose stop does not wait for the cluster
    done = host.shell(["runuser", "-u", "postgres", "--", checker, "--check", "-D", data])
    host.must(["systemctl", "start", unit])
    if "Files scanned" not in done.stdout:
        raise LabError(f"pg_checksums did not run: {done.stdout}{done.stderr}")
    return sorted(set(re.findall(r'failed in file "([^"]+)"', done.stderr)))


def _walk(top: Path) -> Iterator[Path]:
    if not os.path.lexists(top):
        return
    yield top
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            yield Path(folder, name)


def _said(seen: Seen | None) -> str:
    if seen is None:
        return "nothing"
    facts = seen.facts
    return f"{facts.kind} {facts.mode:o} {facts.uid}:{facts.gid} {facts.content[:12]} at {seen.mtime_ns}"
