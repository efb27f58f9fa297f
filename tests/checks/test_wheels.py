"""Wheels are hostile input: every bad one is refused by name before anything is done (guarantees.md, packages)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from checks.wheels import judge, read
from model.errors import Damaged
from tests.support.pythonworld import make_wheel

GOOD = {"front/__init__.py": "x = 1\n"}
INFO = "front-1.0.dist-info"


def test_good_wheel_says_what_lands_where(tmp_path: Path) -> None:
    files = GOOD | {"front-1.0.data/scripts/go": "#!python\n", "front-1.0.data/data/share/words": "a\n"}
    wheel = judge(make_wheel(tmp_path, "front", "1.0", files, {"front": "front:main"}))
    lands = wheel.lands("/v/lib/site", "/v")
    assert ("front", "1.0") == (wheel.name, wheel.version)
    assert {"/v/lib/site/front/__init__.py", "/v/share/words"} <= {
        path for path, sha256 in lands.items() if sha256
    }
    assert {"/v/bin/go", "/v/bin/front"} <= {path for path, sha256 in lands.items() if not sha256}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"front/__init__.py": "x = 2\n"}, "is not what the wheel's own RECORD says"),
        ({"front/more.py": ""}, "which its RECORD does not name"),
        ({"../../evil.py": ""}, "leaves its place"),
        ({"/etc/cron.d/evil": ""}, "leaves its place"),
        ({"front/../../evil.py": ""}, "leaves its place"),
        ({"front\\evil.py": ""}, "leaves its place"),
        ({"C:evil.py": ""}, "leaves its place"),
        ({f"{INFO}/RECORD": "front/__init__.py,md5=abc,3\n"}, "no list of SHA-256"),
        ({f"{INFO}/RECORD": "front/__init__.py\n"}, "no list of SHA-256"),
        ({"other-1.dist-info/METADATA": ""}, "2 .dist-info folders"),
        ({f"{INFO}/entry_points.txt": "[console_scripts]\nx = a;evil\n"}, "no name of a script"),
        ({f"{INFO}/entry_points.txt": "nonsense"}, "entry points cannot be read"),
    ],
)
def test_bad_wheel_is_refused(tmp_path: Path, changed: dict[str, str], words: str) -> None:
    """Issue 3, bar 5."""
    wheel = make_wheel(tmp_path, "front", "1.0", GOOD, changed=changed)
    with pytest.raises(Damaged, match=words):
        judge(wheel)


def test_bomb_and_names_of_scripts_that_leave_are_refused(tmp_path: Path) -> None:
    bad = {
        "front/big.bin": "0" * 20_000_000,
        f"{INFO}/entry_points.txt": "[console_scripts]\n../../x = a:b\n",
    }
    for name, words in (("front/big.bin", "is a bomb"), (f"{INFO}/entry_points.txt", "no name of a script")):
        wheel = make_wheel(tmp_path, "front", "1.0", GOOD | {name: bad[name]})
        with pytest.raises(Damaged, match=words):
            judge(wheel)


def test_wheel_that_lacks_what_it_names_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "front", "1.0", GOOD)
    with zipfile.ZipFile(wheel) as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if name != "front/__init__.py"}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in kept.items():
            archive.writestr(name, data)
    with pytest.raises(Damaged, match="lacks 'front/__init__"):
        judge(wheel)


def test_link_in_a_wheel_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "front", "1.0", GOOD)
    with zipfile.ZipFile(wheel, "a") as archive:
        entry = zipfile.ZipInfo("front/link")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/shadow")
    with pytest.raises(Damaged, match="is no file"):
        read(wheel)


@pytest.mark.parametrize("cut", [10, 200])
def test_flipped_or_truncated_wheel_is_refused(tmp_path: Path, cut: int) -> None:
    wheel = make_wheel(tmp_path, "front", "1.0", GOOD)
    wheel.write_bytes(wheel.read_bytes()[:-cut])
    with pytest.raises(Damaged, match="is no wheel"):
        judge(wheel)
