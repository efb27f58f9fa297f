"""Installing the same version of an RPM package again, from the exact file that was signed for.

rpm does it, not dnf: dnf would choose versions of its own. rpm installs unsigned packages and those of unknown keys
without a word, so that is decided before it runs. Missing configuration files come back, edited ones stay.
"""

from __future__ import annotations

from collections.abc import Mapping

from blocks.hosts.base import Connection
from blocks.packages import PackageStore
from checks import rpm_database
from checks.stat import collect
from model.assets import RpmAsset
from model.command import Command
from model.errors import PreconditionFailed, ReinstateError
from model.manifest import FileType
from model.proposal import ReinstallRpm
from tasks.fetch_package import INSTALL_SECONDS
from tasks.fetch_rpm import ENVIRONMENT, Supplier
from tasks.performed import Performed
from tasks.placing import Step, flushes, place, put
from tasks.staging import Progress, Staging, ask, staging

_KEEP = r"""
[ -f "$1" ] && [ ! -L "$1" ] || exit 4
[ -e "$2" ] || { cp --preserve=all -- "$1" "$2.part" && mv -- "$2.part" "$2"; }
"""
_QUERY = "%{EPOCHNUM}\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}\\n"


def perform(
    connection: Connection,
    asset: RpmAsset,
    action: ReinstallRpm,
    package_stores: Mapping[str, PackageStore],
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Fetch, prove, install, and see it installed.

    Args:
        connection: the host.
        asset: says which keys count.
        action: package, version, source and hash, as signed.
        package_stores: package stores of the plan, by name.
        job_prefix: start of every job's name.
        token: our fencing token.
        progress: told bytes.

    Raises:
        Damaged: the file is not the one that was signed for, or no key that counts signed it; nothing was changed.
        PreconditionFailed: another version is installed by now, or the file is not there; nothing was changed.
        Transient: the connection was lost, or another rpm holds the lock for long; calling again goes on.
        ReinstateError: rpm or a script of the package failed; the message holds its last words.
    """
    there = set(_installed(connection, action))
    if there - {action.version, *action.replaces}:
        raise PreconditionFailed(
            f"{action.package} is at {', '.join(sorted(there))} by now, the proposal is for {action.version}.",
            connection.name,
            "someone changed it since; propose again",
        )
    aside = f"{connection.host.state_dir.rstrip('/')}/set-aside/{job_prefix}"
    with staging(connection, job_prefix, token) as stage:
        supplier = Supplier(stage, asset, package_stores, job_prefix, token)
        path, moved = supplier.fetch(action, progress)
        facts = collect(connection, action.aside, "none")
        folders = [p for p in action.aside if facts[p].type is FileType.DIRECTORY]
        if folders:  # rpm puts a file or a link over anything but a folder
            steps = [Step("gone", folder) for folder in folders]
            place(connection, f"{job_prefix}-aside", [*steps, *flushes(folders)], token, aside=aside)
        kept = _keep(stage, action)
        options = ("--upgrade", "--replacepkgs", "--nodeps", *(("--oldpackage",) if action.replaces else ()))
        command = Command(("rpm", *options, "--", path), sudo=True, env=ENVIRONMENT, timeout=INSTALL_SECONDS)
        result = connection.job(f"{job_prefix}-install", command, token)
        if not result.ok or b"scriptlet failed" in result.stderr:
            raise ReinstateError(
                f"rpm could not install {action.package} {action.version} (status {result.status}): {result.tail(8)}.",
                connection.name,
                "roll back, or cure what the message names and recover again",
            )
        if kept:
            steps = [put(path, held) for path, held in kept.items()]
            place(connection, f"{job_prefix}-keep", [*steps, *flushes(kept)], token, aside=aside)
    there = set(_installed(connection, action))
    if there != {action.version}:
        raise ReinstateError(
            f"{action.package} is {', '.join(sorted(there)) or 'unknown to rpm'} after its installation, not "
            f"{action.version} alone.",
            connection.name,
            "run `dnf check` on the host",
        )
    progress(1, 1)
    return Performed(f"{action.package} {action.version} ({action.architecture}) was installed again.", moved)


def _keep(stage: Staging, action: ReinstallRpm) -> dict[str, str]:
    """Copies of what the package would overwrite; made once: a second attempt must not copy the delivered file."""
    kept = {}
    for number, path in enumerate(action.keeps):
        held = f"{stage.path}/keep{number}"
        copied = ask(stage.connection, "sh", "-c", _KEEP, "reinstate-keep", path, held)
        if copied.ok:
            kept[path] = held
        elif copied.status != 4:  # 4: it is no file, so the package brings it back
            raise PreconditionFailed(
                f"{path} cannot be kept: {copied.tail(2)}.",
                stage.connection.name,
                "free space in the state directory; nothing live was touched",
            )
    return kept


def _installed(connection: Connection, action: ReinstallRpm) -> list[str]:
    """Versions of the package, of this architecture, that rpm knows."""
    name = f"{action.package}.{action.architecture}"
    result = ask(connection, "rpm", "-q", "--qf", _QUERY, "--", name)
    lines = [line.split("\t") for line in result.text.splitlines()] if result.ok else []
    return [rpm_database.evr(*words[:3]) for words in lines if len(words) == 4]
