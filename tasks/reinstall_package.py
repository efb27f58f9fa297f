"""Installing the same version of a Debian package again, from the exact file that was signed for.

dpkg does it, not apt: apt may be what is damaged, and it would choose versions of its own. Before dpkg runs, the file's
hash, name, version and architecture are those of the proposal; missing configuration files come back, edited ones stay.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from blocks.hosts.base import Connection
from blocks.packages import PackageStore
from blocks.packages.debfile import control_fields, control_of_tar
from model.assets import DpkgAsset
from model.errors import BadInput, Damaged, PreconditionFailed, ReinstateError, Unsupported
from model.proposal import ReinstallPackage
from tasks import dpkg_helpers
from tasks.fetch_package import fetch
from tasks.performed import Performed
from tasks.run_dpkg import run_dpkg, words_of
from tasks.staging import Progress, ask, staging

_FORCE = ("--force-confold", "--force-confmiss")
_UNFINISHED = re.compile(r"not yet configured|half configured|half installed|triggers|reinstalled")
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~%_:-]*\.deb\Z")
_INSTALLED = re.compile(r"[ih]i *\Z")


def perform(
    connection: Connection,
    asset: DpkgAsset,
    action: ReinstallPackage,
    package_stores: Mapping[str, PackageStore],
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Fetch, verify, install, and see it installed.

    Args:
        connection: the host.
        asset: says the dpkg root and whether dpkg runs without root.
        action: package, version, source and hash, as signed.
        package_stores: package stores of the plan, by name.
        job_prefix: start of every job's name.
        token: our fencing token.
        progress: told bytes.

    Raises:
        Damaged: the file is not the one that was signed for; nothing was changed.
        PreconditionFailed: another version is installed by now, or the file is not there; nothing was changed.
        Transient: another package manager holds the lock, or the connection was lost; calling again goes on.
        ReinstateError: dpkg failed; the message holds its last words.
    """
    if asset.rootless and connection.host.sudo:
        raise Unsupported(
            "a dpkg tree of an ordinary user is not repaired through sudo: its files would become root's.",
            connection.name,
            "let the plan log in as the tree's owner, with `sudo: false`",
        )
    if not _FILENAME.match(action.filename.rpartition("/")[2]) or ".." in action.filename.split("/"):
        raise BadInput(f"{action.filename!r} is no name of a .deb.", connection.name, "propose again")
    _same_version(connection, asset, action)
    with staging(connection, job_prefix, token) as stage:
        deb, moved = fetch(stage, asset, action, package_stores, job_prefix, token, progress)
        broken = dpkg_helpers.broken(connection)
        if broken & {"dpkg-deb", "tar"}:
            with tempfile.TemporaryDirectory() as folder:
                local = dpkg_helpers.pull(connection, deb, Path(folder), action.sha256)
                _same_package(control_fields(local), action, connection.name)
        else:
            _same_package(_control(connection, deb), action, connection.name)
        scripts = dpkg_helpers.interpreters(connection) if asset.root == "/" else set()
        if broken or scripts:
            moved += dpkg_helpers.bring_back(
                stage, asset, deb, action.sha256, broken, job_prefix, token, also=scripts
            )
        if _unfinished(connection, asset):
            # Whether it works is seen below: what is unfinished may be the very package that comes back now.
            run_dpkg(connection, asset, ("--configure", "-a"), f"{job_prefix}-configure", token)
        result = run_dpkg(
            connection, asset, (*_FORCE, "--install", "--", deb), f"{job_prefix}-install", token
        )
        if not result.ok:
            raise ReinstateError(
                f"dpkg could not install {action.package} {action.version} (status {result.status}): {result.tail(8)}.",
                connection.name,
                "roll back, or cure what the message names and recover again",
            )
        if action.held:  # dpkg takes `--install` for the wish to have no hold any more
            words = ("--set-selections",)
            selection = f"{action.package} hold\n".encode()
            run_dpkg(connection, asset, words, f"{job_prefix}-hold", token, stdin=selection)
    state, version = _state(connection, asset, action)
    if not _INSTALLED.match(state) or version != action.version:
        raise ReinstateError(
            f"{action.package} is {state.strip() or 'unknown'} {version} after its installation, not installed "
            f"{action.version}.",
            connection.name,
            "run `dpkg --audit` on the host",
        )
    progress(1, 1)
    said = f"instead of {action.instead_of}" if action.instead_of else "again"
    return Performed(
        f"{action.package} {action.version} ({action.architecture}) was installed {said}.", moved
    )


def _control(connection: Connection, deb: str) -> dict[str, str]:
    result = ask(connection, "dpkg-deb", "--ctrl-tarfile", deb)
    if not result.ok:
        raise Damaged(
            f"dpkg-deb cannot read the package: {result.tail(2)}.",
            connection.name,
            "look at dpkg-deb on the host",
        )
    return control_of_tar(result.stdout, connection.name)


def _same_package(fields: Mapping[str, str], action: ReinstallPackage, where: str) -> None:
    signed = (action.package.partition(":")[0], action.version, action.architecture)
    says = tuple(fields.get(name, "") for name in ("Package", "Version", "Architecture"))
    if says != signed:
        raise Damaged(
            f"the package says it is {' '.join(says)!r}, signed was {' '.join(signed)!r}.",
            where,
            "nothing was touched; find out who made this file, then propose again",
        )


def _same_version(connection: Connection, asset: DpkgAsset, action: ReinstallPackage) -> None:
    state, version = _state(connection, asset, action)
    if (
        version
        and version not in {action.version, action.instead_of}
        and not state.startswith(("rc", "pc", "un", "pn"))
    ):
        raise PreconditionFailed(
            f"{action.package} is at {version} by now, the proposal is for {action.instead_of or action.version}.",
            connection.name,
            "someone changed it since; propose again",
        )


def _state(connection: Connection, asset: DpkgAsset, action: ReinstallPackage) -> tuple[str, str]:
    """State letters and version of the installed package; empty when dpkg does not know it."""
    result = ask(
        connection, "dpkg-query", f"--admindir={asset.root.rstrip('/')}/var/lib/dpkg",
        "--showformat=${db:Status-Abbrev}\\t${Version}\\t${Architecture}\\n", "--show", "--",
        action.package.partition(":")[0],
    )  # fmt: skip
    for line in result.text.splitlines():
        state, _, rest = line.partition("\t")
        version, _, architecture = rest.partition("\t")
        if architecture == action.architecture:
            return state, version
    return "", ""


def _unfinished(connection: Connection, asset: DpkgAsset) -> bool:
    return bool(_UNFINISHED.search(ask(connection, *words_of(asset), "--audit").text))
