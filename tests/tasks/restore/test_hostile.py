"""Names that mislead, rights nobody signed for, disks too small: judged before the first byte lands (guarantees.md)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from blocks.backups.base import BackupStore
from blocks.backups.signed import Opened, seal, unseal
from blocks.keys import SigningKey
from checks import stat
from checks.fact import Fact
from model.canonical import digest
from model.errors import Damaged, PreconditionFailed
from model.manifest import Entry, FileType
from tasks import landing, staging
from tests.support.stores import make_directory_store
from tests.tasks.localhost import JobHost, fingerprint
from tests.tasks.restore.test_metadata import acl, act, check, prepare, propose
from tests.tasks.restore.test_restore_files import action_for

RTL = "invoice\u202egpj.exe"


@pytest.fixture
def host(tmp_path: Path) -> JobHost:
    return JobHost(tmp_path / "state")


@pytest.fixture
def store(signing: SigningKey, tmp_path: Path) -> BackupStore:
    return make_directory_store(signing, tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "srv"
    root.mkdir()
    for name in (RTL, "new\nline", os.fsdecode(b"latin-\xe9"), "README", "readme", "plain"):
        (root / name).write_bytes(name.encode("utf-8", "surrogateescape") * 100)
    return root


def test_misleading_names_come_back_and_are_never_shown_raw(
    host: JobHost, tree: Path, store: BackupStore
) -> None:
    """Right-to-left, newline, not UTF-8, two names that differ in case: all files like any other."""
    before = fingerprint(tree)
    point, manifest = prepare(host, tree, store)
    for path in tree.iterdir():
        path.unlink()
    result = check(host, tree, manifest)
    (action,) = propose(tree, point, manifest, result)
    act(host, tree, store, action, 1)
    assert {p: s for p, s in before.items() if s[5]} == {p: s for p, s in fingerprint(tree).items() if s[5]}
    broken = manifest.model_copy(
        update={"entries": (*manifest.entries, Entry(path=f"{RTL}/x", type=FileType.FILE, offset=0))}
    )
    with pytest.raises(Damaged) as caught:
        landing.judge(broken, "local")
    assert "\u202e" not in str(caught.value)
    assert "u202egpj.exe" in str(caught.value)


def test_names_that_differ_in_case_are_refused_where_the_file_system_mixes_them_up(
    host: JobHost, tree: Path, store: BackupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One would overwrite the other: refused before anything lands, and only there."""
    point, manifest = prepare(host, tree, store)
    action = action_for(point, manifest, tree)
    (tree / "plain").write_text("damaged")
    act(host, tree, store, action, 1)
    (tree / "plain").write_text("damaged")
    genuine = stat.collect

    def insensitive(
        connection: JobHost, paths: Iterable[str], *args: object, **named: object
    ) -> dict[str, Fact]:
        asked = list(paths)
        found = genuine(connection, asked, *args, **named)  # type: ignore[arg-type] # passed on
        other = str(tree.parent / "SRV")
        if other in found:
            found[other] = found[str(tree)]
        return found

    monkeypatch.setattr(landing, "collect", insensitive)
    with pytest.raises(PreconditionFailed, match="same name to the file system"):
        act(host, tree, store, action, 2)
    assert "damaged" == (tree / "plain").read_text()
    assert ["inc-a01-1-swap"] == list(host.jobs)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sets capabilities")
def test_rights_come_back_only_as_the_signed_manifest_says(
    host: JobHost, tree: Path, store: BackupStore
) -> None:
    """Set-uid bits, capabilities and lists of the staging or of the damaged file never survive the restore."""
    (tree / "plain").chmod(0o4750)
    before = fingerprint(tree)
    point, manifest = prepare(host, tree, store)
    action = action_for(point, manifest, tree, "plain", "README")
    for name in ("plain", "README"):
        (tree / name).write_text("damaged")
        (tree / name).chmod(0o6777)
        os.setxattr(tree / name, "security.capability", bytes.fromhex("0100000200200000" + "00" * 12))
        os.setxattr(tree / name, "system.posix_acl_access", acl(1234))
    act(host, tree, store, action, 1)
    assert {p: s for p, s in before.items() if s[5]} == {p: s for p, s in fingerprint(tree).items() if s[5]}
    stolen = action.model_copy(
        update={"files": tuple(e.model_copy(update={"mode": 0o4755}) for e in action.files)}
    )
    with pytest.raises(Damaged, match="signed"):
        act(host, tree, store, stolen, 2)


def test_what_cannot_fit_is_refused_before_it_is_fetched(
    host: JobHost, tree: Path, store: BackupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bomb, or just a small disk: no byte is moved."""
    point, manifest = prepare(host, tree, store)
    (tree / "plain").write_text("damaged")
    monkeypatch.setattr(staging, "_ROOM", "echo 3 64 0")
    with pytest.raises(PreconditionFailed, match="192 are free"):
        act(host, tree, store, action_for(point, manifest, tree, "plain"), 1)
    assert "damaged" == (tree / "plain").read_text()
    assert {} == host.jobs
    assert not any((Path(host.host.state_dir) / "staging").iterdir())


def test_endless_listing_is_given_up(host: JobHost, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten million tiny files are refused by name while they are listed, not held in memory."""
    monkeypatch.setattr(stat, "MOST_PATHS", 5)
    with pytest.raises(PreconditionFailed, match="more than 5 paths"):
        stat.list_tree(host, str(tree))


Forge = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    "forge",
    [
        lambda data: data.replace(b'"plain"', b'"pwned"'),
        lambda data: data.replace(b'"signature":"', b'"signature":"x'),
        lambda data: data[:-1] + b" }",
        lambda data: data.replace(b'"manifest":', b'"manifest": '),
    ],
    ids=["changed", "other signature", "space at the end", "space within"],
)
def test_forged_manifest_is_refused_before_it_is_read(
    host: JobHost, tree: Path, store: BackupStore, signing: SigningKey, forge: Forge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A gigabyte of forged entries costs a hash, not the memory of its objects."""
    _point, manifest = prepare(host, tree, store)
    data = seal(manifest, signing)
    key = f"site/{manifest.point}/manifest.json"
    assert Opened(manifest, digest(manifest)) == unseal(data, key, signing, "local")

    def never(*_args: object, **_named: object) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr("blocks.backups.signed.SMALL", 0)
    for model in ("SignedManifest", "Manifest"):
        monkeypatch.setattr(f"blocks.backups.signed.{model}.model_validate_json", never)
    with pytest.raises(Damaged):
        unseal(forge(data), key, signing, "local")
