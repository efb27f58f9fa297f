"""Distributions installed again from the signed wheel, in a real environment with wheels made here."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from model.assets import PipAsset
from model.errors import BadInput, Damaged, PreconditionFailed, ReinstateError
from model.outcome import Stage
from model.proposal import ReinstallDistribution, Rung
from tasks import reinstall_distribution
from tests.support.packages import unindexed
from tests.tasks.localhost import JobHost, fingerprint, quiet


def make_wheel(folder: Path, version: str = "1.0", name: str = "demo_lib") -> Path:
    """A pure wheel with one package of two modules."""
    files = {
        f"{name}/__init__.py": f"VERSION = '{version}'\n",
        f"{name}/part.py": "VALUE = 42\n",
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: Demo.Lib\nVersion: {version}\n",
        f"{name}-{version}.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = ""
    for path, text in files.items():
        sha = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={sha},{len(text)}\n"
    files[f"{name}-{version}.dist-info/RECORD"] = record + f"{name}-{version}.dist-info/RECORD,,\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the distribution; copied for nothing: every test repairs what it damages."""
    base = tmp_path_factory.mktemp("pip")
    (base / "pool").mkdir()
    make_wheel(base / "pool")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", base / "venv"], check=True)
    subprocess.run(
        [
            sys.executable, "-m", "pip", "--python", base / "venv/bin/python", "install", "-q", "--no-index",
            "--find-links", base / "pool", "demo-lib",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return base


@pytest.fixture
def site(made: Path) -> Path:
    return next((made / "venv/lib").glob("python*")) / "site-packages"


@pytest.fixture
def host(tmp_path: Path) -> JobHost:
    return JobHost(tmp_path / "state")


def asset_of(made: Path) -> PipAsset:
    return PipAsset(
        kind="pip", host="web-1", python=str(made / "venv/bin/python"), store="pool",
        pip=(sys.executable, "-m", "pip", "--python", "{python}"),
    )  # fmt: skip


def action_for(wheel: Path, **changes: str) -> ReinstallDistribution:
    action = ReinstallDistribution(
        id="a02", host="web-1", asset="app", stage=Stage.REPAIR, rung=Rung.PACKAGE, reason="r", undo="u",
        distribution="demo-lib", version="1.0", filename=wheel.name,
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
    )  # fmt: skip
    return action.model_copy(update=changes)


def reinstall(host: JobHost, made: Path, action: ReinstallDistribution, pool: Path | None = None) -> str:
    return reinstall_distribution.perform(
        host, asset_of(made), action, {"pool": unindexed(pool or made / "pool")}, job_prefix="inc-a02-1", token=4,
        progress=quiet,
    ).sentence  # fmt: skip


def wheel_of(made: Path) -> Path:
    return made / "pool/demo_lib-1.0-py3-none-any.whl"


def test_reinstall_brings_back_changed_and_missing_modules(host: JobHost, made: Path, site: Path) -> None:
    """R-RESP-5, offline."""
    (site / "demo_lib/__init__.py").write_text("raise SystemExit\n")
    (site / "demo_lib/part.py").unlink()
    assert "demo-lib 1.0 was installed again." == reinstall(host, made, action_for(wheel_of(made)))
    assert "VERSION = '1.0'\n" == (site / "demo_lib/__init__.py").read_text()
    assert "VALUE = 42\n" == (site / "demo_lib/part.py").read_text()
    assert ["inc-a02-1-install"] == list(host.jobs)


def test_reinstall_without_record_installs_over_it_and_names_foreign_files(
    host: JobHost, made: Path, site: Path
) -> None:
    """lab.md: without RECORD pip refuses; foreign files survive and must be said."""
    (site / "demo_lib-1.0.dist-info/RECORD").unlink()
    (site / "demo_lib/part.py").write_text("broken(")
    (site / "demo_lib/evil.py").write_text("import os\n")
    sentence = reinstall(host, made, action_for(wheel_of(made)))
    assert "1 files there belong to no distribution and were left" in sentence
    assert "evil.py" in sentence
    assert "VALUE = 42\n" == (site / "demo_lib/part.py").read_text()
    (site / "demo_lib/evil.py").unlink()


def test_reinstall_runs_nothing_of_the_damaged_environment_to_look_at_it(
    host: JobHost, made: Path, site: Path, tmp_path: Path
) -> None:
    """An evil .pth is not run by our own questions; pip runs it once, as any start of that Python does."""
    (site / "evil.pth").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    try:
        reinstall_distribution._Known.look(host, asset_of(made), "demo-lib")
        assert not (tmp_path / "ran").exists()
    finally:
        (site / "evil.pth").unlink()


def test_reinstall_of_a_tampered_wheel_is_refused_before_anything_changes(
    host: JobHost, made: Path, tmp_path: Path
) -> None:
    """G6."""
    action = action_for(wheel_of(made))
    data = bytearray(wheel_of(made).read_bytes())
    data[60] ^= 1
    (tmp_path / wheel_of(made).name).write_bytes(data)
    before = fingerprint(made / "venv")
    with pytest.raises(Damaged, match="SHA-256"):
        reinstall(host, made, action, tmp_path)
    assert before == fingerprint(made / "venv")
    assert {} == host.jobs


def test_reinstall_of_another_version_or_name_is_refused(host: JobHost, made: Path, tmp_path: Path) -> None:
    other = make_wheel(tmp_path, "2.0")
    with pytest.raises(Damaged, match=r"says it is 'demo-lib 2\.0'"):
        reinstall(host, made, action_for(other), tmp_path)
    with pytest.raises(PreconditionFailed, match=r"is at 1\.0 by now"):
        reinstall(host, made, action_for(other, version="2.0"), tmp_path)
    with pytest.raises(Damaged, match="says it is"):
        reinstall(host, made, action_for(wheel_of(made), distribution="another"))
    (tmp_path / "x-1-py3-none-any.whl").write_text("no zip")
    with pytest.raises(Damaged, match="is no wheel"):
        reinstall(host, made, action_for(tmp_path / "x-1-py3-none-any.whl"), tmp_path)
    assert {} == host.jobs


@pytest.mark.parametrize("filename", ["../x.whl", "-r.whl", "a b.whl", "x.tar.gz"])
def test_reinstall_of_a_file_with_an_odd_name_is_refused(host: JobHost, made: Path, filename: str) -> None:
    with pytest.raises(BadInput):
        reinstall(host, made, action_for(wheel_of(made), filename=filename))


def test_reinstall_when_pip_fails_says_why(host: JobHost, made: Path) -> None:
    asset = asset_of(made).model_copy(update={"pip": ("sh", "-c", "echo no pip here >&2; exit 3")})
    with pytest.raises(ReinstateError, match="no pip here"):
        reinstall_distribution.perform(
            host, asset, action_for(wheel_of(made)), {"pool": unindexed(made / "pool")}, job_prefix="i-1", token=4,
            progress=quiet,
        )  # fmt: skip


def test_reinstall_with_a_broken_interpreter_is_refused(host: JobHost, made: Path) -> None:
    asset = asset_of(made).model_copy(update={"python": "/nonexistent/python"})
    with pytest.raises(PreconditionFailed, match="does not run"):
        reinstall_distribution.perform(
            host, asset, action_for(wheel_of(made)), {"pool": unindexed(made / "pool")}, job_prefix="i-1", token=4,
            progress=quiet,
        )  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files to another user")
def test_reinstall_by_root_leaves_the_files_to_the_environments_owner(
    host: JobHost, made: Path, site: Path
) -> None:
    os.chown(site, 1234, 1235)
    try:
        reinstall(host, made, action_for(wheel_of(made)))
        assert (1234, 1235) == (
            (site / "demo_lib/part.py").stat().st_uid,
            (site / "demo_lib/part.py").stat().st_gid,
        )
    finally:
        os.chown(site, 0, 0)
