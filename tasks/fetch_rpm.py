"""Bringing the .rpm that was signed for to the host's staging, and proving there that it is that package, signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blocks.packages import PackageStore
from checks import rpm_database, rpm_signature, rpm_sources
from checks.stat import collect
from model.assets import RpmAsset
from model.command import Command, printable
from model.errors import BadInput, Damaged, PreconditionFailed, Unsupported
from model.proposal import ReinstallRpm, RpmHeader
from tasks.fetch_package import INSTALL_SECONDS, from_store
from tasks.staging import PLAIN, Progress, Staging, ask

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = PLAIN | {"PATH": PATH}
CACHES = ("/var/cache/dnf/", "/var/cache/libdnf5/", "/var/cache/yum/", "/var/cache/zypp/packages/")
_COPY = 'umask 077; cp -- "$1" "$2"'
_FIELDS = "%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}"


@dataclass(frozen=True)
class Supplier:
    """Where packages of one effect come from.

    Attributes:
        stage: the effect's folder on the host.
        asset: says which keys count.
        stores: package stores of the plan.
        job_prefix: start of every job's name.
        token: our fencing token.
        keyring: folder of the rpm database whose keys count where the plan names none; empty: the host's own.
    """

    stage: Staging
    asset: RpmAsset
    stores: Mapping[str, PackageStore]
    job_prefix: str
    token: int
    keyring: str = ""

    def fetch(self, wanted: ReinstallRpm | RpmHeader, progress: Progress) -> tuple[str, int]:
        """The proven .rpm in staging, and how many bytes were moved to the host.

        Raises:
            Damaged: it is not the file that was signed for, no package of that name and version, or no key that
                counts signed it. PreconditionFailed: it is not there, or does not fit. Nothing live was changed.
        """
        path, moved = self._bring(wanted, progress)
        self._require_same(path, wanted)
        why = rpm_signature.problem(self.stage.connection, path, self.asset.keys, self.keyring)
        if why:
            raise Damaged(
                f"{printable(wanted.filename)} is refused: {why}.",
                self.stage.connection.name,
                "nothing was installed; take the package from its vendor, or name the vendor's key under `keys`",
            )
        return path, moved

    def _bring(self, wanted: ReinstallRpm | RpmHeader, progress: Progress) -> tuple[str, int]:
        connection, name = self.stage.connection, wanted.filename.rpartition("/")[2]
        if not name.endswith(".rpm") or "\n" in wanted.filename or name.startswith((".", "-")):
            raise BadInput(f"{wanted.filename!r} is no name of an .rpm.", connection.name, "propose again")
        match wanted.source.partition(":"):
            case ("store", ":", store):
                if store not in self.stores:
                    raise PreconditionFailed(
                        f"the plan has no package store {store}.", connection.name, "propose again"
                    )
                return from_store(
                    self.stage, self.stores[store], wanted.filename, wanted.sha256, wanted.bytes, progress
                )
            case ("host-cache", "", ""):
                if not wanted.filename.startswith(CACHES) or "/../" in wanted.filename:
                    raise BadInput(
                        f"{wanted.filename!r} is in no cache of packages.", connection.name, "propose again"
                    )
                path = f"{self.stage.path}/{name}"
                copied = ask(connection, "sh", "-c", _COPY, "reinstate-copy", wanted.filename, path)
                if not copied.ok:
                    raise PreconditionFailed(
                        f"{printable(wanted.filename)} is gone or cannot be copied: {copied.tail(1)}.",
                        connection.name,
                        f"propose again: another source may do; or free space in {connection.host.state_dir}",
                    )
                self.stage.verify(path, wanted.sha256)
                return path, 0
            case ("mirror", "", ""):
                return self._download(wanted)
            case _:
                raise Unsupported(
                    f"{wanted.source!r} is no source of packages.", connection.name, "propose again"
                )

    def _download(self, wanted: ReinstallRpm | RpmHeader) -> tuple[str, int]:
        connection = self.stage.connection
        full = rpm_database.nevra(wanted.package, wanted.version, wanted.architecture)
        folder = self.stage.folder(f"mirror-{wanted.sha256[:16]}")
        probe = rpm_sources.PROBE.read_text(encoding="utf-8")
        words = rpm_sources.words((wanted.package, wanted.version, wanted.architecture))
        command = Command(
            ("sh", "-c", rpm_sources.RUN_PROBE, "reinstate-dnf", probe, "fetch", folder, *words), sudo=True,
            env=ENVIRONMENT, timeout=INSTALL_SECONDS,
        )  # fmt: skip
        # The token is in the name because it is in the folder: a result kept for a predecessor's folder is no use.
        job = f"{self.job_prefix}-download-{wanted.sha256[:8]}-{self.token}"
        result = connection.job(job, command, self.token)
        listed = ask(connection, "find", folder, "-maxdepth", "1", "-type", "f", "-name", "*.rpm").text
        files = [path for path in listed.split("\n") if path]
        if not result.ok or len(files) != 1:
            raise PreconditionFailed(
                f"the host's repositories did not give {full}: {result.tail(3)}.",
                connection.name,
                "put the .rpm into a package store of the plan, then propose again",
            )
        self.stage.verify(files[0], wanted.sha256)
        return files[0], collect(connection, files, "none")[files[0]].size

    def _require_same(self, path: str, wanted: ReinstallRpm | RpmHeader) -> None:
        connection = self.stage.connection
        result = ask(connection, "rpm", "-qp", "--nosignature", "--qf", _FIELDS, "--", path)
        fields = result.text.split("\t")
        if not result.ok or len(fields) != 5:
            raise Damaged(
                f"rpm cannot read the package: {result.tail(2)}.", connection.name, "look at rpm on the host"
            )
        name, epoch, version, release, architecture = fields
        says = (name, rpm_database.evr(epoch, version, release), architecture)
        signed = (wanted.package, wanted.version, wanted.architecture)
        if says != signed:
            raise Damaged(
                f"the package says it is {' '.join(says)!r}, signed was {' '.join(signed)!r}.",
                connection.name,
                "nothing was touched; find out who made this file, then propose again",
            )
