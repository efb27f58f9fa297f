"""A connection to this machine, and a small dpkg tree owned by nobody's root: what checks are tried on."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.checks.local import LocalConnection


@pytest.fixture
def here(tmp_path: Path) -> LocalConnection:
    (tmp_path / "state").mkdir()
    return LocalConnection(state_dir=tmp_path / "state")


def build(
    folder: Path, name: str, files: dict[str, tuple[int, str]], conffiles: tuple[str, ...] = ()
) -> Path:
    """A .deb with these files, a link `usr/share/NAME/link` and the md5sums that debhelper would write."""
    tree = folder / f"{name}.tree"
    for path, (mode, text) in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
        (tree / path).chmod(mode)
    (tree / f"usr/share/{name}").mkdir(parents=True, exist_ok=True)
    (tree / f"usr/share/{name}/link").symlink_to("data")
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1:1.0-1\nArchitecture: all\nMaintainer: Tests <tests@example.invalid>\n"
        f"Description: {name}\n"
    )
    sums = [
        f"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}  {path}\n"
        for path, (_, text) in files.items()
        if f"/{path}" not in conffiles
    ]
    (tree / "DEBIAN/md5sums").write_text("".join(sums))
    if conffiles:
        (tree / "DEBIAN/conffiles").write_text("".join(f"{path}\n" for path in conffiles))
    for directory in (tree, *(p for p in tree.rglob("*") if p.is_dir())):
        directory.chmod(0o755)
    target = folder / f"{name}_1%3a1.0-1_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(target)],
        check=True,
        capture_output=True,
    )
    return target


HELLO = {
    "usr/bin/hello": (0o755, "#!/bin/sh\necho hello\n"),
    "usr/share/hello/data": (0o644, "data\n"),
    "usr/share/doc/hello/README": (0o644, "read\n"),
    "etc/hello.conf": (0o644, "a = 1\n"),
}
OTHER = {"usr/share/other/data": (0o644, "other\n")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dpkg root with the packages `hello` and `other`; their .debs lie beside it in `pool`."""
    root, pool = tmp_path / "root", tmp_path / "pool"
    pool.mkdir()
    for folder in ("info", "updates", "triggers"):
        (root / "var/lib/dpkg" / folder).mkdir(parents=True)
    for name in ("status", "available"):
        (root / "var/lib/dpkg" / name).touch()
    debs = [build(pool, "hello", HELLO, ("/etc/hello.conf",)), build(pool, "other", OTHER)]
    subprocess.run(
        ["dpkg", f"--root={root}", "--force-not-root", "--force-script-chrootless", f"--log={root}/dpkg.log",
         "--install", *map(str, debs)],
        check=True, capture_output=True,
    )  # fmt: skip
    return root
