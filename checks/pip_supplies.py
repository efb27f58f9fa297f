"""What a Python environment can be repaired from: wheels of the same version, its base interpreter, right modes."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from blocks.hosts.base import Connection
from blocks.packages import PackageStore
from checks.pip_environment import wanted_mode
from checks.pip_facts import Distribution, EnvironmentData, collect, normal, prefix_of
from checks.pip_interpreter import rebuild
from checks.stat import list_tree
from checks.wheel_shelf import choose, readable, shelf
from checks.wheels import BOOKKEEPING, Wheel, judge
from model.assets import PipAsset
from model.command import Command
from model.errors import Damaged
from model.finding import Code, Finding
from model.manifest import Entry, FileType
from model.proposal import InstallTool
from model.supplies import DressSupply, InterpreterSupply, TreeSupply, WheelSupply

ASIDE = frozenset({Code.FILE_FOREIGN, Code.FILE_TYPE_DIFFERS})
_FIND = 'command -v -- "$1" >/dev/null'


@dataclass
class PipSupplies:
    """What was found for one environment."""

    wheels: list[WheelSupply] = field(default_factory=list)
    trees: list[TreeSupply] = field(default_factory=list)
    interpreters: list[InterpreterSupply] = field(default_factory=list)
    dressed: list[DressSupply] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def pip_supplies(
    name: str, asset: PipAsset, connection: Connection, findings: Sequence[Finding], store: PackageStore
) -> PipSupplies:
    """Look for what can repair the findings of one environment.

    Raises:
        Transient: host or store cannot be reached. PreconditionFailed: no Python of the host runs, or no index.
        Damaged: the store's index does not count.
    """
    data = collect(connection, asset)
    found = PipSupplies()
    parts = {one.path for one in data.interpreters} | ({data.config.path} if data.config else set())
    if any(finding.subject in parts for finding in findings):
        made = rebuild(name, connection, asset, data)
        if isinstance(made, str):
            found.remarks.append(made)
        else:
            found.interpreters.append(made)
    with tempfile.TemporaryDirectory() as folder:
        _wheels(name, asset, connection, data, findings, store, Path(folder), found)
    for finding in findings:
        leftover = finding.code is Code.PACKAGE_STATE_BROKEN and finding.subject.endswith(".dist-info")
        if (finding.code in ASIDE and finding.subject not in parts) or leftover:
            below = list_tree(connection, finding.subject)
            found.trees.append(TreeSupply(asset=name, path=finding.subject, touches=tuple(below)))
    found.dressed += _dressed(name, asset, data, findings)
    return found


def _wheels(
    name: str, asset: PipAsset, connection: Connection, data: EnvironmentData, findings: Sequence[Finding],
    store: PackageStore, folder: Path, found: PipSupplies,
) -> None:  # fmt: skip
    wanted = sorted({(f.package, f.version) for f in findings if f.package and f.version})
    known = shelf(store, set(wanted), folder)
    found.remarks += known.remarks
    for key in wanted:
        installed = next((d for d in data.distributions if (normal(d.name), d.version) == key), None)
        wheels, unread = readable(known.wheels.get(key, ()))
        found.remarks += unread
        wheel, why = choose(wheels, installed)
        if wheel is None:
            found.remarks += [why] if why else []
            continue
        try:
            judge(wheel.path)
            if (wheel.name, wheel.version) != key:
                raise Damaged(f"{wheel.path.name} says it is {wheel.name} {wheel.version}.", store.name)
        except Damaged as error:
            found.remarks.append(str(error))
            continue
        content = wheel.path.read_bytes()
        found.wheels.append(
            WheelSupply(
                asset=name, distribution=key[0], version=key[1], filename=known.origins[wheel.path],
                sha256=hashlib.sha256(content).hexdigest(), bytes=len(content),
                touches=tuple(_touches(connection, asset, data, wheel, installed)),
                tool=_tool(connection, asset, data, installed, findings),
            )
        )  # fmt: skip


def _dressed(
    name: str, asset: PipAsset, data: EnvironmentData, findings: Sequence[Finding]
) -> Iterator[DressSupply]:
    wrong = {f.subject for f in findings if f.code in {Code.FILE_MODE_DIFFERS, Code.FILE_OWNER_DIFFERS}}
    seen = [file.seen for d in data.distributions for file in d.files]
    seen += [*data.folders, *(stray.seen for stray in data.strays)]
    sites = {site.path: site for site in data.sites}
    own = {file.seen.path: d.site for d in data.distributions for file in d.files}
    for one in seen:
        place = own.get(one.path) or next((path for path in sites if one.path.startswith(f"{path}/")), "")
        if one.path not in wrong or not place or one.type not in {"file", "directory"} or one.error:
            continue
        wrong.discard(one.path)
        site = sites[place]
        stranger = one.uid not in {0, site.uid}
        yield DressSupply(
            asset=name,
            entry=Entry(
                path=one.path, type=FileType(one.type), mode=wanted_mode(one, site, prefix_of(asset)),
                uid=site.uid if stranger else one.uid, gid=site.gid if stranger else one.gid, size=one.size,
                sha256=one.actual if one.type == "file" else "",
            ),
        )  # fmt: skip


def _tool(
    connection: Connection, asset: PipAsset, data: EnvironmentData, installed: Distribution | None,
    findings: Sequence[Finding],
) -> InstallTool:  # fmt: skip
    """What installs a wheel there, told without starting anything of the environment."""
    if asset.tool != "auto":
        return asset.tool
    if asset.pip != PipAsset.model_fields["pip"].default:
        return "pip"
    if installed is not None and installed.installer == "uv":
        there = connection.run(
            Command(("sh", "-c", _FIND, "reinstate-find", asset.uv[0]), sudo=True, timeout=30.0)
        )
        return "uv" if there.ok and not _lists_wrong(findings) else "unpack"
    own = next((d for d in data.distributions if normal(d.name) == "pip"), None)
    whole = own is not None and own.record and not any(finding.package == "pip" for finding in findings)
    return "pip" if whole and data.config is not None and not _lists_wrong(findings) else "unpack"


def _lists_wrong(findings: Sequence[Finding]) -> bool:
    """Whether what pip reads about distributions is damaged: then it may fail at any of them."""
    return any(".dist-info" in finding.subject for finding in findings)


def _touches(
    connection: Connection,
    asset: PipAsset,
    data: EnvironmentData,
    wheel: Wheel,
    installed: Distribution | None,
) -> list[str]:
    """Every path an installation of a wheel changes: its files and folders, what RECORD lists, byte code."""
    site = installed.site if installed else data.sites[0].path
    tag = f"cpython-{data.version.replace('.', '')}"
    paths = set(wheel.lands(site, prefix_of(asset))) | {f"{site}/{wheel.info}/{name}" for name in BOOKKEEPING}
    paths |= {file.seen.path for file in installed.files} if installed else set()
    for path in [PurePosixPath(path) for path in paths if path.startswith(f"{site}/")]:
        if path.suffix == ".py":
            paths.add(str(path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc"))
            paths.add(str(path.parent / "__pycache__"))
        paths |= {str(parent) for parent in path.parents if str(parent).startswith(f"{site}/")}
    tops = {path[len(site) + 1 :].split("/")[0] for path in paths if path[len(site) + 1 :].count("/")}
    for top in sorted(tops & {p[len(site) + 1 :] for p in paths if p.startswith(f"{site}/")}):
        paths |= set(list_tree(connection, f"{site}/{top}"))
    return sorted(paths)
