"""Lending a damaged host the tools it needs: the same programs of the same versions, from signed packages, in memory.

A folder below /dev/shm (or another place where programs may run) gets the programs and the shared libraries they need;
everything we run there finds them before the host's own. Nothing of the host is changed, and the folder is removed
when the connection is given back. The programs come from the packages the host itself has, so that they fit its libc.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from blocks.hosts.base import Connection
from blocks.hosts.identity import prove
from blocks.hosts.sftp import Sent
from blocks.packages import PackageStore
from blocks.packages.debfile import members
from blocks.packages.store import Memory
from checks import dpkg, package_sources, toolbox
from checks.many import side_by_side
from checks.package_sources import CACHE, Offer, Wanted
from checks.toolbox import Broken
from model.assets import DpkgAsset
from model.command import Command
from model.errors import PreconditionFailed, ReinstateError, Transient
from model.finding import Code
from model.journal import State
from model.plan import Plan
from tasks.staging import sha256_of
from tasks.work import PlanFile, Work

PLACES = ("/dev/shm", "/run", "/var/tmp", "/tmp")  # noqa: S108 - a folder with a random name that must not exist
LEND = (
    "dash",
    "coreutils",
    "findutils",
    "grep",
    "sed",
    "tar",
    "gzip",
    "diffutils",
    "util-linux",
    "dpkg",
    "libc-bin",
)
"""Packages whose programs are lent."""

ALSO: Mapping[str, tuple[str, ...]] = {
    "coreutils": (
        *(
            "basename",
            "dirname",
            "cut",
            "uniq",
            "readlink",
            "realpath",
            "tee",
            "true",
            "false",
            "test",
            "expr",
            "seq",
        ),
        *("timeout", "uname", "nohup", "install", "od", "printf", "echo", "comm", "pwd", "nproc", "whoami"),
    ),
    "dpkg": ("dpkg-trigger", "dpkg-divert", "dpkg-statoverride", "update-alternatives"),
}
"""Programs that scripts of packages use besides those that are tried."""

_FOUNDATION = re.compile(r"ld-linux|ld64|libc\.so|libc-\d|libpthread|libdl|librt")
"""What every process of the host has mapped already; where that is damaged nothing runs, this SSH session included."""

_LIBRARY = re.compile(r"/lib[^/]*/([^/]+/)?lib[^/]+\.so(\.[^/]*)?$")
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_UNPACKED: dict[tuple[str, ...], list[Sent]] = {}
"""The tools of the last host, by the hashes of their packages: each step of a recovery lends the same ones again."""

_LOG = logging.getLogger("reinstate.tools")


@contextmanager
def connected(work: Work, host: str) -> Iterator[Connection]:
    """A connection to a proven host for a step of an incident; with lent tools where it was found to need them.

    Raises:
        Transient, Refused, PreconditionFailed: as `PlanFile.connect`, `prove` and `lent`.
    """
    with work.file.connect(host) as connection:
        if not needs_tools(work.state(), host):
            yield connection
            return
        prove(connection)
        with lent(connection, work.plan, work.file.package_stores(work.store)):
            yield connection


def needs_tools(state: State, host: str) -> bool:
    """Whether this incident found tools of the host broken that a repair needs."""
    results = state.confirmed.results if state.confirmed else ()
    broken = {
        f.subject.rpartition("/")[2]
        for result in results
        for f in result.findings
        if f.code is Code.TOOL_BROKEN and f.host == host
    }
    return bool(broken - toolbox.OPTIONAL)


def asset_of(plan: Plan, host: str) -> DpkgAsset | None:
    """The asset that is the host's own dpkg; None when the plan has none."""
    assets = [
        a for a in plan.assets.values() if isinstance(a, DpkgAsset) and a.host == host and a.root == "/"
    ]
    return next((a for a in assets if a.store), assets[0] if assets else None)


@contextmanager
def lent(connection: Connection, plan: Plan, stores: Mapping[str, PackageStore]) -> Iterator[None]:
    """The host's tools replaced by lent ones, for the time of the context.

    Raises:
        PreconditionFailed: the packages of the tools are in no store and no cache, or nothing may run on the host.
        Transient: host or store do not answer.
    """
    asset = asset_of(plan, connection.name)
    if asset is None:
        raise PreconditionFailed(
            "the plan has no Debian packages of this host.", connection.name, "add an asset of kind dpkg"
        )
    files = _files(connection, asset, stores.get(asset.store) if asset.store else None)
    folder = _place(connection, files)
    connection.tools = folder
    try:
        yield
    finally:
        connection.tools = ""
        with contextlib.suppress(ReinstateError):  # left over in memory until the next boot: harmless
            connection.remove_files(folder)


def _place(connection: Connection, files: Sequence[Sent]) -> str:
    """Put the tools where programs may run; returns the folder."""
    said = ""
    for place in PLACES:
        folder = f"{place}/reinstate-tools-{secrets.token_hex(8)}"
        try:
            count = connection.send_files(folder, files)
        except PreconditionFailed as error:
            said = str(error)
            with contextlib.suppress(PreconditionFailed):
                connection.remove_files(folder)
            continue
        connection.tools = folder
        runs = connection.run(Command(("cat", "/proc/self/cmdline"), sudo=True, timeout=30.0))
        if runs.ok and runs.stdout:
            _LOG.info("%s works with %d lent tools (%d KiB).", connection.name, len(files), count >> 10)
            return folder
        connection.tools, said = "", runs.tail(2)
        connection.remove_files(folder)
    raise PreconditionFailed(
        f"known-good tools could not be run on the host: {said}.",
        connection.name,
        "make /dev/shm writable without noexec, or repair the tools by hand",
    )


def _files(connection: Connection, asset: DpkgAsset, store: PackageStore | None) -> list[Sent]:
    """Programs and libraries of the packages, as they go to the host."""
    wanted = closure(_status(connection))
    offers = _offers(connection, asset, list(wanted.values()), store)
    missing = [f"{one[0]} {one[1]}" for one in wanted.values() if one not in offers]
    if missing:
        raise PreconditionFailed(
            f"the host's own tools are damaged, and {', '.join(missing[:5])}"
            f"{f' and {len(missing) - 5} more' if len(missing) > 5 else ''} are in no package store and no cache.",
            connection.name,
            "name a `store` for its packages in the plan and fill it from an equal healthy host with "
            "`reinstate packages stock`",
        )
    key = tuple(sorted(offer.sha256 for offer in offers.values()))
    if key in _UNPACKED:
        return _UNPACKED[key]
    found: dict[str, Sent] = {}
    with tempfile.TemporaryDirectory() as folder:
        for one, offer in offers.items():
            local = _get(connection, offer, store, Path(folder))
            _take(local, one[0], found)
            local.unlink()
    found["bin/sh"] = Sent("bin/sh", link="dash")
    _UNPACKED.clear()
    return _UNPACKED.setdefault(key, list(found.values()))


def _take(deb: Path, package: str, found: dict[str, Sent]) -> None:
    names = {name for name in (*toolbox.PROGRAMS.get(package, ()), *ALSO.get(package, ())) if package in LEND}
    names |= {"dash"} if package == "dash" else set()

    def chosen(path: str) -> bool:
        parent, _, name = path.rpartition("/")
        program = name in names and parent.rpartition("/")[2] in {"bin", "sbin"}
        return program or bool(_LIBRARY.search(path) and not _FOUNDATION.match(name))

    for path, (info, data) in members(deb, chosen).items():
        name = path.rpartition("/")[2]
        place = f"bin/{name}" if name in names else f"lib/{name}"
        link = info.linkname.rpartition("/")[2] if info.issym() else ""
        if link != name:
            found[place] = Sent(place, data, 0o755, link)


def closure(status: str) -> dict[str, Wanted]:
    """The lent packages and every package they depend on, as installed, by name."""
    entries: dict[str, Mapping[str, str]] = {}
    for fields in dpkg.stanzas(status):
        if fields.get("Package") and fields.get("Status", "").split()[-1:] != ["not-installed"]:
            entries.setdefault(fields["Package"], fields)
    provided = {
        word: name
        for name, fields in entries.items()
        for word in _NAME.findall(re.sub(r"\([^)]*\)", "", fields.get("Provides", "")))
    }
    todo, found = list(LEND), dict[str, Wanted]()
    while todo:
        name = todo.pop()
        name = name if name in entries else provided.get(name, "")
        if not name or name in found:
            continue
        entry = entries[name]
        found[name] = (name, entry.get("Version", ""), entry.get("Architecture", ""))
        for key in ("Depends", "Pre-Depends"):
            for alternatives in re.sub(r"\([^)]*\)|:[a-z0-9]+", "", entry.get(key, "")).split(","):
                first = next((a.strip() for a in alternatives.split("|") if a.strip() in entries), "")
                todo += [first] if first.startswith(("lib", "zlib", "gcc")) else []
    return found


def _status(connection: Connection) -> str:
    for name in ("/var/lib/dpkg/status", "/var/lib/dpkg/status-old"):
        with contextlib.suppress(PreconditionFailed):
            text = connection.fetch_file(name, 64 << 20).decode("utf-8", "surrogateescape")
            if not dpkg.tear(text.replace("\0", "\x01")) and text.strip():
                return text
    raise PreconditionFailed(
        "the host's tools and its package database are both damaged.",
        connection.name,
        "restore /var/lib/dpkg/status from a backup by hand, then examine again",
    )


def _offers(
    connection: Connection, asset: DpkgAsset, wanted: Sequence[Wanted], store: PackageStore | None
) -> dict[Wanted, Offer]:
    """Files of the store first: nothing of the host has to work for them."""
    offers: dict[Wanted, Offer] = {}
    refused: list[str] = []
    if store is not None:
        try:
            index = store.index()
        except PreconditionFailed as error:
            refused.append(str(error))
        else:
            for one in wanted:
                file = index.find("deb", one[0], one[1], tuple(dict.fromkeys((one[2], "all"))))
                if file is not None:
                    offers[one] = package_sources.offer_of(store, file)
    lacking = [one for one in wanted if one not in offers]
    if lacking:
        found = package_sources.find(connection, asset, lacking, None).offers
        offers |= {one: offer for one, offer in found.items() if offer.source == "host-cache" or offer.local}
    return {one: offers[one] for one in wanted if one in offers}


def _get(connection: Connection, offer: Offer, store: PackageStore | None, folder: Path) -> Path:
    name = offer.filename.rpartition("/")[2]
    if offer.source.startswith("store:") and store is not None:
        return store.fetch(offer.filename, offer.sha256, folder)
    path = folder / name
    path.write_bytes(connection.fetch_file(offer.local or f"{CACHE}/{name}", 1 << 30))
    if sha256_of(path) != offer.sha256:
        raise PreconditionFailed(
            f"{name} of the host is not the file its signed index names.",
            connection.name,
            "use a package store",
        )
    return path


def equip(
    stack: ExitStack, connections: Sequence[Connection], file: PlanFile, memory: Memory
) -> dict[str, tuple[Broken, ...]]:
    """Try the tools of hosts, side by side, and lend each what it lacks until the stack is closed.

    Returns:
        What is broken, by host. Where nothing can be lent, the checks say what they could not examine.

    Raises:
        Transient: a host does not answer.
    """
    own = [connection for connection in connections if asset_of(file.plan, connection.name) is not None]
    found = {one.name: broken for one, broken in zip(own, side_by_side(toolbox.probe, own), strict=True)}
    for connection in own:
        broken = found[connection.name]
        if not any(tool.needed for tool in broken):
            continue
        try:
            stack.enter_context(lent(connection, file.plan, file.package_stores(memory)))
        except Transient:
            raise
        except ReinstateError as error:
            _LOG.warning("%s", error)
            said = f"; {error.what} {error.remedy}"
            found[connection.name] = tuple(replace(tool, why=f"{tool.why}{said}") for tool in broken)
            continue
        if any(tool.name == "sh" for tool in broken):  # it hid the others
            found[connection.name] = (*broken, *toolbox.probe(connection))
    return found
