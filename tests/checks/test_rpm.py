"""RPM: what its tools print, read from data; what is wrong with a path, judged without a host."""

from __future__ import annotations

import base64
import stat
import struct
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from checks import capabilities, rpm_database, rpm_packages, rpm_signature, rpm_sources
from checks.fact import Fact
from checks.rpm_database import RpmDatabase, RpmFile, RpmPackage
from checks.rpm_packages import RpmData
from model.assets import RpmAsset
from model.errors import PreconditionFailed
from model.finding import Code, Degree, Finding, Verdict
from model.manifest import Entry, FileType

DATA = Path(__file__).with_name("rpm_data")
ASSET = RpmAsset(kind="rpm", host="web-1")
ALL = 0xFFFFFFFF


def cases(name: str) -> list[Any]:
    data = YAML(typ="safe", pure=True).load(DATA / f"{name}.yaml")
    return [pytest.param(case, id=case["name"]) for case in data]


@pytest.mark.parametrize("case", cases("signatures"))
def test_verdict_on_a_signature(case: dict[str, Any]) -> None:
    """Must show 5: rpm's own exit status is not enough (lab.md: an unsigned package ends with 0)."""
    assert case["verdict"] == rpm_signature.verdict(case["status"], case["text"], "the plan trusts")


def output(**more: str) -> bytes:
    parts = {
        "folder": "/var/lib/rpm", "files": "rpmdb.sqlite\nrpmdb.sqlite-shm\n", "main": "rpmdb.sqlite",
        "users": "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/bin/false\n", "groups": "root:x:0:\nweb:x:33:\n",
        "end": "",
    } | more  # fmt: skip
    return "".join(f"\0{name}\0{text}" for name, text in parts.items()).encode()


@pytest.mark.parametrize("case", cases("databases"))
def test_damage_of_a_database_is_read_from_its_words(case: dict[str, Any]) -> None:
    """lab.md: a damaged rpmdb answers with status 0."""
    assert " ".join(case["damaged"].split()) == " ".join(
        rpm_database.parse(output(**case["parts"])).damaged.split()
    )


def record(kind: str, *fields: str) -> str:
    return "\x1e" + "\x1f".join((kind, *fields))


def test_packages_files_keys_and_needs_are_read() -> None:
    packages = (
        record("P", "demo", "2", "1.0", "3", "x86_64", "8", "a" * 64, "1700000000", "1")
        + record(
            "F",
            "/usr/bin/demo",
            "b" * 64,
            "33261",
            "root",
            "web",
            "0",
            "4294967295",
            "",
            "0",
            "cap_net_raw=ep",
        )
        + record("F", "/etc/demo/", "", "16877", "root", "root", "0", "4294967295", "", "0", "(none)")
        + record(
            "P", "gpg-pubkey", "0", "d11b6e42", "6b070cf7", "(none)", "(none)", "(none)", "1700000000", "0"
        )
        + record("P", "old", "0", "1", "1", "noarch", "(none)", "(none)", "1700000000", "0")
    )
    who = "demo-2:1.0-3.x86_64"
    needs = f"Unsatisfied dependencies for {who}:\n\tlibx >= 2 is needed by (installed) {who}\n"
    database = rpm_database.parse(output(packages=packages, needs=needs))
    demo, old = database.packages
    assert ("demo-2:1.0-3.x86_64", "2:1.0-3", ("libx >= 2",), True) == (
        demo.id,
        demo.version,
        demo.needs,
        demo.signed,
    )
    assert (
        RpmFile("/usr/bin/demo", "b" * 64, 0o100755, "root", "web", 0, ALL, "", 0, "cap_net_raw=ep")
        == demo.files[0]
    )
    assert "/etc/demo" == demo.files[1].path
    assert ("old-1-1.noarch", 1, False) == (old.id, old.algorithm, old.signed)
    assert ["gpg-pubkey-d11b6e42-6b070cf7"] == [key.id for key in database.keys]
    assert {"/var/lib/rpm/rpmdb.sqlite-wal", "/var/lib/rpm/.rpm.lock"} <= set(database.all_files)


def test_answer_that_was_cut_off_is_refused() -> None:
    with pytest.raises(PreconditionFailed, match="cut off"):
        rpm_database.parse(output()[:-6])


@pytest.mark.parametrize(
    ("full", "name", "version", "architecture"),
    [
        ("demo-tools-2:1.0~rc1-3.el9.x86_64", "demo-tools", "2:1.0~rc1-3.el9", "x86_64"),
        ("gpg-pubkey-d11b6e42-6b070cf7", "gpg-pubkey", "d11b6e42-6b070cf7", ""),
    ],
)
def test_full_name_is_taken_apart_and_put_together(
    full: str, name: str, version: str, architecture: str
) -> None:
    package = rpm_packages.split(full)
    assert (name, version, architecture) == (package.name, package.version, package.architecture)
    assert full == package.id


def test_words_of_a_version_for_dnf() -> None:
    assert ("demo", "2", "1.0", "3", "noarch") == rpm_sources.words(("demo", "2:1.0-3", "noarch"))
    assert ("demo", "0", "1.0", "3", "noarch") == rpm_sources.words(("demo", "1.0-3", "noarch"))
    assert "demo-1.0-3.noarch.rpm" == rpm_sources.file_name(("demo", "2:1.0-3", "noarch"))


# --- one path --------------------------------------------------------------------------------------------------------


def owned(**more: object) -> RpmFile:
    fields: dict[str, Any] = {
        "path": "/usr/bin/demo", "digest": "a" * 64, "mode": stat.S_IFREG | 0o755, "user": "root", "group": "root",
        "flags": 0, "verify": ALL, "link": "", "state": 0, "capabilities": "",
    }  # fmt: skip
    return RpmFile(**fields | more)


def fact(**more: object) -> Fact:
    fields: dict[str, Any] = {
        "path": "/usr/bin/demo", "type": FileType.FILE, "mode": 0o755, "sha256": "a" * 64, "capabilities": "",
    }  # fmt: skip
    return Fact(**fields | more)


def judge(
    *files: RpmFile, now: Fact, behind: Fact | None = None, baseline: tuple[Entry, ...] = ()
) -> list[Finding]:
    packages = tuple(
        RpmPackage(f"demo{number}", "1-1", "noarch", header="f" * 64, files=(file,))
        for number, file in enumerate(files)
    )
    database = RpmDatabase("/var/lib/rpm", "rpmdb.sqlite", packages=packages, users={"root": 0, "web": 33})
    data = RpmData(
        database, {now.path: tuple((p, p.files[0]) for p in packages)}, {now.path: now},
        {now.path: behind} if behind else {},
    )  # fmt: skip
    return list(rpm_packages.judge("os", ASSET, data, baseline).findings)


CONFIG, DOC, MISSING_OK, LICENSE = 1, 2, 8, 128


@pytest.mark.parametrize(
    ("file", "now", "code"),
    [
        (owned(), fact(), None),
        (owned(), fact(sha256="b" * 64), Code.FILE_CONTENT_DIFFERS),
        (owned(verify=ALL & ~1), fact(sha256="b" * 64), None),
        (owned(flags=CONFIG), fact(sha256="b" * 64), None),
        (owned(), fact(type=FileType.ABSENT), Code.FILE_MISSING),
        (owned(flags=CONFIG), fact(type=FileType.ABSENT), Code.CONFFILE_MISSING),
        (owned(flags=CONFIG | MISSING_OK), fact(type=FileType.ABSENT), None),
        (owned(), fact(mode=0o700), Code.FILE_MODE_DIFFERS),
        (owned(verify=ALL & ~64), fact(mode=0o700), None),
        (owned(), fact(uid=33), Code.FILE_OWNER_DIFFERS),
        (owned(verify=ALL & ~8), fact(uid=33), None),
        (owned(user="web"), fact(uid=33), None),
        (owned(user="nobody-here"), fact(uid=33), Code.FILE_OWNER_DIFFERS),
        (owned(), fact(type=FileType.LINK, link="/x"), Code.FILE_TYPE_DIFFERS),
        (owned(), fact(type=FileType.DIRECTORY), Code.FILE_TYPE_DIFFERS),
        (owned(mode=stat.S_IFLNK | 0o777, link="a"), fact(type=FileType.LINK, link="b"), Code.FILE_LINK_DIFFERS),
        (owned(capabilities="cap_net_raw=ep"), fact(), Code.FILE_CAPABILITIES_DIFFER),
        (owned(capabilities="cap_net_raw=ep"), fact(capabilities=None), None),
        (owned(), fact(capabilities=capabilities.encode("cap_chown=ep")), Code.FILE_CAPABILITIES_DIFFER),
        (owned(), fact(sha256="", error="it cannot be read"), Code.FILE_UNREADABLE),
    ],
)  # fmt: skip
def test_one_path_is_judged_by_its_record(file: RpmFile, now: Fact, code: Code | None) -> None:
    """R-RESP-2: what the packager excepts is no damage."""
    assert ([code] if code else []) == [finding.code for finding in judge(file, now=now)]


def test_folder_that_became_a_link_to_a_folder_is_none() -> None:
    """Rpm lets people move a folder; a link that leads nowhere is damage."""
    folder = owned(mode=stat.S_IFDIR | 0o755, digest="")
    link = fact(type=FileType.LINK, link="/srv/moved", sha256="")
    assert [] == judge(folder, now=link, behind=fact(type=FileType.DIRECTORY, sha256=""))
    assert [Code.FILE_TYPE_DIFFERS] == [
        f.code for f in judge(folder, now=link, behind=fact(type=FileType.ABSENT))
    ]


def test_folder_of_two_packages_needs_to_please_one() -> None:
    folder = owned(mode=stat.S_IFDIR | 0o755, digest="")
    other = owned(mode=stat.S_IFDIR | 0o700, digest="")
    now = fact(type=FileType.DIRECTORY, mode=0o700, sha256="")
    assert [] == judge(folder, other, now=now)
    assert [Code.FILE_MODE_DIFFERS] == [f.code for f in judge(folder, now=now)]


@pytest.mark.parametrize("flags", [DOC, LICENSE])
def test_documentation_is_slight(flags: int) -> None:
    (finding,) = judge(owned(flags=flags), now=fact(sha256="b" * 64))
    assert Degree.SLIGHT is finding.degree


def test_record_exchanged_since_the_baseline_is_found() -> None:
    """A person who changes a file can change rpm's record with it; the baseline knows the record's own hash."""
    mark = Entry(path="rpm:demo0-1-1.noarch", type=FileType.OTHER, sha256="e" * 64)
    assert [Code.HASH_LIST_DIFFERS] == [f.code for f in judge(owned(), now=fact(), baseline=(mark,))]
    same = mark.model_copy(update={"sha256": "f" * 64})
    assert [] == judge(owned(), now=fact(), baseline=(same,))


def test_lost_records_are_those_of_the_baseline_that_cannot_be_read() -> None:
    marks = tuple(
        Entry(path=f"rpm:{name}", type=FileType.OTHER, sha256="f" * 64)
        for name in ("demo-1-1.noarch", "kept-1-1.noarch", "grown-1-1.noarch", "gpg-pubkey-d11b6e42-6b070cf7")
    )
    readable = (RpmPackage("kept", "1-1", "noarch"), RpmPackage("grown", "2-1", "noarch"))
    database = RpmDatabase("/var/lib/rpm", "rpmdb.sqlite", packages=readable, errors=("error: BAD",))
    result = rpm_packages.judge("os", ASSET, RpmData(database), marks)
    assert {"/var/lib/rpm/rpmdb.sqlite", "demo-1-1.noarch", "gpg-pubkey-d11b6e42-6b070cf7"} == {
        finding.subject for finding in result.findings
    }
    assert {Code.PACKAGE_DATABASE_DAMAGED} == {finding.code for finding in result.findings}


def test_empty_database_without_a_baseline_is_an_error_and_not_a_pass() -> None:
    """G11."""
    result = rpm_packages.judge("os", ASSET, RpmData(RpmDatabase("/var/lib/rpm", "rpmdb.sqlite")))
    assert Verdict.ERROR is result.verdict


# --- capabilities and keys ---


@pytest.mark.parametrize(
    ("text", "hexes"),
    [
        ("cap_net_raw=ep", "0100000200200000000000000000000000000000"),
        ("cap_net_raw+p", "0000000200200000000000000000000000000000"),
        ("cap_bpf=ep", "0100000200000000000000008000000000000000"),
        ("=", ""),
        ("", ""),
        ("cap_nonsense=ep", None),
    ],
)
def test_capabilities_as_the_kernel_keeps_them(text: str, hexes: str | None) -> None:
    """The first was read from a real file with getxattr."""
    assert hexes == capabilities.encode(text)


def test_capabilities_are_said_as_text() -> None:
    for text in ("cap_net_raw=ep", "cap_chown,cap_bpf=p", "cap_kill=i"):
        encoded = capabilities.encode(text)
        assert encoded is not None
        assert text == capabilities.decode(encoded)
    assert ["none", "abcd"] == [capabilities.decode(""), capabilities.decode("abcd")]


def test_name_of_a_public_key_is_rpms() -> None:
    """`gpg-pubkey-ID-CREATED`, from the key itself (RFC 4880)."""
    packet = b"\x04" + bytes.fromhex("6b070cf7") + b"\x01" + b"\x00\x08\xff\x00\x11\x01\x00\x01"
    data = b"\x99" + struct.pack(">H", len(packet)) + packet
    text = base64.b64encode(data).decode()
    armoured = f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{text}\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
    name = rpm_signature.key_name(armoured)
    assert name.startswith("gpg-pubkey-")
    assert name.endswith("-6b070cf7")
    assert "" == rpm_signature.key_name(armoured.replace(text, "!!"))
    assert "" == rpm_signature.key_name("")
