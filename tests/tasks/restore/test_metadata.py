"""Everything a file is comes back: extended attributes, access control lists, capabilities, hard links, holes (N1)."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.backups.base import BackupStore
from blocks.keys import SigningKey
from checks import files
from model.draft import Draft
from model.errors import PreconditionFailed, ReinstateError
from model.finding import CheckResult, Code, Verdict
from model.manifest import Manifest, RecoveryPoint
from model.proposal import Action, RestoreFiles, SetMetadata
from model.rungs import files as rung
from model.supplies import PointSupply, Supplies
from tasks import restore_files, set_metadata
from tasks.backup_files import back_up_files
from tasks.snapshot import take_snapshot
from tasks.undo import roll_back_files
from tests.model.builders import plan_for
from tests.support.stores import make_directory_store
from tests.tasks.localhost import JobHost, fingerprint, quiet
from tests.tasks.restore.test_restore_files import asset_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root sets owners and capabilities")

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def acl(user: int, group_permissions: int = 5) -> bytes:
    """An access control list that lets one more user read and write."""
    none = 0xFFFFFFFF
    rows = [(1, 6, none), (2, 6, user), (4, 4, none), (16, group_permissions, none), (32, 4, none)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "srv"
    (root / "shared" / "in").mkdir(parents=True)
    for name in ("a", "b", "c", "tool", "z-first"):
        (root / name).write_bytes(name.encode() * 5000)
    (root / "shared" / "in" / "doc").write_text("a document")
    os.link(root / "a", root / "shared" / "alias")
    os.link(root / "a", root / "y")
    try:
        os.setxattr(root / "b", "user.odd name\n", b"\x00\xff;: '\n")
        os.setxattr(root / "b", "user.empty", b"")
        os.setxattr(root / "shared", "user.owner", "Lena Müller".encode())
        os.setxattr(root / "c", "system.posix_acl_access", acl(1234))
        os.setxattr(root / "shared", "system.posix_acl_default", acl(4321))
        os.setxattr(root / "tool", "security.capability", CAPABILITY)
    except OSError as error:
        pytest.skip(f"this file system keeps no such attributes: {error}")
    with (root / "holes").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
    old = 1_600_000_000_123_456_789
    for path in [*sorted(root.rglob("*"), reverse=True), root]:
        os.utime(path, ns=(old, old), follow_symlinks=False)
    return root


@pytest.fixture
def host(tmp_path: Path) -> JobHost:
    return JobHost(tmp_path / "state")


@pytest.fixture
def store(signing: SigningKey, tmp_path: Path) -> BackupStore:
    return make_directory_store(signing, tmp_path)


def check(host: JobHost, root: Path, manifest: Manifest) -> CheckResult:
    return files.judge("site", asset_of(root), files.collect(host, asset_of(root), manifest), manifest)


def propose(root: Path, point: RecoveryPoint, manifest: Manifest, result: CheckResult) -> list[Action]:
    supply = PointSupply(asset="site", point=point, manifest=manifest)
    machine = manifest.machine_id
    draft = Draft(plan_for("web", machine), {"web": machine}, Supplies(points=(supply,)), {}, point.taken_at)
    rung(draft, "site", asset_of(root), result.findings, [])
    assert [] == draft.unmet
    return [action.model_copy(update={"id": f"a{n:02d}"}) for n, action in enumerate(draft.actions, 1)]


def act(host: JobHost, root: Path, store: BackupStore, action: Action, number: int) -> None:
    named = {"job_prefix": f"inc-a{number:02d}-1", "token": 1, "progress": quiet}
    if isinstance(action, RestoreFiles):
        restore_files.perform(host, asset_of(root), action, store, **named)  # type: ignore[arg-type] # as named
    else:
        assert isinstance(action, SetMetadata)
        set_metadata.perform(host, asset_of(root), action, **named)  # type: ignore[arg-type] # as named


def prepare(host: JobHost, root: Path, store: BackupStore) -> tuple[RecoveryPoint, Manifest]:
    point = back_up_files(host, "site", asset_of(root), "web", store, quiet)
    return point, store.manifest(point)


def test_whole_tree_comes_back_with_everything_its_files_are(
    host: JobHost, tree: Path, store: BackupStore
) -> None:
    """N1, N7: attributes, lists, links and holes are part of the declared final state."""
    before, blocks = fingerprint(tree), (tree / "holes").stat().st_blocks
    point, manifest = prepare(host, tree, store)
    assert Verdict.PASSED is check(host, tree, manifest).verdict
    shutil.rmtree(tree)
    for number, action in enumerate(propose(tree, point, manifest, check(host, tree, manifest))):
        act(host, tree, store, action, number)
    assert before == fingerprint(tree)
    assert (tree / "holes").stat().st_blocks <= blocks + 16
    assert Verdict.PASSED is check(host, tree, manifest).verdict


def _unlink(root: Path) -> None:
    (root / "y").unlink()
    shutil.copy2(root / "a", root / "y")


def _join(root: Path) -> None:
    content, times = (root / "c").read_bytes(), (root / "c").stat()
    (root / "z-first").write_bytes(content)
    (root / "z-first").unlink()
    os.link(root / "c", root / "z-first")
    os.utime(root / "c", ns=(times.st_atime_ns, times.st_mtime_ns))


def _overwrite(root: Path) -> None:
    (root / "a").write_bytes(b"damaged under all of its names")


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "codes"),
    [
        (lambda root: os.removexattr(root / "b", "user.empty"), {Code.FILE_ATTRIBUTES_DIFFER}),
        (lambda root: os.setxattr(root / "b", "user.more", b"x"), {Code.FILE_ATTRIBUTES_DIFFER}),
        (lambda root: os.setxattr(root / "shared", "user.owner", b"x"), {Code.FILE_ATTRIBUTES_DIFFER}),
        (
            lambda root: os.removexattr(root / "shared", "system.posix_acl_default"),
            {Code.FILE_ATTRIBUTES_DIFFER},
        ),
        (
            lambda root: os.setxattr(root / "c", "system.posix_acl_access", acl(99)),
            {Code.FILE_ATTRIBUTES_DIFFER},
        ),
        (
            lambda root: os.setxattr(root / "a", "system.posix_acl_access", acl(99, 7)),
            {Code.FILE_ATTRIBUTES_DIFFER, Code.FILE_MODE_DIFFERS},
        ),
        (lambda root: (root / "c").chmod(0o600), {Code.FILE_MODE_DIFFERS}),
        (
            lambda root: os.removexattr(root / "tool", "security.capability"),
            {Code.FILE_CAPABILITIES_DIFFER},
        ),
        (
            lambda root: os.setxattr(root / "a", "security.capability", CAPABILITY),
            {Code.FILE_CAPABILITIES_DIFFER},
        ),
        (_unlink, {Code.FILE_HARD_LINK_BROKEN}),
        (
            _join,
            {
                Code.FILE_HARD_LINK_BROKEN, Code.FILE_CONTENT_DIFFERS, Code.FILE_ATTRIBUTES_DIFFER,
                Code.FILE_MODE_DIFFERS,
            },
        ),
        (_overwrite, {Code.FILE_CONTENT_DIFFERS}),
        (lambda root: (root / "a").unlink(), {Code.FILE_MISSING}),
        (lambda root: shutil.rmtree(root / "shared"), {Code.FILE_MISSING}),
    ],
    ids=[
        "attribute lost", "attribute gained", "attribute of a folder", "default list lost", "list changed",
        "list and mode", "mask changed", "capability lost", "capability gained", "link parted", "files joined",
        "linked file overwritten", "first name lost", "folder with list lost",
    ],
)  # fmt: skip
def test_each_damage_is_found_cured_alone_and_undone_bit_for_bit(
    host: JobHost, tree: Path, store: BackupStore, tmp_path: Path, damage: Damage, codes: set[Code]
) -> None:
    """Found by code; cured as it was; rolled back from the snapshot to what it was before the recovery."""
    before = fingerprint(tree)
    point, manifest = prepare(host, tree, store)
    damage(tree)
    damaged = fingerprint(tree)
    result = check(host, tree, manifest)
    assert codes == {finding.code for finding in result.findings}
    actions = propose(tree, point, manifest, result)
    touched = sorted({path for action in actions for path in action.touches})
    take_snapshot(host, touched, tmp_path / "snap", quiet)
    for number, action in enumerate(actions):
        act(host, tree, store, action, number)
    assert _without_folder_times(before) == _without_folder_times(fingerprint(tree))
    assert Verdict.PASSED is check(host, tree, manifest).verdict
    roll_back_files(host, tmp_path / "snap", None, job_prefix="inc-undo-1", token=1, progress=quiet)
    assert damaged == fingerprint(tree)


def _without_folder_times(found: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """A folder's time changes with what is put into it; a manifest's is set only where the folder is made."""
    return {
        path: (*said[:3], said[3] if said[5] else 0, *said[4:]) for path, said in found.items()
    }  # fmt: skip


def test_host_without_python_uses_setfattr_or_says_what_is_missing(
    host: JobHost, tree: Path, store: BackupStore, tmp_path: Path
) -> None:
    """No silent loss: what cannot be set or seen is said (G8)."""
    before = fingerprint(tree)
    point, manifest = prepare(host, tree, store)
    (tree / "b").write_bytes(b"damaged")
    (action,) = propose(tree, point, manifest, check(host, tree, manifest))
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in (*Path("/usr/bin").iterdir(), *Path("/bin").iterdir()):
        if not tool.name.startswith(("python", "setfattr")) and not (tools / tool.name).exists():
            (tools / tool.name).symlink_to(tool)
    bare = JobHost(tmp_path / "state", path=str(tools))
    with pytest.raises(PreconditionFailed, match="extended attributes") as caught:
        act(bare, tree, store, action, 1)
    assert "python3" in caught.value.remedy
    assert b"damaged" == (tree / "b").read_bytes()
    said = check(bare, tree, manifest)
    assert any("python3" in note for note in said.not_checked)
    setfattr = shutil.which("setfattr")
    if setfattr is None:
        return  # the package `attr` is not on this machine
    (tools / "setfattr").symlink_to(setfattr)
    act(bare, tree, store, action, 2)
    assert before == fingerprint(tree)


def test_snapshot_taken_again_after_an_attribute_changed_is_a_new_one(
    host: JobHost, tree: Path, tmp_path: Path
) -> None:
    """G4: what is preserved is what is there now."""
    paths = [str(path) for path in tree.rglob("*")]
    first = take_snapshot(host, paths, tmp_path / "snap", quiet)
    assert first == take_snapshot(host, paths, tmp_path / "snap", quiet)
    os.setxattr(tree / "a", "user.new", b"1")
    assert first != take_snapshot(host, paths, tmp_path / "snap", quiet)


def test_attributes_that_do_not_hold_are_an_error(host: JobHost, tree: Path, store: BackupStore) -> None:
    """N7: the final state equals the manifest, or the verdict is not success."""
    point, manifest = prepare(host, tree, store)
    os.removexattr(tree / "b", "user.empty")
    (action,) = propose(tree, point, manifest, check(host, tree, manifest))
    host.before_job = lambda _name: (tree / "b").unlink()
    with pytest.raises(ReinstateError):
        act(host, tree, store, action, 1)
