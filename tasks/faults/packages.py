"""Faults of packages: a garbled file, one flipped bit of a library, an upgrade that was killed (R-DRILL).

What the host, the repair or the checks stand on is never damaged (`tasks.faults.on_host.packages.VITAL`).
"""

from __future__ import annotations

from collections.abc import Iterator

from model.assets import DpkgAsset, RpmAsset
from model.errors import PreconditionFailed
from model.fault_kinds import FaultKind
from model.faults import Expected, Planted
from model.finding import Code
from tasks.faults.site import PACKAGES, Answer, Site, ask

_HALF = (Code.FILE_MISSING, Code.FILE_CONTENT_DIFFERS, Code.FILE_FOREIGN, Code.HASH_LIST_DIFFERS)
"""What may be seen besides of a package that is half there."""

_TOOLS = (Code.DATABASE_UNREACHABLE, Code.TOOL_BROKEN)
"""What may follow where the plan names a package that the checks use."""

TRIED = 12
"""Packages looked at before a fault is given up."""


def prepare_file(site: Site) -> Planted:
    """Choose a delivered file: of the target's package where that may be damaged, else of another of the asset."""
    fault, asset = site.fault, _asset(site)
    bits = fault.kind is FaultKind.LIBRARY_BIT
    for package, among in _candidates(site, asset):
        ignore = asset.ignore
        paths = _ask(site, asset, "contents", package=package, libraries=bits, ignore=ignore).paths
        paths = tuple(path for path in paths if not among or path in among)
        programs = [path for path in paths if "/bin/" in path or "/sbin/" in path]
        if paths:
            path = fault.pick(programs if programs and not bits else paths)[0]
            done = "had one bit flipped" if bits else "was overwritten by garbage of the same size"
            expected = [Expected(code=Code.FILE_CONTENT_DIFFERS, asset=fault.asset, subject=path)]
            follows = [Expected(code=code) for code in _TOOLS if asset.packages]
            return site.planted(
                f"{path} of {package} {done}.", (path,), expected, follows=follows, paths=(path,)
            )
    raise PreconditionFailed(
        f"no package of {fault.asset} has a {'library' if bits else 'file'} that a drill may damage.",
        site.connection.name, "choose another fault",
    )  # fmt: skip


def strike_file(site: Site, planted: Planted) -> None:
    """Keep the original and do it, under a new inode: what runs already goes on."""
    verb = "flip" if site.fault.kind is FaultKind.LIBRARY_BIT else "garble"
    site.plant("strike", verb=verb, paths=planted.left.paths)


def mend_file(site: Site, _planted: Planted) -> None:
    """The original comes back where the recovery did not bring it."""
    site.plant("mend")


def _asset(site: Site) -> DpkgAsset | RpmAsset:
    asset = site.plan.assets[site.fault.asset]
    return asset if isinstance(asset, RpmAsset) else site.asset(DpkgAsset)


def _candidates(site: Site, asset: DpkgAsset | RpmAsset) -> Iterator[tuple[str, frozenset[str]]]:
    """Packages that may be damaged, best first, and which of their files, if not any."""
    fault = site.fault
    unit = "" if asset.packages else fault.target
    known = _ask(site, asset, "packages", unit=unit, named=bool(asset.packages))
    spare = set(known.packages)
    if asset.packages:
        wanted = [fault.target, *fault.pick([name for name in asset.packages if name != fault.target])]
        yield from ((name, frozenset()) for name in wanted[:TRIED] if name in spare)
        return
    if known.program and fault.kind is FaultKind.LIBRARY_BIT:
        owners = _ask(site, asset, "libraries", of=known.program).owners
        for path in fault.pick([path for path, package in owners.items() if package in spare])[:TRIED]:
            yield owners[path], frozenset((path,))
    if known.owner in spare:
        yield known.owner, frozenset()
    yield from ((name, frozenset()) for name in fault.pick(known.packages)[:TRIED])


def _ask(site: Site, asset: DpkgAsset | RpmAsset, do: str, **request: object) -> Answer:
    family = "rpm" if isinstance(asset, RpmAsset) else "dpkg"
    return ask(site.connection, PACKAGES, do=do, family=family, **request)


def prepare_upgrade(site: Site) -> Planted:
    """Choose a package whose file can be had, and put that into the drill's folder."""
    fault, asset = site.fault, site.asset(DpkgAsset)
    offered = _ask(site, asset, "plain", named=bool(asset.packages)).packages
    if asset.packages:
        offered = tuple(name for name in asset.packages if name in offered)
    wanted = [name for name in offered if name == fault.target] or fault.pick(offered)
    for package in wanted[:TRIED]:
        deb = _ask(site, asset, "deb", package=package, folder=site.folder).deb
        if deb:
            return site.planted(
                f"An upgrade of {package} was killed while its files were unpacked.", (package,),
                [Expected(code=Code.PACKAGE_STATE_BROKEN, asset=fault.asset, subject=package)],
                follows=[
                    Expected(code=code, asset=fault.asset)
                    for code in _HALF
                ],
                paths=(deb,),
            )  # fmt: skip
    raise PreconditionFailed(
        f"of no package of {fault.asset} that has no scripts the installed version can be had.",
        site.connection.name, "give the staging host a source of its packages, or choose another fault",
    )  # fmt: skip


def strike_upgrade(site: Site, planted: Planted) -> None:
    """Unpack it and kill dpkg."""
    (package,), (deb,) = planted.subjects, planted.left.paths
    state = _ask(site, site.asset(DpkgAsset), "upgrade", package=package, deb=deb).state
    if state == "installed":
        raise PreconditionFailed(
            f"dpkg did not begin to unpack {package}.", site.connection.name, "choose another fault"
        )


def mend_upgrade(site: Site, planted: Planted) -> None:
    """End the upgrade where the recovery did not."""
    (package,), (deb,) = planted.subjects, planted.left.paths
    _ask(site, site.asset(DpkgAsset), "install", package=package, deb=deb)
