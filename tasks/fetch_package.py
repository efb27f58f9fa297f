"""Bringing the .deb that was signed for to the host's staging: from its cache, the plan's store, or its own mirrors."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

from blocks.packages import PackageStore
from checks.package_sources import CACHE
from checks.stat import collect
from model.assets import DpkgAsset
from model.command import Command
from model.errors import PreconditionFailed, Unsupported
from model.proposal import ReinstallPackage
from tasks import dpkg_helpers
from tasks.pieces import Piece
from tasks.pull import joined, pull
from tasks.staging import PLAIN, Progress, Staging, ask

INSTALL_SECONDS = 1800.0
ENVIRONMENT = PLAIN | {"DEBIAN_FRONTEND": "noninteractive", "PATH": dpkg_helpers.PATH}
URL_SECONDS = 3600
SLOWEST = 1 << 16
"""Bytes per second below which a download by the host is given up."""

_LOG = logging.getLogger("reinstate.packages")
DOWNLOAD = 'cd -- "$1" && shift && exec apt-get "$@"'
"""Arguments: folder, and apt-get's own; it puts what it downloads into the working directory."""

_COPY = 'umask 077; cp -- "$1" "$2"'


def fetch(
    stage: Staging,
    asset: DpkgAsset,
    action: ReinstallPackage,
    package_stores: Mapping[str, PackageStore],
    job_prefix: str,
    token: int,
    progress: Progress,
) -> tuple[str, int]:
    """The .deb in staging, with the signed hash, and how many bytes were moved to the host.

    Raises:
        Damaged: it is not the file that was signed for; nothing was changed.
        PreconditionFailed: it is not there, or does not fit; nothing was changed.
    """
    connection, name = stage.connection, action.filename.rpartition("/")[2]
    match action.source.partition(":"):
        case ("store", ":", store):
            if store not in package_stores:
                raise PreconditionFailed(
                    f"the plan has no package store {store}.", connection.name, "propose again"
                )
            return from_store(
                stage, package_stores[store], action.filename, action.sha256, action.bytes, progress
            )
        case ("host-cache", "", ""):
            path = f"{stage.path}/{name}"
            cached = f"{asset.root.rstrip('/')}{CACHE}/{name}"
            copied = ask(connection, "sh", "-c", _COPY, "reinstate-copy", cached, path)
            if not copied.ok:
                raise PreconditionFailed(
                    f"{cached} is gone or cannot be copied: {copied.tail(1)}.",
                    connection.name,
                    f"propose again: another source may do; or free space in {connection.host.state_dir}",
                )
            stage.verify(path, action.sha256)
            return path, 0
        case ("mirror", "", ""):
            return _download(stage, action, job_prefix, token)
        case _:
            raise Unsupported(
                f"{action.source!r} is no source of packages.", connection.name, "propose again"
            )


def from_store(
    stage: Staging, store: PackageStore, filename: str, sha256: str, count: int, progress: Progress
) -> tuple[str, int]:
    """A file of a store in staging: pulled by the host where the store gives URLs, else through us.

    Raises:
        Damaged: it is not the file that was signed for. PreconditionFailed: the host cannot write it.
    """
    name = filename.rpartition("/")[2]
    path = f"{stage.path}/{name}"
    url = store.presign(filename, URL_SECONDS) if count else None
    if url is not None:
        plain = Piece("package", filename, 0, count, sha256)  # curl's configuration takes no odd names
        pull(stage, url, count, [plain], {} if stage.fresh else joined(stage), progress, SLOWEST)
        if collect(stage.connection, [f"{stage.path}/package"])[f"{stage.path}/package"].sha256 == sha256:
            ask(stage.connection, "mv", "--", f"{stage.path}/package", path)
            return path, count
        _LOG.info("%s goes through the orchestrator: %s did not get it.", filename, stage.connection.name)
    with tempfile.TemporaryDirectory() as folder:
        local = store.fetch(filename, sha256, Path(folder))
        return stage.push(local, name, sha256, progress), local.stat().st_size


def _download(stage: Staging, action: ReinstallPackage, job_prefix: str, token: int) -> tuple[str, int]:
    connection, folder = stage.connection, stage.folder("mirror")
    package = f"{action.package.partition(':')[0]}:{action.architecture}={action.version}"
    if action.architecture == "all":
        package = f"{action.package.partition(':')[0]}={action.version}"
    words = ("-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download", "--", package)
    command = Command(
        ("sh", "-c", DOWNLOAD, "reinstate-download", folder, *words), sudo=True, env=ENVIRONMENT,
        timeout=INSTALL_SECONDS,
    )  # fmt: skip
    # The token is in the name because it is in the folder: a result kept for a predecessor's folder is no use to us.
    result = connection.job(f"{job_prefix}-download-{token}", command, token)
    found = ask(connection, "find", folder, "-maxdepth", "1", "-type", "f", "-name", "*.deb").text.split("\n")
    files = [path for path in found if path]
    if not result.ok or len(files) != 1:
        raise PreconditionFailed(
            f"the host's package mirror did not give {package}: {result.tail(3)}.",
            connection.name,
            "put the .deb into a package store of the plan, then propose again",
        )
    size = collect(connection, files, "none")[files[0]].size
    if size < action.bytes:  # apt-get ends with 0 also where its copy of a mirror on the host did not fit
        raise PreconditionFailed(
            f"{action.filename} arrived with {size} of {action.bytes} bytes: no space left, or the mirror's own file "
            f"is cut ({ask(connection, 'df', '-Pk', '--', folder).tail(1)}).",
            connection.name,
            f"free space in {connection.host.state_dir} (df says KiB: size, used, free); nothing live was touched",
        )
    stage.verify(files[0], action.sha256)
    return files[0], size
