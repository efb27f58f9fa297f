"""A Python environment, damaged for real: a folder with an interpreter's link and two distributions."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import sys
from pathlib import Path

import pytest

from checks import pip_environment
from model.assets import PipAsset
from model.errors import PreconditionFailed
from model.finding import CheckResult, Code, Verdict
from tests.checks.local import LocalConnection


def _record(path: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(content)}\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The site-packages of an environment, without running `venv`."""
    env = tmp_path / "env"
    site = env / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    (env / "bin").mkdir(parents=True)
    (env / "bin/python").symlink_to(os.path.realpath(sys.executable))
    (env / "bin/python3").symlink_to("python")
    (env / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).parent}\n")
    for name, version in (("Shop_Lib", "2.1"), ("front", "1.0")):
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (site / name).mkdir()
        files = {
            f"{name}/__init__.py": b"x = 1\n",
            f"{name}/with,comma.txt": b"c",
            f"{name}/byte.txt": b"",
            f"../../../bin/{name}": b"#!/bin/sh\n",
            f"{info.name}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: no\n".encode(),
            f"{info.name}/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
        }
        lines = []
        for path, content in files.items():
            (site / path).write_bytes(content)
            lines.append(_record(f'"{path}"' if "," in path else path, content))
        (site / f"../../../bin/{name}").chmod(0o755)
        lines.append(f"{name}/__pycache__/__init__.cpython-3.pyc,,\n{info.name}/RECORD,,\n")
        (info / "RECORD").write_text("".join(lines))
    return site


def check(here: LocalConnection, site: Path, *distributions: str) -> CheckResult:
    asset = PipAsset(
        kind="pip", host="web-1", python=str(site.parents[2] / "bin/python"), store="wheels",
        distributions=distributions,
    )  # fmt: skip
    return pip_environment.judge("library", asset, pip_environment.collect(here, asset))


def found(result: CheckResult) -> list[tuple[Code, str, str]]:
    return [(finding.code, Path(finding.subject).name, finding.package) for finding in result.findings]


def test_healthy_environment_passes_and_byte_code_is_not_looked_at(here: LocalConnection, site: Path) -> None:
    result = check(here, site)
    assert Verdict.PASSED is result.verdict
    assert 14 == result.examined


def test_missing_changed_and_replaced_files_are_found_with_their_distribution(
    here: LocalConnection, site: Path
) -> None:
    (site / "Shop_Lib/__init__.py").write_text("")
    (site / "Shop_Lib/with,comma.txt").unlink()
    (site / "front/byte.txt").unlink()
    (site / "front/byte.txt").symlink_to("/etc/hostname")
    (site.parents[2] / "bin/front").unlink()
    assert [
        (Code.FILE_CONTENT_DIFFERS, "__init__.py", "shop-lib"),
        (Code.FILE_MISSING, "with,comma.txt", "shop-lib"),
        (Code.FILE_TYPE_DIFFERS, "byte.txt", "front"),
        (Code.FILE_MISSING, "front", "front"),
    ] == found(check(here, site))


def test_distribution_without_record_is_found(here: LocalConnection, site: Path) -> None:
    """To pip itself it is clean (lab.md)."""
    (site / "front-1.0.dist-info/RECORD").unlink()
    assert [(Code.RECORD_MISSING, "RECORD", "front")] == found(check(here, site))


def test_named_distribution_that_is_gone_is_found(here: LocalConnection, site: Path) -> None:
    result = check(here, site, "shop.lib", "absent")
    assert [(Code.PACKAGE_NOT_INSTALLED, "absent", "absent")] == found(result)


def test_environment_without_distributions_is_an_error(here: LocalConnection, site: Path) -> None:
    for path in site.iterdir():
        shutil.rmtree(path)
    assert Verdict.ERROR is check(here, site).verdict


def test_broken_interpreter_is_found_and_the_rest_looked_at_with_another(
    here: LocalConnection, site: Path
) -> None:
    python = site.parents[2] / "bin/python"
    python.unlink()
    python.symlink_to("/nonexistent/python3")
    (site / "front/__init__.py").write_text("")
    result = check(here, site)
    assert [
        (Code.FILE_LINK_DIFFERS, "python", ""),
        (Code.FILE_CONTENT_DIFFERS, "__init__.py", "front"),
    ] == found(result)


@pytest.mark.parametrize(
    "output",
    [b"", b'{"kind": "site"}\n', b"Segmentation fault\n", b'{"kind": "file"}\n{"kind": "end"}\n', b"\xff\n"],
)
def test_answer_that_is_not_whole_is_refused(output: bytes) -> None:
    with pytest.raises(PreconditionFailed):
        pip_environment.parse(output)
