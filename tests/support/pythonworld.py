"""A Python environment to damage: small wheels made here, installed without pip, on a laboratory host or here."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.reinstall_distribution import UNPACK
from tests.lab.host import LabHost

ASSET, STORE = "app", "wheelhouse"
ENVIRONMENTS = ("app", "tools", "jobs", "web", "mail")
"""Those of the corpus, each with a service's name."""

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
            entry = zipfile.ZipInfo(path, (2024, 1, 1, 0, 0, 0))
            entry.external_attr = (0o100755 if "/scripts/" in path else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text)
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


def add_environment(host: LabHost, folder: Path, names: Sequence[str] = (ASSET,)) -> dict[str, Any]:
    """Make environments at `/opt/NAME/venv` of a host, and their wheelhouse beside the plan.

    Args:
        host: a running laboratory host; it needs python3 and nothing else (no pip, no venv package).
        folder: the plan's folder.
        names: of the environments; also of the assets.

    Returns:
        Plan changes: the store and the assets, on the plan's host of the name `host.name`.
    """
    wheels = make_wheelhouse(folder / STORE)
    for wheel in wheels:
        (host.inside("/root") / wheel.name).write_bytes(wheel.read_bytes())
    for name in names:
        venv = f"/opt/{name}/venv"
        host.must(["python3", "-m", "venv", "--without-pip", venv])
        site = f"/{next(host.inside(f'{venv}/lib').glob('python3*')).relative_to(host.root)}/site-packages"
        for wheel in wheels:
            words = [f"/root/{wheel.name}", site, venv, f"{venv}/bin/python", "pip"]
            host.must([f"{venv}/bin/python", "-I", "-S", "-", *words], text=UNPACK.read_text())
        # Byte code as a service leaves it behind.
        host.must([f"{venv}/bin/shop-web"])
    for wheel in wheels:
        (host.inside("/root") / wheel.name).unlink()
    return plan_changes(host.name, {name: f"/opt/{name}/venv" for name in names})


def plan_changes(host: str, environments: Mapping[str, str]) -> dict[str, Any]:
    """What a plan says about environments: asset's name → folder."""
    return {
        "package_stores": {STORE: {"kind": "directory", "path": STORE}},
        "assets": {
            name: {"kind": "pip", "host": host, "python": f"{venv}/bin/python", "store": STORE}
            for name, venv in environments.items()
        },
    }


def environment_here(folder: Path) -> Path:
    """The same environment on this machine, below a folder; returns its folder."""
    wheels = make_wheelhouse(folder / STORE)
    venv = folder / "opt/app/venv"
    # The base interpreter, not the one of the tests' own environment.
    base = Path(sys.base_prefix) / "bin/python3"
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
