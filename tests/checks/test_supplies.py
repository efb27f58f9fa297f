"""What a repair can be made from: only exactly what was installed, with the hash of the source's index."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from blocks.backups.base import BackupStore
from blocks.packages import PackageStore
from checks.supplies import gather
from model.errors import Damaged
from model.finding import Code, Finding
from model.manifest import Manifest, RecoveryPoint
from model.plan import Plan
from model.planfile import read_plan
from model.shelf import PackageFile
from model.supplies import Supplies
from tests.checks.local import LocalConnection
from tests.model.builders import PLAN_TEXT
from tests.support.packages import shelf
from tests.support.pythonworld import make_wheel

HASH = "a" * 64


def plan(assets: str) -> Plan:
    head, rest = PLAN_TEXT.split("assets:\n")
    return read_plan(
        head.replace("package_stores:", "package_stores:\n  debs: {kind: directory, path: debs}")
        + f"assets:\n  it: {assets}\n" + rest[rest.index("signoff:") :]
    )  # fmt: skip


def look(
    here: LocalConnection, assets: str, finding: Finding, stores: Mapping[str, BackupStore] | None = None,
    **shelves: PackageStore,
) -> Supplies:  # fmt: skip
    return gather(plan(assets), {"web-1": here}, [finding], stores or {}, shelves)


def wrong(package: str = "", version: str = "") -> Finding:
    return Finding(
        code=Code.FILE_MISSING, host="web-1", asset="it", subject="/x", package=package, version=version
    )


VERSIONS = ("1:1.0-1", "1:1.1-1")


def listed(store: Path, versions: tuple[str, ...]) -> list[PackageFile]:
    """Files of `hello` as an index names them; their content is the version."""
    return [
        PackageFile(
            family="deb", name="hello", version=version, architecture="all",
            filename=f"hello_{version.replace(':', '%3a')}_all.deb", bytes=len(version),
            sha256=hashlib.sha256(version.encode()).hexdigest(),
        )
        for version in versions
    ]  # fmt: skip


@pytest.fixture
def debs(tmp_path: Path) -> Path:
    """A store with the damaged version and a newer one."""
    store = tmp_path / "debs"
    store.mkdir()
    for file, version in zip(listed(store, VERSIONS), VERSIONS, strict=True):
        (store / file.filename).write_bytes(version.encode())
    return store


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg")
def test_package_of_the_same_version_is_found_in_the_store_with_all_it_touches(
    here: LocalConnection, root: Path, debs: Path
) -> None:
    asset = f"{{kind: dpkg, host: web-1, root: {root}, rootless: true, store: debs}}"
    (supply,) = look(
        here, asset, wrong("hello", "1:1.0-1"), debs=shelf(debs, "debs", packages=listed(debs, VERSIONS))
    ).packages
    assert ("1:1.0-1", "store:debs", "hello_1%3a1.0-1_all.deb") == (
        supply.version,
        supply.source,
        supply.filename,
    )
    assert hashlib.sha256(b"1:1.0-1").hexdigest() == supply.sha256
    touched = {path.removeprefix(str(root)) for path in supply.touches}
    assert {
        "/usr/bin/hello", "/etc/hello.conf", "/usr/share/hello/link", "/var/lib/dpkg/status",
        "/var/lib/dpkg/info/hello.list", "/var/lib/dpkg/info/hello.md5sums", "/var/lib/dpkg/info/hello.conffiles",
    } <= touched  # fmt: skip
    assert not any("other" in path for path in touched)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg")
def test_package_of_another_version_is_not_offered(here: LocalConnection, root: Path, debs: Path) -> None:
    asset = f"{{kind: dpkg, host: web-1, root: {root}, rootless: true, store: debs}}"
    store = shelf(debs, "debs", packages=listed(debs, VERSIONS[1:]))
    assert () == look(here, asset, wrong("hello", "1:1.0-1"), debs=store).packages


def test_package_is_found_in_the_hosts_own_sources(here: LocalConnection) -> None:
    """The index gives the hash; nothing is downloaded."""
    if shutil.which("apt-get") is None:
        pytest.skip("this machine has no apt")
    shown = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", "hostname"], capture_output=True, check=False, text=True
    )
    known = subprocess.run(
        ["apt-get", "download", "--print-uris", "-qq", f"hostname={shown.stdout}"],
        capture_output=True,
        check=False,
    )
    if shown.returncode or known.returncode or b"SHA256:" not in known.stdout:
        pytest.skip("this machine's package lists do not hold the installed version")
    supplies = look(here, "{kind: dpkg, host: web-1}", wrong("hostname", shown.stdout))
    (supply,) = supplies.packages
    assert supply.source in {"mirror", "host-cache"}
    assert "/var/lib/dpkg/info/hostname.list" in supply.touches


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    env = tmp_path / "env"
    site = env / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    (site / "front").mkdir(parents=True)
    (env / "bin").mkdir()
    (env / "bin/python").symlink_to(Path(sys.executable).resolve())
    (env / "bin/python3").symlink_to("python")
    (env / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).parent}\n")
    (site / "front-1.0.dist-info").mkdir()
    (site / "front-1.0.dist-info/RECORD").write_text("front/__init__.py,,\n../../../bin/front,,\n")
    (tmp_path / "wheels").mkdir()
    for version in ("1.0", "1.1"):
        make_wheel(tmp_path / "wheels", "front", version, {"front/__init__.py": ""})
    return env


def test_wheel_of_the_same_version_is_found_with_all_it_touches(
    here: LocalConnection, environment: Path, tmp_path: Path
) -> None:
    asset = f"{{kind: pip, host: web-1, python: {environment}/bin/python, store: wheels}}"
    (supply,) = look(here, asset, wrong("front", "1.0"), wheels=shelf(tmp_path / "wheels", "wheels")).wheels
    assert ("1.0", "front-1.0-py3-none-any.whl") == (supply.version, supply.filename)
    touched = {path.removeprefix(str(environment)) for path in supply.touches}
    site = f"/lib/python3.{sys.version_info.minor}/site-packages"
    assert {f"{site}/front/__init__.py", f"{site}/front-1.0.dist-info/RECORD", "/bin/front"} <= touched


def test_interpreter_that_is_gone_is_made_anew_and_the_wheel_is_found_all_the_same(
    here: LocalConnection, environment: Path, tmp_path: Path
) -> None:
    (environment / "bin/python").unlink()
    asset = f"{{kind: pip, host: web-1, python: {environment}/bin/python, store: wheels}}"
    gone = wrong().model_copy(update={"subject": f"{environment}/bin/python"})
    findings = [wrong("front", "1.0"), gone]
    store = shelf(tmp_path / "wheels", "wheels")
    supplies = gather(plan(asset), {"web-1": here}, findings, {}, {"wheels": store})
    assert ["1.0"] == [wheel.version for wheel in supplies.wheels]
    (interpreter,) = supplies.interpreters
    assert [f"{environment}/bin/python"] == [link.path for link in interpreter.links]


class Points:
    """A backup store with six points, of which the newest is damaged; the rest of a store is not asked for."""

    name = "tree"

    def points(self, asset: str) -> list[RecoveryPoint]:
        return [
            RecoveryPoint(
                id=f"2025010{day}T000000Z", asset=asset, source="tree", taken_at=datetime(2025, 1, day, tzinfo=UTC),
                key="k", sha256=HASH, bytes=1, manifest_sha256=HASH,
            )
            for day in range(6, 0, -1)
        ]  # fmt: skip

    def manifest(self, point: RecoveryPoint) -> Manifest:
        if point.id.startswith("20250106"):
            raise Damaged("the signature is wrong.", point.id)
        return Manifest(
            asset=point.asset, point=point.id, format="tar", host="web-1", machine_id="0" * 32,
            taken_at=point.taken_at, object_key="k", object_sha256=HASH, object_bytes=1,
        )  # fmt: skip

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        yield b"x"


def test_newest_points_that_verify_are_offered_and_damaged_ones_remarked(here: LocalConnection) -> None:
    asset = "{kind: files, host: web-1, path: /srv, backup: tree}"
    stores: Mapping[str, BackupStore] = {"tree": Points()}  # type: ignore[dict-item]  # half a store
    supplies = look(here, asset, wrong(), stores)
    assert ["20250105", "20250104", "20250103"] == [supply.point.id[:8] for supply in supplies.points]
    assert "the signature is wrong" in supplies.remarks[0]


def test_nothing_is_looked_for_that_nobody_needs(here: LocalConnection) -> None:
    other = Finding(code=Code.PROBE_FAILED, host="web-1", asset="home", subject="http://x/")
    asset = "{kind: dpkg, host: web-1}"
    assert Supplies() == look(here, asset, other)
    assert [] == here.ran
