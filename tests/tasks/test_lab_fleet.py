"""Several hosts at once: the healthy ones are called healthy, whatever people changed on purpose, and no other is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from blocks.home import open_store
from checks.baseline import record
from deployments.cli.app import app
from model.assets import DpkgAsset
from tasks.work import load_plan, save_baseline
from tests.lab import damage
from tests.lab.base import Base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.support.fleet import Scan, fleet, scan, write_plan

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]

SMALL, EDITED, BROKEN, COUNT = 1, 2, 3, 6
BIG = ("curl", "nginx-common", "postgresql-common", "postgresql-client-common", "python3", "python3-minimal",
       "python3.11-minimal", "libnginx-mod-http-geoip")  # fmt: skip
MEMORY = 600 << 20


def strip(host: LabHost) -> None:
    """Down to what every Debian has, and its SSH server: no Python either."""
    host.must(["apt-get", "-qq", "--allow-remove-essential", "purge", "-y", *BIG], seconds=300)
    host.must(["apt-get", "-qq", "autoremove", "--purge", "-y"], seconds=300)
    assert host.shell(["python3", "--version"]).returncode


def edit(host: LabHost) -> None:
    """What administrators do on purpose."""
    host.must(["dpkg-divert", "--quiet", "--local", "--rename", "--add", "/usr/bin/vmstat"])
    host.must(["dpkg-statoverride", "--update", "--add", "root", "ops", "4750", "/usr/bin/watch"])
    host.inside("/etc/dpkg/dpkg.cfg.d/small").write_text("path-exclude=/usr/share/doc/*\n")
    host.must(["rm", "-r", "/usr/share/doc/curl"])
    host.must(["sh", "-c", "echo '# ours' >>/etc/nginx/nginx.conf"])
    host.must(["sh", "-c", "echo '<h1>ours</h1>' >/usr/share/nginx/html/index.html"])
    host.must(["install", "-m", "755", "/usr/bin/true", "/usr/bin/our-tool"])
    host.must(["chmod", "700", "/usr/bin/curl"])
    host.must(["ln", "-sf", "/usr/bin/true", "/etc/alternatives/pager"])


def baseline(plan: Path, *words: str) -> dict[str, Any]:
    """`reinstate baseline … --json`."""
    done = CliRunner().invoke(app, ["baseline", str(plan), *words, "--json"])
    assert 0 == done.exit_code, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def world(
    lab_base: Base, lab_session: LabSession, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Scan, Scan, dict[str, Any]]]:
    """The plan, a scan before and after the edits were accepted, and what was accepted."""
    folder = tmp_path_factory.mktemp("fleet")
    with pytest.MonkeyPatch.context() as patch, fleet(lab_base, lab_session, COUNT) as hosts:
        patch.setenv("REINSTATE_HOME", str(folder / "home"))
        patch.setenv("PREFECT_LOGGING_LEVEL", "ERROR")
        plan = write_plan(hosts, folder)
        strip(hosts[SMALL])
        _record(plan, f"system-fleet-{SMALL:02d}")
        edit(hosts[EDITED])
        damage.replace_binary(hosts[BROKEN])
        before = scan(plan)
        edited = f"system-fleet-{EDITED:02d}"
        answer = baseline(plan, "--accept", edited, "--by", "lena", "--reason", "This is how we run it.")
        yield plan, before, scan(plan), answer


def _record(plan: Path, name: str) -> None:
    file = load_plan(str(plan))
    asset = file.plan.assets[name]
    assert isinstance(asset, DpkgAsset)
    with file.connect(asset.host) as connection:
        save_baseline(open_store(), file.plan, name, record(connection, asset))


def verdicts(done: Scan) -> list[str]:
    return [result["verdict"] for result in done.results]


def test_only_what_is_damaged_is_found_and_where_it_is(
    world: tuple[Path, Scan, Scan, dict[str, Any]],
) -> None:
    """Must show 2: no finding on a small host without Python, on full servers, and on an edited one once accepted."""
    after = world[2]
    assert ["PASSED", "PASSED", "PASSED", "FAILED", "PASSED", "PASSED"] == verdicts(after)
    (finding,) = after.results[BROKEN]["findings"]
    assert ("fleet-03", "/usr/sbin/nginx") == (finding["host"], finding["subject"])
    assert any("file capabilities" in note for note in after.results[SMALL]["not_checked"])


def test_edits_are_findings_until_a_person_accepts_them(
    world: tuple[Path, Scan, Scan, dict[str, Any]],
) -> None:
    """R-PREV-2, R-ORG-5: who, when, why; the automatic baseline accepts nothing."""
    _, before, after, answer = world
    found = {(f["code"], f["subject"]) for f in before.results[EDITED]["findings"]}
    assert {
        ("FILE_CONTENT_DIFFERS", "/usr/share/nginx/html/index.html"), ("FILE_FOREIGN", "/usr/bin/our-tool"),
        ("FILE_MODE_DIFFERS", "/usr/bin/curl"), ("ALTERNATIVE_BROKEN", "/etc/alternatives/pager"),
    } == found, "diversion, statoverride and path-exclude are dpkg's own, and no difference"  # fmt: skip
    accepted = {one["entry"]["path"]: one for one in answer["accepted"]}
    assert "/etc/nginx/nginx.conf" in accepted, "an edited configuration file is accepted as it is"
    assert {"lena"} == {one["person"] for one in accepted.values()}
    assert {"This is how we run it."} == {one["reason"] for one in accepted.values()}
    assert any("people accepted" in note for note in after.results[EDITED]["not_checked"])
    assert ["/usr/sbin/nginx"] == [one["path"] for one in answer["differs"]], "the damaged host's stays"


def test_orchestrator_stays_small(world: tuple[Path, Scan, Scan, dict[str, Any]]) -> None:
    """Bounded memory, whatever the number of hosts; `make bench` does the same with fifty."""
    assert world[1].peak < MEMORY


def test_baseline_refuses_strangers_and_silence(world: tuple[Path, Scan, Scan, dict[str, Any]]) -> None:
    plan = world[0]
    for words in (
        ["--accept", "all"], ["--accept", "all", "--by", "nobody", "--reason", "x"],
        ["--accept", "/no/such/path", "--by", "lena", "--reason", "x"],
    ):  # fmt: skip
        done = CliRunner().invoke(app, ["baseline", str(plan), *words])
        assert done.exit_code not in {0, 1}, words
        assert "What to do" in done.output
