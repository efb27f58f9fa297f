"""The host's Debian packages: two small .debs in a store, and a dpkg tree below the host's root."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from deployments.demo.facts import PackageFacts
from deployments.demo.processes import clean_environment, run

MAINTAINER = "Reinstate demo <demo@example.invalid>"
REPORT = """\
#!/bin/sh
# Prints how the shop reports its turnover; part of shop-tools.
root=$(cd -- "$(dirname -- "$0")/../.." && pwd -P) || exit 4
. "$root/usr/lib/shop-tools/format.sh" || exit 5
while IFS= read -r line; do
    case $line in
        period=*) period=${line#period=} ;;
    esac
done < "$root/etc/shop-tools.conf"
report_line "shop-report 2.3" "${period:?no period configured}"
"""
FORMAT = """\
# How shop-report writes its lines; part of shop-tools.
report_line() {
    printf '%s: every %s\\n' "$1" "$2"
}
"""
CONF = """\
# shop-tools: how often the turnover is reported.
period=week
"""
LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<circle cx="16" cy="16" r="15" fill="#2a6f6b"/></svg>\n'
)


def _theme() -> str:
    head = "/* shop-theme 1.4 */\nbody { font: 16px/1.5 sans-serif; margin: 2rem auto; max-width: 60rem; }\n"
    swatches = "".join(f".swatch-{n} {{ color: hsl({n * 7 % 360} 45% 40%); }}\n" for n in range(600))
    return f"{head}.products {{ display: grid; gap: 1rem; }}\n{swatches}/* end of shop-theme */\n"


@dataclass(frozen=True)
class Deb:
    """One package: its files as path to (mode, content), and which of them are configuration."""

    name: str
    version: str
    summary: str
    files: dict[str, tuple[int, str]]
    conffiles: tuple[str, ...] = ()

    def fields(self) -> dict[str, str]:
        """The fields of its control file."""
        return {
            "Package": self.name,
            "Version": self.version,
            "Architecture": "all",
            "Maintainer": MAINTAINER,
            "Section": "misc",
            "Priority": "optional",
            "Description": self.summary,
        }


DEBS = (
    Deb(
        "shop-tools",
        "2.3-1",
        "command line tools of the demo shop",
        {
            "usr/bin/shop-report": (0o755, REPORT),
            "usr/lib/shop-tools/format.sh": (0o644, FORMAT),
            "etc/shop-tools.conf": (0o644, CONF),
            "usr/share/doc/shop-tools/copyright": (0o644, "Apache-2.0\n"),
        },
        conffiles=("/etc/shop-tools.conf",),
    ),
    Deb(
        "shop-theme",
        "1.4-1",
        "how the demo shop looks",
        {
            "usr/share/shop-theme/theme.css": (0o644, _theme()),
            "usr/share/shop-theme/logo.svg": (0o644, LOGO),
            "usr/share/doc/shop-theme/copyright": (0o644, "Apache-2.0\n"),
        },
    ),
)


def available() -> bool:
    """Whether this system has dpkg and can build packages."""
    return shutil.which("dpkg") is not None and shutil.which("dpkg-deb") is not None


def facts(root: Path, store: Path) -> PackageFacts | None:
    """Describes the packages; None where there is no dpkg."""
    if not available():
        return None
    options = (f"--root={root}", "--force-not-root", "--force-script-chrootless")
    return PackageFacts(
        dpkg=("dpkg", *options, f"--log={root}/var/log/dpkg.log"),
        root=root,
        store=store,
        packages={deb.name: deb.version for deb in DEBS},
    )


def build_store(store: Path, scratch: Path, world_id: str) -> None:
    """Builds the .debs, the package source the product repairs from once they are signed."""
    store.mkdir(parents=True, exist_ok=True)
    for deb in DEBS:
        _build(deb, store, scratch / deb.name, world_id)


def install(root: Path, packages: PackageFacts, world_id: str) -> None:
    """Installs the packages with dpkg into the host's tree."""
    for name in ("info", "updates", "triggers"):
        (root / "var/lib/dpkg" / name).mkdir(parents=True, exist_ok=True)
    for name in ("status", "available"):
        (root / "var/lib/dpkg" / name).touch()
    debs = [str(packages.store / f"{deb.name}_{deb.version}_all.deb") for deb in DEBS]
    env = clean_environment(world_id, TMPDIR=str(root / "tmp"), DEBIAN_FRONTEND="noninteractive")
    run([*packages.dpkg, "--install", *debs], env=env)


def place(root: Path) -> None:
    """Without dpkg: puts the packages' files where the shop looks for them."""
    for deb in DEBS:
        for name, (mode, content) in deb.files.items():
            _put(root / name, mode, content)


def _build(deb: Deb, store: Path, tree: Path, world_id: str) -> Path:
    shutil.rmtree(tree, ignore_errors=True)
    for name, (mode, content) in deb.files.items():
        _put(tree / name, mode, content)
    control = "".join(f"{key}: {value}\n" for key, value in deb.fields().items())
    sums = [
        f"{hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()}  {name}\n"
        for name, (_, content) in deb.files.items()
    ]
    _put(tree / "DEBIAN/control", 0o644, control)
    _put(tree / "DEBIAN/md5sums", 0o644, "".join(sums))
    if deb.conffiles:
        _put(tree / "DEBIAN/conffiles", 0o644, "".join(f"{path}\n" for path in deb.conffiles))
    for folder in (tree, *(path for path in tree.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    env = clean_environment(world_id, TMPDIR=str(tree.parent), SOURCE_DATE_EPOCH="1704067200")
    target = store / f"{deb.name}_{deb.version}_all.deb"
    run(["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(tree), str(target)], env=env)
    shutil.rmtree(tree)
    return target


def _put(path: Path, mode: int, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
