"""What is looked at again after one measure: its own part of an asset and no more."""

from __future__ import annotations

import pytest

from model.assets import Asset, DpkgAsset, FilesAsset, PipAsset, PostgresAsset, ServiceAsset
from model.finding import Code, Finding
from model.outcome import Stage
from model.proposal import RestartService, Rung
from tasks.recheck import narrowed

ACTION = RestartService(
    id="a01", host="h", asset="x", stage=Stage.REPAIR, rung=Rung.SERVICE, reason="r", undo="u", service="x"
)


def damaged(package: str) -> Finding:
    return Finding(code=Code.FILE_MISSING, host="h", asset="x", subject=f"/usr/{package}", package=package)


@pytest.mark.parametrize(
    ("asset", "expected"),
    [
        (DpkgAsset(kind="dpkg", host="h"), {"packages": ("a", "libc6")}),
        (
            PipAsset(kind="pip", host="h", python="/v/bin/python", store="s"),
            {"distributions": ("a", "libc6")},
        ),
    ],
    ids=["dpkg", "pip"],
)
def test_only_the_damaged_packages_are_looked_at_again(
    asset: Asset, expected: dict[str, tuple[str, ...]]
) -> None:
    """R-RESP-5: an architecture in a package's name is no part of the name."""
    part = narrowed(asset, ACTION, [damaged("libc6:i386"), damaged("a"), damaged("a")])
    assert part == asset.model_copy(update=expected)


@pytest.mark.parametrize(
    "asset",
    [
        DpkgAsset(kind="dpkg", host="h"),
        FilesAsset(kind="files", host="h", path="/srv", backup="b"),
        PostgresAsset(kind="postgresql", host="h", database="d", backup="b"),
        ServiceAsset(kind="service", host="h", unit="nginx.service"),
    ],
    ids=lambda asset: asset.kind,
)
def test_what_has_no_smaller_part_is_left_to_the_end_of_the_stage(asset: Asset) -> None:
    """R-RESP-5: a restart cures no file, and damage without a package belongs to the whole database of packages."""
    assert narrowed(asset, ACTION, [damaged("")]) is None
