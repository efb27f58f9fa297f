"""Programs dpkg itself needs: it refuses to repair the package of a missing `tar`, so that one file comes first."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from blocks.hosts.base import Connection
from blocks.packages.debfile import programs
from model.assets import DpkgAsset
from model.errors import PreconditionFailed, Transient
from model.manifest import Entry, FileType
from tasks.placing import flushes, meta, place, put
from tasks.staging import Staging, ask, sha256_of

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""dpkg looks for its helpers here; an ordinary user's PATH leaves the sbin folders out."""

HELPERS = ("tar", "dpkg-deb", "dpkg-split", "rm", "diff", "ldconfig", "start-stop-daemon")
_TRY = r"""
PATH=${REINSTATE_TOOLS:+$REINSTATE_TOOLS/bin:}$1; export PATH; shift
for p; do "$p" --version </dev/null >/dev/null 2>&1 || echo "$p"; done
"""

INTERPRETERS = {"dash": "/bin/sh", "bash": "/bin/bash", "perl": "/usr/bin/perl"}
"""Programs that run the scripts of packages, by their file; the kernel finds them by path, so none can be lent."""

_RUN = """
"$1" -c : </dev/null >/dev/null 2>&1 || echo dash
[ ! -e "$2" ] || "$2" -c : </dev/null >/dev/null 2>&1 || echo bash
[ ! -e "$3" ] || "$3" -e 1 </dev/null >/dev/null 2>&1 || echo perl
"""


def interpreters(connection: Connection) -> set[str]:
    """Interpreters of maintainer scripts that do not run."""
    words = ("sh", "-c", _RUN, "reinstate-interpreters", *INTERPRETERS.values())
    return set(ask(connection, *words).text.split())


def broken(connection: Connection) -> set[str]:
    """Helpers of dpkg that are missing or do not start."""
    return set(ask(connection, "sh", "-c", _TRY, "reinstate-helpers", PATH, *HELPERS).text.split())


def pull(connection: Connection, deb: str, folder: Path, sha256: str) -> Path:
    """A copy of a staged .deb here.

    Raises:
        Transient: it did not arrive whole.
    """
    path = folder / "package.deb"
    with path.open("wb") as file:

        def write(chunk: bytes) -> None:
            file.write(chunk)

        ask(connection, "cat", "--", deb, timeout=1800.0, on_stdout=write)
    if sha256_of(path) != sha256:
        raise Transient("the package did not arrive whole.", connection.name, "run it again")
    return path


def bring_back(
    stage: Staging,
    asset: DpkgAsset,
    deb: str,
    sha256: str,
    missing: set[str],
    job_prefix: str,
    token: int,
    also: Iterable[str] = (),
) -> int:
    """Put the missing programs that this very package holds into place; dpkg does the rest.

    Args:
        stage: the staging folder.
        asset: the packages.
        deb: the staged package.
        sha256: its hash.
        missing: programs dpkg cannot do without.
        job_prefix: start of the job's name.
        token: our fencing token.
        also: programs that are put into place where this package has them.

    Returns:
        Bytes moved to the host.

    Raises:
        PreconditionFailed: a missing program belongs to another package, which must come first.
    """
    connection = stage.connection
    with tempfile.TemporaryDirectory() as folder:
        found = programs(pull(connection, deb, Path(folder), sha256), {*missing, *also})
        vital = sorted(missing - set(found))
        if not missing and not found:
            return 0
        if vital or asset.root != "/":
            raise PreconditionFailed(
                f"dpkg needs {', '.join(vital or sorted(missing))}, which does not work on this host.",
                connection.name,
                "repair the package that holds it first",
            )
        steps, paths, moved = [], [], 0
        for name, (info, data) in found.items():
            local = Path(folder) / name
            local.write_bytes(data)
            staged = stage.push(local, f"helper-{name}", sha256_of(local), lambda _done, _total: None)
            entry = Entry(
                path=staged, type=FileType.FILE, mode=info.mode & 0o7777, uid=info.uid, gid=info.gid,
                mtime_ns=int(info.mtime) * 1_000_000_000,
            )  # fmt: skip
            path = "/" + info.name.removeprefix("./").lstrip("/")
            steps += [meta(entry), put(path, staged)]
            paths.append(path)
            moved += len(data)
        aside = f"{connection.host.state_dir.rstrip('/')}/set-aside/{job_prefix}"
        place(connection, f"{job_prefix}-helpers", [*steps, *flushes(paths)], token, aside=aside)
    still = broken(connection) & missing
    if still:
        raise PreconditionFailed(
            f"{', '.join(sorted(still))} still does not work.",
            connection.name,
            "look at its shared libraries",
        )
    return moved
