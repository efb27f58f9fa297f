"""The ctime screen: what has not changed since it was found whole is not read again; what changed in any way is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.journals.directory import DirectoryJournal
from checks import files, stat
from checks.stat import Screen
from model.assets import FilesAsset
from model.manifest import Manifest
from model.plan import Plan
from tasks import screens
from tests.checks.local import LocalConnection
from tests.checks.test_files import manifest
from tests.model.builders import plan


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "set"
    tree.mkdir()
    for number in range(5):
        (tree / f"f{number}").write_bytes(os.urandom(3000))
    os.setxattr(tree / "f0", "user.note", b"x")
    return tree


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once."""
    monkeypatch.setattr(files, "SETTLED_NS", 0)


@pytest.fixture(params=["sha256", "xxh128"])
def asset(request: pytest.FixtureRequest, tree: Path) -> FilesAsset:
    """The file set."""
    return FilesAsset(
        kind="files", host="web-1", path=str(tree), backup="tree", screen="ctime", digest=request.param
    )


def known(here: LocalConnection, asset: FilesAsset) -> tuple[Manifest, Screen]:
    """A first look, which reads everything, and the screen it gives."""
    entries = files.collect_tree(here, asset.path, digests=files.recorded(asset))
    whole = manifest(Path(asset.path), entries, datetime.now(UTC) + timedelta(hours=1))
    time.sleep(0.02)
    first = Screen()
    files.check(here, "set", asset, whole, first, lambda _done, _all: None)
    return whole, Screen(first.whole)


def plan_of(asset: FilesAsset) -> Plan:
    """A plan with nothing but this file set."""
    return plan().model_copy(update={"assets": {"set": asset}})


Change = Callable[[Path], object]


def _same_size_and_time(path: Path) -> None:
    before = path.stat()
    path.write_bytes(os.urandom(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced(path: Path) -> None:
    before = path.stat()
    (path.parent.parent / "new").write_bytes(os.urandom(before.st_size))
    os.utime(path.parent.parent / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (path.parent.parent / "new").rename(path)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "change",
    [
        _same_size_and_time, _replaced, lambda path: path.chmod(0o777), Path.unlink,
        lambda path: os.setxattr(path, "user.note", b"y"), lambda path: path.write_bytes(b""),
        lambda path: os.truncate(path, 5000),
    ],
    ids=["content, same size and time", "replaced", "mode", "deleted", "attribute", "emptied", "longer"],
)  # fmt: skip
def test_every_change_the_file_system_knows_of_is_found(
    here: LocalConnection, asset: FilesAsset, tree: Path, change: Change
) -> None:
    """No tool can set ctime back: that is why it is the screen, and not the modification time."""
    whole, screen = known(here, asset)
    assert 5 == len(screen.known)
    change(tree / "f0")
    result = files.check(here, "set", asset, whole, screen, lambda _done, _all: None)
    assert {str(tree / "f0")} == {finding.subject for finding in result.findings}
    assert str(tree / "f0") not in screen.whole
    assert 4 == len(screen.whole)


@pytest.mark.usefixtures("settled")
def test_what_has_not_changed_is_not_read(
    here: LocalConnection, asset: FilesAsset, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host gets a hash of nothing wrong only by reading: a probe that cannot read still finds all whole."""
    whole, screen = known(here, asset)
    probe = stat.PROBE.read_text().replace("os.readv(descriptor, (_BUFFER,))", "exit(1)")
    (tree.parent / "probe.py").write_text(probe)
    monkeypatch.setattr(stat, "PROBE", tree.parent / "probe.py")
    result = files.check(here, "set", asset, whole, screen, lambda _done, _all: None)
    assert () == result.findings
    assert "6 paths" in result.sentence
    assert screen.whole == dict(screen.known)


def test_file_changed_just_before_it_was_read_is_read_again(here: LocalConnection, asset: FilesAsset) -> None:
    """Within one tick of the clock a second change would leave no trace."""
    _whole, screen = known(here, asset)
    assert {} == screen.known


@pytest.mark.usefixtures("settled")
def test_screen_is_kept_for_the_plan_that_allows_it_and_ends_with_its_time(
    here: LocalConnection, asset: FilesAsset, tmp_path: Path
) -> None:
    """Policy: whole hashing is the default, and comes again once in `rehash`."""
    _whole, screen = known(here, asset)
    journal = DirectoryJournal(tmp_path / "journal")
    allowing = plan_of(asset.model_copy(update={"rehash": 3600.0}))
    with screens.screening(journal, allowing, None) as first:
        assert {} == first["set"].known
        first["set"].whole, first["set"].clock_ns = screen.known, 1
    with screens.screening(journal, allowing, None) as second:
        assert dict(screen.known) == second["set"].known
    late = plan_of(asset.model_copy(update={"rehash": 0.0}))
    with screens.screening(journal, late, None) as third:
        assert {} == third["set"].known
    strict = plan_of(asset.model_copy(update={"screen": "none"}))
    with screens.screening(journal, strict, None) as none:
        assert {} == none
    journal.put("screens/shop/set.json.gz", b"rubbish")
    with screens.screening(journal, allowing, None) as again:
        assert {} == again["set"].known
