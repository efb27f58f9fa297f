"""Case 1 as it ships: server software is damaged and internal systems are down, from the alert to the acceptance."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyotp
import pytest
from ruamel.yaml import YAML

from blocks.home import open_store, signing_key
from model.finding import Code
from model.incident import Source
from model.outcome import Gate, RunVerdict
from tasks.package_index import index_folder
from tests.lab import damage
from tests.lab.servers import WEB_ROOT, Shop
from tests.support.examples import keep_example
from tests.support.labworld import LabWorld, merged, write_secret
from tests.support.locally import back_up_locally, recover_locally
from tests.support.witness import look

pytestmark = [pytest.mark.lab, pytest.mark.slow]

PLAN = Path(__file__).parents[2] / "plans" / "case-1-server-software.yaml"
SIGNERS = {Gate.DECIDE: "head-of-it", Gate.ACCEPT: "admin"}


@pytest.fixture
def intranet(make_lab_shop: Callable[[str], Shop], home: Path, tmp_path: Path) -> LabWorld:
    """The plan's host for real; of the plan only its examples are replaced: addresses, keys and folders."""
    shop, folder = make_lab_shop("intranet"), tmp_path / "case-1"
    (folder / "backup").mkdir(parents=True)
    world, host = LabWorld(folder, shop, "", ""), shop.host
    shutil.copytree(host.inside("/srv/pool"), folder / "debs")
    index_folder(folder / "debs", signing_key(), open_store(), lambda _done, _total: None)
    write_secret(folder, "ssh-key", host.key_path.read_text())
    for person in ("head-of-it", "deputy", "admin"):
        write_secret(folder, f"totp-{person}", pyotp.random_base32())
    plan: dict[str, Any] = YAML(typ="safe", pure=True).load(PLAN)
    real = {
        "hosts": {
            "intranet": {
                "address": host.address, "user": "ops", "host_key": host.host_key, "machine_id": host.machine_id,
            }
        },
        "backups": {"nas": {"path": "backup"}},
        "package_stores": {"debs": {"path": "debs"}},
        "assets": {"pages": {"path": WEB_ROOT}},
        "checks": {
            "probes": [{"name": "start-page", "url": shop.url, "contains": "The shop is open"}],
            "soak": 1, "interval": 0.3,
        },
    }  # fmt: skip
    world.plan_file.write_text(json.dumps(merged(plan, real), indent=1))
    return world


def test_case_1_server_software_damaged_recovered_from_alert_to_acceptance(intranet: LabWorld) -> None:
    """R-SCOPE-2 case 1, R-RESP-1…7: program, library, configuration and a page; the monitor reports, people sign."""
    host, shop = intranet.host, intranet.shop
    back_up_locally(intranet)
    healthy = look(host)
    damaged = [
        damage.replace_binary(host), damage.flip_library_bit(host), damage.delete_configuration(host),
        damage.truncate_file(host), damage.change_mode(host),
    ]  # fmt: skip
    assert 0 == shop.fetch()[0], "internal systems are down"
    work = recover_locally(intranet, signers=SIGNERS)
    state = work.state()
    assert state.ended is not None
    assert RunVerdict.RECOVERED == state.ended.verdict, state.ended.sentence
    assert 200 == shop.fetch()[0]
    incident = state.require_incident()
    assert (Source.WEBHOOK, "intranet-web", "monitor") == (
        incident.source,
        incident.plan,
        incident.reported_by,
    )
    assert state.confirmed is not None
    found = {
        finding.subject: finding.code for result in state.confirmed.results for finding in result.findings
    }
    assert {one.path for one in damaged} <= found.keys()
    assert Code.SERVICE_DOWN in found.values()
    assert ["head-of-it", "admin"] == [vote.person for vote in state.votes]
    after = look(host)
    assert {one.path: healthy[one.path].facts for one in damaged} == {
        one.path: after[one.path].facts for one in damaged
    }
    assert state.ended.rto is not None
    assert state.ended.rto <= intranet.plan().objectives.rto
    assert state.reviewed is not None
    assert "RECOVERED" in Path(state.reviewed.report).read_text()
    keep_example("case-1", work)
