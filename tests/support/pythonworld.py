"""A Python environment to damage: small wheels made here, installed offline without pip, on a laboratory host or here."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.reinstall_distribution import UNPACK
from tests.lab.host import LabHost

VENV = "/opt/app/venv"
ASSET, STORE = "app", "wheelhouse"
CORE = {
    "shop_core/__init__.py": "from shop_core.prices import total\n",
    "shop_core/prices.py": "def total(prices):\n    return sum(prices)\n",
    "shop_core/tables/__init__.py": "",
    "shop_core/tables/taxes.json": '{"standard": 19, "reduced": 7}\n',
}
WEB = {
    "shop_web/__init__.py": "",
    "shop_web/cli.py": "from shop_core import total\n\n\ndef main():\n    print(total([1, 2, 39]))\n",
}
TINY = {"tiny_mod.py": "ANSWER = 42\n"}
DATA = {
    "shop_data/__init__.py": "",
    "shop_data-1.0.data/scripts/shop-report": "#!python\nprint('report')\n",
    "shop_data-1.0.data/data/share/shop/words.txt": "bread\nbutter\n",
}


def make_wheel(
    folder: Path, name: str, version: str, files: Mapping[str, str], scripts: Mapping[str, str] | None = None,
    changed: Mapping[str, str] | None = None,
) -> Path:  # fmt: skip
    """A pure wheel.

    Args:
        folder: where it is written.
        name: import-like name of the distribution.
        version: its version.
        files: member → text.
        scripts: console scripts, name → `module:function`.
        changed: members whose text is replaced after RECORD was made, or that it does not name: a bad wheel.
    """
    info = f"{name}-{version}.dist-info"
    held = dict(files) | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if scripts:
        lines = "".join(f"{script} = {target}\n" for script, target in scripts.items())
        held[f"{info}/entry_points.txt"] = f"[console_scripts]\n{lines}"
    rows = "".join(f"{path},{coded(text)},{len(text.encode())}\n" for path, text in held.items())
    held |= {f"{info}/RECORD": f"{rows}{info}/RECORD,,\n"} | dict(changed or {})
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in held.items():
            archive.writestr(zipfile.ZipInfo(path, (2024, 1, 1, 0, 0, 0)), text)
    return wheel


def coded(text: str) -> str:
    """The hash of a text as RECORD writes it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def make_wheelhouse(folder: Path) -> list[Path]:
    """The wheels of the environment."""
    return [
        make_wheel(folder, "shop_core", "1.4.0", CORE),
        make_wheel(folder, "shop_web", "2.0.1", WEB, {"shop-web": "shop_web.cli:main"}),
        make_wheel(folder, "tiny_mod", "0.3", TINY),
        make_wheel(folder, "shop_data", "1.0", DATA),
    ]


def add_environment(host: LabHost, folder: Path) -> dict[str, Any]:
    """Make the environment at `/opt/app/venv` of a host, and its wheelhouse beside the plan.

    Args:
        host: a running laboratory host; it needs python3 and nothing else (no pip, no venv package).
        folder: the plan's folder.

    Returns:
        Plan changes: the store and the asset. The asset's `host` is the name `host.name`; replace it by the plan's.
    """
    wheels = make_wheelhouse(folder / STORE)
    host.must(["python3", "-m", "venv", "--without-pip", VENV])
    version = host.must([f"{VENV}/bin/python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()
    site = f"{VENV}/lib/python{version}/site-packages"
    for wheel in wheels:
        (there := host.inside("/root") / wheel.name).write_bytes(wheel.read_bytes())
        words = [f"{VENV}/bin/python", "-I", "-S", "-", f"/root/{wheel.name}", site, VENV, f"{VENV}/bin/python", "pip"]
        host.must(words, text=UNPACK.read_text())
        there.unlink()
    # Byte code as a service leaves it behind.
    host.must([f"{VENV}/bin/shop-web"])
    return plan_changes(host.name)


def plan_changes(host: str, venv: str = VENV) -> dict[str, Any]:
    """What a plan says about the environment."""
    return {
        "package_stores": {STORE: {"kind": "directory", "path": STORE}},
        "assets": {ASSET: {"kind": "pip", "host": host, "python": f"{venv}/bin/python", "store": STORE}},
    }


def environment_here(folder: Path) -> Path:
    """The same environment on this machine, below a folder; returns its folder."""
    wheels = make_wheelhouse(folder / STORE)
    venv = folder / "opt/app/venv"
    # The base interpreter, not the one of the tests' own environment.
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    python = str(base) if base.exists() else sys.executable
    subprocess.run([python, "-m", "venv", "--without-pip", venv], check=True)
    for wheel in wheels:
        unpack(venv, wheel)
    subprocess.run([venv / "bin/shop-web"], check=True, capture_output=True)
    return venv


def site_of(venv: Path) -> Path:
    """The site-packages of an environment."""
    return next((venv / "lib").glob("python*")) / "site-packages"


def unpack(venv: Path, wheel: Path, python: str = "") -> None:
    """Install a wheel into an environment of this machine."""
    subprocess.run(
        [python or venv / "bin/python", "-I", "-S", "-", wheel, site_of(venv), venv, venv / "bin/python", "pip"],
        input=UNPACK.read_bytes(), check=True, capture_output=True,
    )  # fmt: skip


def damage(root: Path, case: Mapping[str, Any]) -> None:
    """Apply the operations of a corpus case below a root; `run` and `try` are not known here."""
    for operation in case["do"]:
        ((name, given),) = operation.items()
        words = given if isinstance(given, list) else [given]
        path = root / words[0].lstrip("/")
        match name:
            case "garble":
                path.write_bytes(os.urandom(64))
            case "flip":
                data = bytearray(path.read_bytes())
                data[len(data) // 2] ^= 1
                path.write_bytes(data)
            case "truncate":
                data = path.read_bytes()
                path.write_bytes(data[: len(data) // 2])
            case "delete":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            case "chmod":
                path.chmod(int(words[1], 8))
            case "chown":
                os.chown(path, int(words[1]), int(words[2]), follow_symlinks=False)
            case "link":
                if path.is_symlink() or path.is_file():
                    path.unlink()
                elif path.is_dir():
                    shutil.rmtree(path)
                path.symlink_to(words[1])
            case "directory":
                path.unlink(missing_ok=True)
                path.mkdir()
            case "write":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(words[1])
            case "append":
                path.write_text(path.read_text() + words[1])
            case _:
                raise ValueError(f"unknown operation {name}")
