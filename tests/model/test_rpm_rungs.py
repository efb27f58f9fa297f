"""The rungs of RPM packages: what is chosen, and what is honestly refused (R-RESP-4)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from pydantic import ValidationError

from model.assets import RpmAsset
from model.finding import Code, Finding
from model.ladder import propose
from model.manifest import Entry, FileType
from model.planfile import read_plan
from model.proposal import Proposal, RebuildRpmDatabase, ReinstallRpm, SetMetadata
from model.supplies import PackageSupply, RecordSupply, RpmDatabaseSupply, Supplies
from tests.model.builders import AT, PLAN_TEXT
from tests.model.test_ladder import HASH, MACHINE, point

HEAD, REST = PLAN_TEXT.split("assets:\n")
PLAN = read_plan(
    f"{HEAD}assets:\n  os: {{kind: rpm, host: web-1, backup: tree}}\n" + REST[REST.index("signoff:") :]
)
FOLDER = "/var/lib/rpm"
DEMO = PackageSupply(
    asset="os", package="demo", version="1-1", architecture="noarch", source="mirror", filename="demo.rpm", sha256=HASH,
    bytes=500, touches=("/usr/bin/demo", f"{FOLDER}/rpmdb.sqlite"), keeps=("/var/lib/demo/state", "/usr/bin/demo"),
)  # fmt: skip
MARK = Entry(path="rpm:demo-1-1.noarch", type=FileType.OTHER, sha256=HASH)


def finding(
    code: Code,
    subject: str,
    package: str = "demo",
    version: str = "1-1",
    expected: str = "",
    actual: str = "",
) -> Finding:
    return Finding(
        code=code, host="web-1", asset="os", subject=subject, package=package, version=version, expected=expected,
        actual=actual,
    )  # fmt: skip


def climb(findings: Sequence[Finding], supplies: Supplies, baseline: Sequence[Entry] = (MARK,)) -> Proposal:
    return propose(
        PLAN,
        "inc",
        "0" * 64,
        {"web-1": MACHINE},
        findings,
        supplies,
        {"os": baseline},
        AT,
        timedelta(hours=1),
    )


def database(readable: tuple[str, ...] = (), *, complete: bool = False) -> RpmDatabaseSupply:
    return RpmDatabaseSupply(
        asset="os", folder=FOLDER, files=(f"{FOLDER}/rpmdb.sqlite",), readable=readable, complete=complete
    )


BROKEN = finding(Code.PACKAGE_DATABASE_DAMAGED, f"{FOLDER}/rpmdb.sqlite", "", "")
LOST = finding(Code.PACKAGE_DATABASE_DAMAGED, "demo-1-1.noarch")


def test_mode_alone_is_set_and_content_is_reinstalled() -> None:
    mode = finding(Code.FILE_MODE_DIFFERS, "/etc/demo")
    bare = finding(Code.FILE_CAPABILITIES_DIFFER, "/usr/bin/ping")
    both = [finding(code, "/usr/bin/demo") for code in (Code.FILE_MODE_DIFFERS, Code.FILE_CONTENT_DIFFERS)]
    entries = tuple(
        Entry(path=path, type=FileType.FILE) for path in ("/etc/demo", "/usr/bin/ping", "/usr/bin/demo")
    )
    supplies = Supplies(packages=(DEMO,), records=(RecordSupply(asset="os", entries=entries),))
    reinstall, dress = climb([mode, bare, *both], supplies).actions
    assert isinstance(reinstall, ReinstallRpm)
    assert isinstance(dress, SetMetadata)
    assert {f.id for f in both} == set(reinstall.findings)
    assert ("/var/lib/demo/state",) == reinstall.keeps  # what is damaged is not kept
    assert ("/usr/bin/ping",) == dress.capable


def test_interrupted_upgrade_names_what_leaves() -> None:
    twice = finding(
        Code.PACKAGE_STATE_BROKEN,
        "demo",
        actual="0-1 and 1-1 (an interrupted transaction)",
        expected="one version",
    )
    (action,) = climb([twice], Supplies(packages=(DEMO,))).actions
    assert isinstance(action, ReinstallRpm)
    assert ("0-1",) == action.replaces
    assert "finishes the transaction" in action.reason


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (finding(Code.FILE_MISSING, "/usr/bin/other", "other"), "is in no cache, store or repository"),
        (
            finding(Code.PACKAGE_NOT_INSTALLED, "other", "other", ""),
            "which version was installed is not known",
        ),
        (finding(Code.PACKAGE_STATE_BROKEN, "demo (needs)"), "something it requires is not installed"),
        (
            finding(Code.FILE_OWNER_DIFFERS, "/x", expected="owner w:w (there is no w on this host)"),
            "the account",
        ),
    ],
)
def test_what_cannot_be_cured_is_said(wrong: Finding, why: str) -> None:
    proposal = climb([wrong], Supplies(packages=(DEMO,)))
    assert () == proposal.actions
    assert why in proposal.unmet[0].sentence
    assert proposal.unmet[0].remedy


def test_database_with_every_record_is_made_anew_without_anything() -> None:
    supplies = Supplies(rpm_databases=(database(("demo-1-1.noarch",), complete=True),))
    (action,) = climb([BROKEN], supplies, ()).actions
    assert isinstance(action, RebuildRpmDatabase)
    assert (("demo-1-1.noarch",), (), None) == (action.expected, action.lost, action.point)


def test_lost_record_comes_back_from_its_package() -> None:
    (action,) = climb(
        [BROKEN, LOST], Supplies(packages=(DEMO,), rpm_databases=(database(("a-1-1.noarch",)),))
    ).actions
    assert isinstance(action, RebuildRpmDatabase)
    assert ("a-1-1.noarch", "demo-1-1.noarch") == action.expected
    assert ["demo"] == [header.package for header in action.lost]


def test_kept_copy_is_the_last_resort_and_its_loss_is_declared() -> None:
    kept = point(
        "os", Entry(path="rpmdb.sqlite", type=FileType.FILE, size=9, sha256=HASH, offset=0), taken=AT
    )
    proposal = climb([BROKEN, LOST], Supplies(points=(kept,), rpm_databases=(database(),)))
    (action,) = proposal.actions
    assert isinstance(action, RebuildRpmDatabase)
    assert action.point == kept.point
    assert ["os"] == [loss.asset for loss in proposal.losses]


@pytest.mark.parametrize("findings", [[BROKEN, LOST], [BROKEN]])
def test_database_nobody_can_vouch_for_is_left(findings: list[Finding]) -> None:
    """Without a package, a copy or a baseline: nothing is invented."""
    baseline = (MARK,) if LOST in findings else ()
    proposal = climb(findings, Supplies(rpm_databases=(database(),)), baseline)
    assert () == proposal.actions
    assert {f.id for f in findings} == {unmet.finding for unmet in proposal.unmet}


PRIVATE = "-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n-----END PGP PRIVATE KEY BLOCK-----"


@pytest.mark.parametrize("key", ["", "AAAA", PRIVATE])
def test_key_of_the_plan_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="ASCII-armoured public key"):
        RpmAsset(kind="rpm", host="web-1", keys=(key,))
