"""Faults of files: configuration, permissions, deleted folders, overwritten documents (R-DRILL)."""

from __future__ import annotations

from model.assets import FilesAsset
from model.fault_kinds import FaultKind
from model.faults import Expected, Planted
from model.finding import Code
from tasks.faults.site import Site

_VERBS: dict[FaultKind, tuple[str, Code, str]] = {
    FaultKind.CONFIGURATION: ("cut", Code.FILE_CONTENT_DIFFERS, "was cut to half its length"),
    FaultKind.PERMISSIONS: ("mode", Code.FILE_MODE_DIFFERS, "got another mode"),
    FaultKind.DELETED_DIRECTORY: ("delete", Code.FILE_MISSING, "was deleted"),
    FaultKind.OVERWRITTEN_DOCUMENTS: ("garble", Code.FILE_CONTENT_DIFFERS, "was overwritten"),
}
"""What is done, what a check says of it, and what people read."""


def prepare(site: Site) -> Planted:
    """Choose files or a folder of the asset."""
    fault, asset = site.fault, site.asset(FilesAsset)
    _, code, done = _VERBS[fault.kind]
    if fault.kind is FaultKind.DELETED_DIRECTORY:
        found = site.pick("directory", root=asset.path, exclude=asset.exclude, most=fault.most)
        sentence = f"{found.paths[0]} with {found.files} files {done}."
    else:
        count = fault.files if fault.kind is FaultKind.OVERWRITTEN_DOCUMENTS else 1
        found = site.pick("files", root=asset.path, exclude=asset.exclude, most=fault.most, count=count)
        sentence = " ".join(f"{path} {done}." for path in found.paths)
    expected = [Expected(code=code, asset=fault.asset, subject=path) for path in found.paths]
    # A file may be one of the names that links of the same set lead to, or share their content with.
    follows = [
        Expected(code=Code.FILE_HARD_LINK_BROKEN, asset=fault.asset, subject=path) for path in found.paths
    ]
    return site.planted(sentence, found.paths, expected, follows=follows, paths=found.paths)


def strike(site: Site, planted: Planted) -> None:
    """Keep the originals and do it."""
    verb, _, _ = _VERBS[site.fault.kind]
    site.plant("strike", verb=verb, paths=planted.left.paths, mode=0 if site.fault.seed % 2 else 0o777)


def mend(site: Site, _planted: Planted) -> None:
    """Put back what is not as it was."""
    site.plant("mend")
