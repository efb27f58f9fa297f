"""A live tree with all kinds of files, for what preserves and restores them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

ODD = "odd \\n \\0134 \n'\"$(id)*?é"
ROOT = os.geteuid() == 0


def make_tree(root: Path) -> Path:
    """Files, folders, links of both kinds, a pipe, odd names, modes, owners, attributes and times."""
    for folder in ("etc", "bin", "lib/deep", "empty", "sticky"):
        (root / folder).mkdir(parents=True)
    (root / "etc/app.conf").write_text("port = 80\n")
    (root / "etc" / ODD).write_bytes(os.urandom(3000))
    (root / "etc/-rf").write_text("dash\n")
    Path(os.fsdecode(os.fsencode(root) + b"/etc/latin-\xe9")).write_text("not UTF-8\n")
    (root / "bin/app").write_bytes(os.urandom(700_001))
    (root / "bin/app").chmod(0o4755)
    (root / "bin/zero").touch()
    os.link(root / "bin/app", root / "bin/app-alias")
    (root / "lib/so").symlink_to("deep/missing target\n")
    (root / "lib/absolute").symlink_to("/etc/shadow")
    os.mkfifo(root / "lib/deep/pipe")
    (root / "sticky").chmod(0o1777)
    if ROOT:
        os.chown(root / "etc/app.conf", 1234, 4321)
        os.lchown(root / "lib/so", 77, 78)
    with contextlib.suppress(OSError):  # no extended attributes here: the rest is still compared
        os.setxattr(root / "etc/app.conf", "user.note", b"\x00\xff\n=binary")
    old = 1_600_000_000_123_456_789
    for path in [*sorted(root.rglob("*"), reverse=True), root]:
        os.utime(path, ns=(old, old), follow_symlinks=False)
        old += 1_000_000_007
    return root


def paths_of(tree: Path) -> list[str]:
    """The tree and everything in it."""
    return [str(tree), *map(str, tree.rglob("*"))]
