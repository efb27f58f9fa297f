"""Package stores in a folder and in a bucket: what is not signed, not newest or not itself is refused by name."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.packages import PackageStore, open_objects
from blocks.packages.objects import Objects
from blocks.packages.rpmfile import rpm_fields
from blocks.packages.store import INDEX, seal, unseal
from model.canonical import canonical_json, now
from model.debversion import nearest, version_key
from model.errors import BadInput, Damaged, PreconditionFailed
from model.plan import DirectoryPackages, PackageSource, S3Packages
from model.shelf import PackageFile, SignedIndex, StoreIndex
from tasks.package_index import describe, index_folder
from tests.support.packages import DictMemory, key, shelf
from tests.support.stores import FixedSecrets, s3_source

CONTENT = {"a_1-1_all.deb": b"one" * 1000, "pool/b_1%3a2~rc1+x_amd64.deb": b"two" * 2000}


SAYS = {"a_1-1_all.deb": ("a", "1-1", "all"), "pool/b_1%3a2~rc1+x_amd64.deb": ("b", "1:2~rc1+x", "amd64")}


def listed() -> list[PackageFile]:
    """What the index says of the files."""
    return [
        PackageFile(
            family="deb", name=name, version=version, architecture=arch, filename=path, bytes=len(CONTENT[path]),
            sha256=hashlib.sha256(CONTENT[path]).hexdigest(),
        )
        for path, (name, version, arch) in SAYS.items()
    ]  # fmt: skip


@pytest.fixture(params=["directory", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """The files of a store of each kind."""
    source: PackageSource = DirectoryPackages(kind="directory", path="store")
    if request.param == "s3":
        source = S3Packages.model_validate(
            s3_source(request.getfixturevalue("s3_endpoint")).model_dump(mode="json")
        )
    found = open_objects("pool", source, FixedSecrets(), tmp_path)
    for name, content in CONTENT.items():
        found.put(name, iter([content[:700], content[700:]]))
    return found


def opened(objects: Objects, memory: DictMemory | None = None, trusted: str = "ours") -> PackageStore:
    return PackageStore("pool", objects, [key(trusted).verifier], memory or DictMemory(), "mark.json")


def index_of(serial: int, age: timedelta = timedelta()) -> StoreIndex:
    return StoreIndex(serial=serial, made_at=now() - age, packages=tuple(listed()))


def test_signed_store_gives_its_files(objects: Objects, tmp_path: Path) -> None:
    """Any file name dpkg uses (epoch, tilde, plus), in a folder below."""
    store = opened(objects)
    made = store.publish(listed(), key())
    assert made == opened(objects).index()
    for file in made.packages:
        assert CONTENT[file.filename] == store.fetch(file.filename, file.sha256, tmp_path).read_bytes()
    assert "1:2~rc1+x" == made.packages[1].version
    assert made.packages[1] == made.find("deb", "b", "1:2~rc1+x", ("amd64", "all"))
    assert made.find("deb", "b", "1:2", ("amd64",)) is None
    assert made == store.publish(listed(), key())  # nothing changed, nothing signed anew


def test_bucket_gives_urls_and_a_folder_none(objects: Objects) -> None:
    url = objects.presign("pool/b_1%3a2~rc1+x_amd64.deb", 60)
    if url is None:
        assert "s3" not in objects.where()
        return
    got = subprocess.run(["curl", "-sf", url], capture_output=True, check=True)
    assert CONTENT["pool/b_1%3a2~rc1+x_amd64.deb"] == got.stdout


def _unsigned(objects: Objects) -> bytes:
    return canonical_json(index_of(1))


def _wrong_key(objects: Objects) -> bytes:
    return seal(index_of(1), key("intruder"))


def _forged_name_of_key(objects: Objects) -> bytes:
    signed = SignedIndex.model_validate_json(seal(index_of(1), key("intruder")))
    return canonical_json(signed.model_copy(update={"key_id": key().key_id}))


def _altered(objects: Objects) -> bytes:
    return seal(index_of(1), key()).replace(b"1:2~rc1+x", b"1:2~rc9+x")


def _apt_index(objects: Objects) -> bytes:
    return b"Package: a\nVersion: 1-1\nFilename: ./a_1-1_all.deb\n"


def _not_canonical(objects: Objects) -> bytes:
    return seal(index_of(1), key()) + b"\n"


@pytest.mark.parametrize(
    "hostile", [_unsigned, _wrong_key, _forged_name_of_key, _altered, _apt_index, _not_canonical]
)
def test_index_that_no_trusted_key_signed_is_refused(
    objects: Objects, hostile: Callable[[Objects], bytes]
) -> None:
    """Must show 5: unsigned store, wrong key."""
    objects.put(INDEX, iter([hostile(objects)]))
    with pytest.raises(Damaged, match="index"):
        opened(objects).index()


def test_store_without_index_is_no_source(objects: Objects) -> None:
    with pytest.raises(PreconditionFailed, match="no signed index"):
        opened(objects).index()


def test_older_index_put_back_is_refused_also_by_another_process(objects: Objects) -> None:
    """Must show 5: older version (rollback)."""
    memory = DictMemory()
    old, new = index_of(7, timedelta(hours=1)), index_of(8)
    objects.put(INDEX, iter([seal(old, key())]))
    assert 7 == opened(objects, memory).index().serial
    objects.put(INDEX, iter([seal(new, key())]))
    assert 8 == opened(objects, memory).index().serial
    objects.put(INDEX, iter([seal(old, key())]))
    with pytest.raises(Damaged, match=r"older index was put in its place"):
        opened(objects, memory).index()
    objects.put(INDEX, iter([seal(index_of(8).model_copy(update={"packages": ()}), key())]))
    with pytest.raises(Damaged, match=r"two different indexes|older index"):
        opened(objects, memory).index()


def test_file_that_is_not_what_the_index_says_is_refused_and_not_kept(
    objects: Objects, tmp_path: Path
) -> None:
    """Must show 5: tampered package."""
    store = opened(objects)
    file = store.publish(listed(), key()).packages[0]
    objects.put(file.filename, iter([b"evil"]))
    with pytest.raises(Damaged, match=r"a_1-1_all\.deb has SHA-256"):
        store.fetch(file.filename, file.sha256, tmp_path)
    assert not (tmp_path / file.filename).exists()


@pytest.mark.parametrize(
    "name", ["../a.deb", "/etc/a.deb", "x/../../a.deb", ".hidden.deb", "-i.deb", "a\nb.deb", ""]
)
def test_name_that_leaves_the_store_is_refused(objects: Objects, name: str) -> None:
    """G10; attack: path escape in an index."""
    with pytest.raises(BadInput):
        list(objects.read(name))
    data = {"family": "deb", "name": "a", "version": "1", "filename": name, "bytes": 1, "sha256": "0" * 64}
    with pytest.raises(ValueError, match=r"package store|no name"):
        PackageFile.model_validate(data)


def test_key_that_the_plan_does_not_trust_stocks_nothing(objects: Objects) -> None:
    with pytest.raises(PreconditionFailed, match="none that the plan trusts"):
        opened(objects, trusted="headquarters").publish(listed(), key())
    assert not objects.exists(INDEX)


def _wheel(path: Path, version: str = "1.0") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("front/__init__.py", "")
        archive.writestr(f"front-{version}.dist-info/METADATA", f"Name: front\nVersion: {version}\n")
    return path


def _rpm(path: Path, epoch: int | None = 2) -> Path:
    """The head of an rpm, as rpmbuild writes it."""

    def header(tags: list[tuple[int, int, bytes]]) -> bytes:
        entries, data = b"", b""
        for tag, kind, value in tags:
            entries += struct.pack(">IIII", tag, kind, len(data), 1)
            data += value
        return b"\x8e\xad\xe8\x01\0\0\0\0" + struct.pack(">II", len(tags), len(data)) + entries + data

    tags = [
        (1000, 6, b"front\0"),
        (1001, 6, b"1.4\0"),
        (1002, 6, b"3.el9\0"),
        (1022, 6, b"x86_64\0"),
        (1044, 6, b"s\0"),
    ]
    if epoch is not None:
        tags.insert(0, (1003, 4, struct.pack(">I", epoch)))
    signature = header([(1000, 6, b"abc\0")])
    path.write_bytes(
        b"\xed\xab\xee\xdb".ljust(96, b"\0")
        + signature
        + bytes(-len(signature) % 8)
        + header(tags)
        + b"payload"
    )
    return path


def test_folder_is_indexed_by_what_its_files_say(tmp_path: Path) -> None:
    """`reinstate packages index`: .deb, .rpm and wheels in one signed index."""
    _wheel(tmp_path / "front-1.0-py3-none-any.whl")
    _rpm(tmp_path / "front-1.4-3.el9.x86_64.rpm")
    (tmp_path / "notes.txt").write_text("not a package")
    memory = DictMemory()
    done = index_folder(tmp_path, key(), memory, lambda _done, _total: None)  # type: ignore[arg-type] # half a journal store
    said = [(p.family, p.name, p.version, p.architecture) for p in done.index.packages]
    assert [("wheel", "front", "1.0", ""), ("rpm", "front", "2:1.4-3.el9", "x86_64")] == said
    assert done.index == unseal((tmp_path / INDEX).read_bytes(), [key().verifier], "x")
    _wheel(tmp_path / "front-1.0-py3-none-any.whl").write_bytes(
        (tmp_path / "front-1.0-py3-none-any.whl").read_bytes() + b"\0"
    )
    with pytest.raises(Damaged, match="changed since the index was signed"):
        index_folder(tmp_path, key(), memory, lambda _done, _total: None)  # type: ignore[arg-type]
    again = index_folder(tmp_path, key(), memory, lambda _done, _total: None, changed_too=True)  # type: ignore[arg-type]
    assert again.index.serial > done.index.serial


def test_rpm_that_is_none_is_refused(tmp_path: Path) -> None:
    whole = _rpm(tmp_path / "a.rpm", None).read_bytes()
    assert ("front", "1.4-3.el9", "x86_64") == rpm_fields(tmp_path / "a.rpm")
    for cut in (0, 3, 50, 110, len(whole) - 60):
        (tmp_path / "a.rpm").write_bytes(whole[:cut])
        with pytest.raises(Damaged):
            describe(tmp_path / "a.rpm", "a.rpm")


def test_shelf_of_the_tests_is_a_store(tmp_path: Path) -> None:
    _wheel(tmp_path / "front-1.0-py3-none-any.whl")
    assert ["front"] == [package.name for package in shelf(tmp_path).index().packages]


def test_versions_sort_as_dpkg_sorts_them() -> None:
    """deb-version(7); checked against `dpkg --compare-versions`."""
    order = [
        "1.0~beta1~svn1245",
        "1.0~beta1",
        "1.0",
        "1.0-1",
        "1.0-1+b1",
        "1.0a-1",
        "1.0.1",
        "1.2",
        "1.10",
        "1:0.1",
    ]
    assert order == sorted(order, key=version_key)
    assert "1.10" == nearest("1.3", ["1.10", "1.2", "2.0"])
    assert "1.2" == nearest("3", ["1.0", "1.2"])
    assert nearest("3", []) is None
