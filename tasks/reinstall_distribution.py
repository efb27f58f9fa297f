"""Installing the same version of a Python distribution again, offline, from the exact wheel that was signed for."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from blocks.hosts.base import Connection
from blocks.packages import PackageStore
from checks.wheels import judge
from model.assets import PipAsset
from model.command import Command, printable
from model.errors import BadInput, Damaged, PreconditionFailed, ReinstateError
from model.proposal import ReinstallDistribution
from tasks.performed import Performed
from tasks.staging import PLAIN, Progress, ask, staging

INSTALL_SECONDS = 900.0
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*\.whl\Z")
_FLAGS = (
    *("--force-reinstall", "--no-deps", "--no-index", "--no-cache-dir", "--no-input"),
    *("--disable-pip-version-check", "--no-warn-script-location", "--root-user-action=ignore"),
)

# What is known of a distribution in an environment, without running anything of it (no site, no .pth): version, RECORD,
# the files pip knows, files in its folders that no distribution knows, and who owns the environment. Name and version
# are those of the .dist-info folder: METADATA may be what is damaged.
_LOOK = r"""
import importlib.metadata as metadata, json, os, re, sys, sysconfig
def plain(name): return re.sub(r"[-_.]+", "-", name or "").lower()
prefix = os.path.dirname(os.path.dirname(sys.argv[2]))
where = {}
if os.path.exists(os.path.join(prefix, "pyvenv.cfg")):
    scheme = "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix"
    where = {"scheme": scheme, "vars": {"base": prefix, "platbase": prefix}}
site = [sysconfig.get_path(name, **where) for name in ("purelib", "platlib")]
site = list(dict.fromkeys(os.path.realpath(path) for path in site))
found, known, mine = [], set(), []
for dist in metadata.distributions(path=site):
    home = str(getattr(dist, "_path", ""))
    stem = os.path.basename(home)[:-10].split("-") if home.endswith(".dist-info") else ()
    name, version = stem if len(stem) == 2 else (dist.metadata["Name"], dist.version)
    try:
        files = [os.path.realpath(str(dist.locate_file(f))) for f in dist.files or ()]
    except Exception:
        files = []
    try:
        recorded = dist.read_text("RECORD") is not None
    except Exception:
        recorded = False
    known.update(files)
    if plain(name) == plain(sys.argv[1]):
        found.append({"version": version, "record": recorded, "site": os.path.dirname(home)})
        mine += files
folders = {os.path.dirname(f) for f in mine if any(f.startswith(s + os.sep) for s in site)} - set(site)
stale = [
    os.path.join(folder, name)
    for folder in sorted(folders) if os.path.isdir(folder) and not folder.endswith("__pycache__")
    for name in sorted(os.listdir(folder))
    if os.path.isfile(os.path.join(folder, name)) and os.path.realpath(os.path.join(folder, name)) not in known
]
status = os.stat(site[0])
print(json.dumps({"found": found, "files": mine, "stale": stale, "uid": status.st_uid, "gid": status.st_gid,
    "me": os.geteuid(), "site": site[0]}))
"""
_UV_FLAGS = (
    *(
        "--no-deps",
        "--no-index",
        "--offline",
        "--no-cache",
        "--no-config",
        "--no-build",
        "--link-mode",
        "copy",
    ),
    *("--no-python-downloads", "--no-progress", "--color", "never"),
)
UNPACK = Path(__file__).with_name("wheel_unpack.py")
_OWN = 'exec xargs -0 -r chown -h -- "$1"'


def perform(
    connection: Connection,
    asset: PipAsset,
    action: ReinstallDistribution,
    package_stores: Mapping[str, PackageStore],
    *,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    """Push the wheel, verify it, install it, and see it installed.

    Raises:
        Damaged: the wheel is not the one that was signed for; nothing was changed.
        PreconditionFailed: it is not in the store, or another version is installed by now; nothing was changed.
        Transient: the connection was lost; calling again goes on.
        ReinstateError: pip failed; the message holds its last words.
    """
    if not _FILENAME.match(action.filename.rpartition("/")[2]):
        raise BadInput(f"{action.filename!r} is no name of a wheel.", connection.name, "propose again")
    if asset.store not in package_stores:
        raise PreconditionFailed(
            f"the plan has no package store {asset.store}.", connection.name, "propose again"
        )
    with tempfile.TemporaryDirectory() as folder:
        wheel = package_stores[asset.store].fetch(action.filename, action.sha256, Path(folder))
        _verify_wheel(wheel, action, connection.name)
        return _install(connection, asset, action, wheel, job_prefix, token, progress)


def _install(
    connection: Connection,
    asset: PipAsset,
    action: ReinstallDistribution,
    wheel: Path,
    job_prefix: str,
    token: int,
    progress: Progress,
) -> Performed:
    before = _Known.look(connection, asset, action.distribution)
    other = set(before.versions) - {action.version}
    if other:
        raise PreconditionFailed(
            f"{action.distribution} is at {printable(other.pop())} by now, the proposal is for {action.version}.",
            connection.name,
            "someone changed it since; propose again",
        )
    with staging(connection, job_prefix, token) as stage:
        staged = stage.push(wheel, wheel.name, action.sha256, progress)
        command = _command(asset, action, staged, before)
        result = connection.job(f"{job_prefix}-install", command, token)
        if not result.ok:
            raise ReinstateError(
                f"{action.tool} could not install {action.filename} (status {result.status}): {result.tail(6)}.",
                connection.name,
                "roll back, or cure what the message names and recover again",
            )
    after = _Known.look(connection, asset, action.distribution)
    if after.versions != [action.version] or not after.recorded:
        raise ReinstateError(
            f"{action.distribution} is {', '.join(map(printable, after.versions)) or 'not there'} after its "
            f"installation, not {action.version}.",
            connection.name,
            "look at the dist-info folders of the environment: one is left over",
        )
    if after.uid != 0 and after.me == 0:
        _give_back(connection, after, f"{job_prefix}-owner", token)
    sentence = f"{action.distribution} {action.version} was installed again."
    if after.stale:
        first = printable(after.stale[0])
        sentence += f" {len(after.stale)} files there belong to no distribution and were left, first {first}."
    return Performed(sentence, wheel.stat().st_size)


class _Known:
    """What `_LOOK` found."""

    def __init__(self, data: Mapping[str, object]) -> None:
        found = data["found"]
        assert isinstance(found, list)  # noqa: S101 - our own script wrote it
        self.versions = [str(one["version"]) for one in found]
        self.recorded = bool(found) and all(one["record"] for one in found)
        self.site = next((str(one["site"]) for one in found if one["site"]), str(data["site"]))
        self.files = [str(path) for path in _listed(data["files"])]
        self.stale = [str(path) for path in _listed(data["stale"])]
        self.uid, self.gid, self.me = (int(str(data[key])) for key in ("uid", "gid", "me"))

    @classmethod
    def look(cls, connection: Connection, asset: PipAsset, distribution: str) -> _Known:
        """Ask the environment.

        Raises:
            PreconditionFailed: its interpreter does not run.
        """
        result = ask(connection, asset.python, "-I", "-S", "-c", _LOOK, distribution, asset.python)
        try:
            return cls(json.loads(result.stdout))
        except ValueError as error:
            raise PreconditionFailed(
                f"{asset.python} does not run: {result.tail(2)}.",
                connection.name,
                "repair the package that holds this interpreter first",
            ) from error


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _verify_wheel(wheel: Path, action: ReinstallDistribution, where: str) -> None:
    judged = judge(wheel)
    says = (judged.name, judged.version)
    if says != (_plain(action.distribution), action.version):
        raise Damaged(
            f"the wheel says it is {' '.join(says)!r}, signed was '{action.distribution} {action.version}'.",
            where,
            "nothing was touched; find out who made this file, then propose again",
        )


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _command(asset: PipAsset, action: ReinstallDistribution, staged: str, before: _Known) -> Command:
    """The installing command. By name from the folder of that one wheel, so that no path of ours is recorded."""
    wanted = f"{action.distribution}=={action.version}"
    folder = staged.rpartition("/")[0]
    if action.tool == "unpack":
        prefix = str(PurePosixPath(asset.python).parent.parent)
        ours = (asset.python, "-I", "-S", "-", staged, before.site, prefix, asset.python, "pip")
        return Command(ours, stdin=UNPACK.read_bytes(), sudo=True, env=PLAIN, timeout=INSTALL_SECONDS)
    if action.tool == "uv":
        options = (
            "--python",
            asset.python,
            "--find-links",
            folder,
            "--reinstall-package",
            action.distribution,
        )
        words = (*asset.uv, "pip", "install", *_UV_FLAGS, *options, "--", wanted)
    else:
        # Without RECORD pip cannot uninstall and refuses; what it does not know of stays and is named.
        extra = () if before.recorded else ("--ignore-installed",)
        pip = tuple(word.replace("{python}", asset.python) for word in asset.pip)
        if _plain(action.distribution) == "pip":  # a damaged pip is installed by the pip in its own wheel
            pip = (asset.python, f"{staged}/pip")
        words = (*pip, "install", *_FLAGS, *extra, "--find-links", folder, "--", wanted)
    return Command(words, sudo=True, env=PLAIN | {"PYTHONNOUSERSITE": "1"}, timeout=INSTALL_SECONDS)


def _give_back(connection: Connection, after: _Known, name: str, token: int) -> None:
    """Give what root installed to the owner of the environment."""
    below = b"".join(path.encode("utf-8", "surrogateescape") + b"\0" for path in after.files)
    words = ("sh", "-c", _OWN, "reinstate-own", f"{after.uid}:{after.gid}")
    result = connection.job(
        name, Command(words, stdin=below, sudo=True, env=PLAIN, timeout=INSTALL_SECONDS), token
    )
    if not result.ok:
        raise ReinstateError(
            f"the files cannot be given to the environment's owner: {result.tail(2)}.",
            connection.name,
            "give them to that user by hand",
        )
