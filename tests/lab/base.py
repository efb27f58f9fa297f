"""The base root file system: built once from this machine's own Debian archive, then cached.

The Debian base holds every package that is installed in it a second time, as a `.deb` in `/srv/pool`, and knows no
other source: whatever a test breaks can be reinstalled in exactly the same version without a network. The RPM base has
a signed repository of demo packages in `/srv/repo`, built in it, and what must be refused in `/srv/hostile`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab import aptsource, cgroups

PACKAGES = (
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    # Its library, libGeoIP, is used by nginx and by nothing else: it can be damaged without losing the host.
    "libnginx-mod-http-geoip",
    "nginx-light",
    "openssh-server",
    "postgresql",
    "procps",
    "python3",
    "sudo",
    "systemd-sysv",
)
RPM_PACKAGES = (
    "ca-certificates",
    "createrepo-c",
    "curl",
    "dbus",
    "dnf",
    "gnupg",
    "iproute2",
    "libcap2-bin",
    "openssh-server",
    "procps",
    "python3",
    "rpm",
    "sudo",
    "systemd-sysv",
)
DATA_PACKAGES = (
    "acl",
    "attr",
    "borgbackup",
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "mariadb-backup",
    "mariadb-server",
    "openssh-server",
    "pgbackrest",
    "postgresql",
    "procps",
    "python3",
    "restic",
    "rsync",
    "sqlite3",
    "sudo",
    "systemd-sysv",
)
OBJECT_PACKAGES = (
    "ceph-mgr",
    "ceph-mon",
    "ceph-osd",
    "dbus",
    "iproute2",
    "openssh-server",
    "procps",
    "python3",
    "radosgw",
    "sudo",
    "systemd-sysv",
)
# Raise this when the way a base is built changes; the package list and the set-up files count by themselves.
RECIPE = 2
POOL = Path("srv/pool")
KEYRING = Path("etc/apt/keyrings/lab.gpg")
BUILD_SECONDS = 600
_HERE = Path(__file__).parent
_TOOLS = (
    "systemd-nspawn",
    "apt-get",
    "apt-ftparchive",
    "gpg",
    "ip",
    "nsenter",
    "ssh-keygen",
    "mount",
    "umount",
)
_CAPABILITIES = 1 << 12 | 1 << 21  # CAP_NET_ADMIN, CAP_SYS_ADMIN
_ARCHIVES = "var/cache/apt/archives"


class LabError(RuntimeError):
    """The laboratory itself does not work; says nothing about the code under test."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a base is made of.

    Attributes:
        name: Part of its directory's name.
        packages: Debian packages in it.
        setup: The script that runs once inside; all the files are beside it in `/base_setup`.
        files: What the script needs.
        pool: Whether the packages are kept in the base as its only source of packages.
    """

    name: str
    packages: tuple[str, ...]
    setup: Path
    files: tuple[Path, ...] = ()
    pool: bool = True

    def key(self, suite: str) -> str:
        """Hash of everything that a finished base depends on."""
        digest = hashlib.sha256()
        texts = [path.read_text(encoding="utf-8") for path in (self.setup, *self.files)]
        for part in (str(RECIPE), suite, platform.machine(), *self.packages, *texts):
            digest.update(part.encode() + b"\0")
        return digest.hexdigest()[:12]


_COMMON = _HERE / "base_common.sh"
DEBIAN = Recipe("base", PACKAGES, _HERE / "base_setup.sh", (_COMMON,))
DATA = Recipe("data", DATA_PACKAGES, _HERE / "data_setup.sh", (_COMMON,), pool=False)
OBJECTS = Recipe("objects", OBJECT_PACKAGES, _HERE / "objects_setup.sh", (_COMMON,), pool=False)
RPM = Recipe(
    "rpm", RPM_PACKAGES, _HERE / "rpm_setup.sh", (_COMMON, *sorted((_HERE / "rpm").iterdir())), pool=False
)


@dataclass(frozen=True, slots=True)
class Base:
    """A finished base.

    Attributes:
        root: Its root directory; read-only by convention, as the lower layer of every clone.
        suite: Code name of the distribution in it.
        key: Hash of the recipe it was made from.
    """

    root: Path
    suite: str
    key: str


def missing_prerequisites() -> list[str]:
    """Return what this machine lacks to run laboratory hosts, in words; empty when it can."""
    if platform.system() != "Linux":
        return ["Linux"]
    missing = [] if os.geteuid() == 0 else ["root privileges"]
    capabilities = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if not missing and (capabilities is None or ~int(capabilities[1], 16) & _CAPABILITIES):
        missing.append("a root that may mount and make networks (this is an unprivileged container)")
    missing += [tool for tool in _TOOLS if shutil.which(tool) is None]
    if shutil.which("mmdebstrap") is None and shutil.which("debootstrap") is None:
        missing.append("mmdebstrap or debootstrap")
    if not aptsource.own_sources(aptsource.codename()):
        missing.append("an apt source of this machine's own distribution")
    return missing


def cache_directory() -> Path:
    """Return where bases and running hosts are kept: `$REINSTATE_LAB_CACHE`, or the usual cache of this user."""
    configured = os.environ.get("REINSTATE_LAB_CACHE")
    if configured:
        return Path(configured)
    if os.geteuid() == 0:
        return Path("/var/cache/reinstate-lab")
    return Path.home() / ".cache" / "reinstate-lab"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, so that two processes of one machine take turns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def ensure_base(cache: Path | None = None, recipe: Recipe = DEBIAN) -> Base:
    """Return the base of a recipe, building it first when it is not cached (about a minute).

    Args:
        cache: Directory to keep it in; `cache_directory()` by default.
        recipe: What it is made of.

    Raises:
        LabError: The machine lacks something, or the build failed; the message ends with the tool's last lines.
    """
    missing = missing_prerequisites()
    if missing:
        raise LabError(f"this machine cannot run laboratory hosts; it lacks: {', '.join(missing)}")
    cache = cache or cache_directory()
    suite = aptsource.codename()
    key = recipe.key(suite)
    root = cache / f"{recipe.name}-{suite}-{key}"
    with locked(cache / f"{recipe.name}-{key}.lock"):
        if not root.is_dir():
            unfinished = root.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _build(unfinished, suite, recipe)
            unfinished.rename(root)
    return Base(root, suite, key)


def run(
    argv: Sequence[str | Path], *, seconds: float = 60, environment: Mapping[str, str] | None = None
) -> str:
    """Run a program of this machine and return what it printed.

    Args:
        argv: The program and its arguments.
        seconds: How long it may take.
        environment: Variables to add to this process's own.

    Raises:
        LabError: It failed or took longer than `seconds`.
    """
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        raise LabError(f"{argv[0]} took longer than {seconds} s") from expired
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise LabError(f"{argv[0]} failed with exit status {done.returncode}:\n{tail}")
    return done.stdout


def _build(root: Path, suite: str, recipe: Recipe) -> None:
    sources = aptsource.own_sources(suite)
    if shutil.which("mmdebstrap"):
        _mmdebstrap(root, suite, sources, recipe.packages)
    else:
        _debootstrap(root, suite, sources, recipe.packages)
    if recipe.pool:
        _stock_pool(root)
    setup = root / "base_setup"
    setup.mkdir()
    for path in (recipe.setup, *recipe.files):
        shutil.copyfile(path, setup / path.name)
    # A container without an init, because it brings /proc, /dev and a hidden network with it.
    inside = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--pipe", "--private-network"]
    environment = ["--setenv=DEBIAN_FRONTEND=noninteractive", "--setenv=LC_ALL=C.UTF-8"]
    group = f"labbuild{os.getpid()}"
    command = [*inside, *environment, f"--directory={root}", "/bin/sh", f"/base_setup/{recipe.setup.name}"]
    try:
        run(cgroups.joining(command), seconds=BUILD_SECONDS, environment=cgroups.create(group))
    finally:
        cgroups.remove(group)
    shutil.rmtree(setup)


def _mmdebstrap(
    root: Path, suite: str, sources: Sequence[aptsource.AptSource], packages: Sequence[str]
) -> None:
    keep_downloads = ["--skip=cleanup/apt", "--skip=essential/unlink", "--skip=download/empty"]
    run(
        [
            *("mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", *keep_downloads),
            '--aptopt=APT::Keep-Downloaded-Packages "true"',
            f"--include={','.join(packages)}",
            *(suite, root),
            *(source.line() for source in sources),
        ],
        seconds=BUILD_SECONDS,
    )


def _debootstrap(
    root: Path, suite: str, sources: Sequence[aptsource.AptSource], packages: Sequence[str]
) -> None:
    # debootstrap knows one suite only; the release itself comes first. It keeps what it downloaded.
    release = sources[0]
    keyring = [f"--keyring={release.signed_by}"] if release.signed_by else []
    options = [
        "--variant=minbase",
        f"--include={','.join(packages)}",
        f"--components={','.join(release.components)}",
    ]
    run(["debootstrap", *options, *keyring, suite, root, release.uri], seconds=BUILD_SECONDS)


def _stock_pool(root: Path) -> None:
    pool = root / POOL
    pool.mkdir(parents=True)
    for deb in sorted((root / _ARCHIVES).glob("*.deb")):
        # apt writes the epoch into the name as `_1%3a2`, and would decode that again when it reads file: sources.
        deb.rename(pool / re.sub(r"_\d+%3a", "_", deb.name))
    (pool / "Packages").write_text(_ftparchive(pool, "packages"), encoding="utf-8")
    sign_pool(pool, root / KEYRING)


def sign_pool(pool: Path, keyring: Path) -> None:
    """Write the pool's `InRelease`, signed with a key nobody keeps, and the keyring that verifies it.

    Args:
        pool: folder with a `Packages` index.
        keyring: where the public key goes.
    """
    release = pool / "Release"
    release.write_text(_ftparchive(pool, "release"), encoding="utf-8")
    keyring.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        gpg = ["gpg", "--homedir", home, "--batch", "--yes", "--quiet", "--passphrase", ""]
        run([*gpg, "--quick-generate-key", "Reinstate laboratory", "ed25519", "sign", "0"])
        run([*gpg, "--output", str(pool / "InRelease"), "--clearsign", str(release)])
        run([*gpg, "--output", str(keyring), "--export"])
        run(["gpgconf", "--homedir", home, "--kill", "all"])
    keyring.chmod(0o644)


def _ftparchive(pool: Path, what: str) -> str:
    done = subprocess.run(
        ["apt-ftparchive", what, "."],
        cwd=pool,
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    if done.returncode or not done.stdout:
        raise LabError(f"apt-ftparchive could not make the pool's {what}:\n{done.stderr}")
    return done.stdout
