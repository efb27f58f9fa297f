"""The acceptance cases as drills on the demo's throw-away host: `reinstate drill --case N`, without root.

The shop is built and backed up as production. Then production goes away, and the same shop comes back as the staging
host that stands in for it: another machine-id, another host key, another login key, another port, and the marker.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deployments.demo import host
from deployments.demo.facts import HostFacts, WorldFacts
from deployments.demo.planning import HOST, plan_data, write_plan
from deployments.demo.processes import free_port
from deployments.demo.world import World
from model.errors import BadInput, ReinstateError
from model.fault_kinds import FaultKind

CASES: Mapping[int, tuple[FaultKind, ...]] = {
    1: (FaultKind.CONFIGURATION, FaultKind.PERMISSIONS, FaultKind.STOPPED_SERVICE),
    2: (FaultKind.OVERWRITTEN_DOCUMENTS, FaultKind.DELETED_DIRECTORY),
    3: (FaultKind.DATABASE_PAGES,),
}
"""Case → what of it the demo's host can have: its packages are not the system's, and its dumps know no moment."""

STANDING_IN = "ssh-client-key-staging"


def prepare_case(folder: Path, case: int, say: Callable[[str], None]) -> tuple[World, Path]:
    """Build the shop, back it up, and put its stand-in in its place.

    Args:
        folder: of the demo; everything of it is made anew.
        case: number of the acceptance case.
        say: told what is done.

    Returns:
        The running stand-in, and the plan.

    Raises:
        BadInput: there is no such case. ReinstateError: a part of the demo did not start.
    """
    if case not in CASES:
        raise BadInput(f"there is no case {case}.", "--case", f"give {', '.join(map(str, CASES))}")
    folder = folder.absolute()
    os.environ["REINSTATE_HOME"] = str(folder / "home")
    from deployments.demo.session import back_up, forget_unfinished

    try:
        say("Building a throw-away shop as production, and backing it up …")
        production = World.build(folder)
        plan = write_plan(production.facts)
        forget_unfinished()
        for sentence in back_up(plan):
            say(sentence)
        say("Production goes away; its stand-in takes the stage …")
        production.stop()
        staging = World(stand_in(production.facts))
        staging.start()
    except (RuntimeError, ValueError) as error:
        raise ReinstateError(str(error), str(folder), "`make clean`, then try again") from error
    return staging, write_plan(production.facts, more=_drill(staging.facts, case))


def stand_in(facts: WorldFacts) -> WorldFacts:
    """Give a host that does not run another identity, and say on it that it is staging."""
    old = facts.host
    client = facts.folder / "secrets" / STANDING_IN
    for path in (facts.folder / "sshd/host-key", client):
        path.unlink(missing_ok=True)
        host.make_key(path, "demo staging")
    machine_id = secrets.token_hex(16)
    old.machine_id_file.write_text(f"{machine_id}\n")
    old.role_file.write_text("staging\n")
    host_key = " ".join((facts.folder / "sshd/host-key.pub").read_text().split()[:2])
    port = free_port(None)
    changed = HostFacts.model_validate(
        old.model_dump()
        | {"port": port, "host_key": host_key, "client_key": client, "machine_id": machine_id, "role": "staging"}
    )  # fmt: skip
    return facts.model_copy(update={"host": changed})


def _drill(staging: WorldFacts, case: int) -> dict[str, Any]:
    """The section `drill` of the plan."""
    there = plan_data(staging, 3.0)["hosts"][HOST]
    url = staging.shop.url
    return {
        "drill": {
            "staging": {HOST: there}, "probes": {"health": f"{url}/health", "front": f"{url}/"},
            "faults": [kind.value for kind in CASES[case]], "count": min(2, len(CASES[case])), "lease": "1h",
            "sign_off": "simulated",
        }
    }  # fmt: skip
