"""The machine's own archive is found in both formats of apt, and third-party archives are not taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.aptsource import AptSource, codename, own_sources, parse_deb822, parse_one_line

DEB822 = """# A comment
Types: deb deb-src
URIs: https://mirror.example/debian
Suites: stable stable-updates
# another one
Components: main contrib
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb-src
URIs: https://mirror.example/debian
Suites: stable
Components: main

Enabled: no
Types: deb
URIs: https://off.example/debian
Suites: stable
Components: main

Types: deb
URIs: https://inline.example/debian
Suites: stable-security
Components:
 main
 contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_deb822_yields_enabled_binary_archives_one_per_suite() -> None:
    keyring = "/usr/share/keyrings/archive.gpg"
    expected = [
        AptSource("https://mirror.example/debian", "stable", ("main", "contrib"), keyring),
        AptSource("https://mirror.example/debian", "stable-updates", ("main", "contrib"), keyring),
        AptSource("https://inline.example/debian", "stable-security", ("main", "contrib")),
    ]
    assert expected == list(parse_deb822(DEB822))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deb http://m.example/d stable main", [AptSource("http://m.example/d", "stable", ("main",))]),
        (
            "deb [arch=amd64 signed-by=/k.gpg] http://m.example/d stable main contrib # why",
            [AptSource("http://m.example/d", "stable", ("main", "contrib"), "/k.gpg")],
        ),
        ("deb-src http://m.example/d stable main", []),
        ("# deb http://m.example/d stable main", []),
        ("", []),
    ],
)
def test_one_line_format(line: str, expected: list[AptSource]) -> None:
    assert expected == list(parse_one_line(line))


def test_line_can_be_read_again() -> None:
    source = AptSource("http://m.example/d", "stable", ("main", "contrib"), "/k.gpg")
    assert [source] == list(parse_one_line(source.line()))


def test_own_sources_leaves_out_third_parties_and_puts_the_release_first(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "own.sources").write_text(DEB822, encoding="utf-8")
    (parts / "engine.list").write_text("deb http://third.example/linux stable edge\n", encoding="utf-8")
    (parts / "tool.list").write_text("deb http://third.example/apt tool-stable main\n", encoding="utf-8")
    (tmp_path / "sources.list").write_text("deb cdrom:[disc]/ stable main\n", encoding="utf-8")
    expected = ["stable", "stable-updates", "stable-security"]
    assert expected == [source.suite for source in own_sources("stable", tmp_path)]


def test_own_sources_of_a_machine_without_apt_is_empty(tmp_path: Path) -> None:
    assert own_sources("stable", tmp_path) == []


def test_codename_is_read_and_may_be_missing(tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    assert codename(release) == ""
    release.write_text('NAME="X"\nVERSION_CODENAME=stable\n', encoding="utf-8")
    assert codename(release) == "stable"
