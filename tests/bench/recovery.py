"""A whole recovery against its unavoidable work, done by hand on an equal host in the same run."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from datetime import datetime

from blocks.backups.s3client import open_client
from model.journal import StageEnded, StageStarted
from model.outcome import RunVerdict
from model.steps import Ask, next_step
from tasks.work import Work, open_work
from tests.bench.lab import BULK, FILE_BYTES, Lab, Row, by_hand
from tests.lab import damage
from tests.lab.base import LabError
from tests.lab.host import LabHost
from tests.lab.servers import DATABASE, FILES
from tests.support.labworld import make_world
from tests.support.locally import back_up_locally, begin, sign
from tests.support.s3server import ACCESS_KEY, SECRET_KEY

DAMAGED = 256
"""Files of the large set that are overwritten."""


def measure(lab: Lab) -> Iterator[Row]:
    """Damage both hosts alike; recover one with Reinstate and one with the plain tools."""
    folder = lab.folder / "world"
    folder.mkdir()
    world = make_world(lab.ours, folder, lab.endpoint, lab.bucket, {"checks": {"soak": 0}})
    back_up_locally(world)
    hand = _prepare_by_hand(lab)
    for host in (lab.ours.host, lab.theirs.host):
        _damage(host)
    laps = _by_hand(lab, hand)
    began = time.monotonic()
    incident = begin(str(world.plan_file))
    work = open_work(incident)
    while isinstance(next_step(work.state()), Ask):
        sign(world, work)
        begin(str(world.plan_file), incident)
    ours = time.monotonic() - began
    state = work.state()
    if state.ended is None or state.ended.verdict is not RunVerdict.RECOVERED:
        raise RuntimeError(f"the recovery did not succeed: {state.ended}")
    theirs = sum(laps.values())
    note = f"overhead {ours - theirs:.1f} s; by hand: {_said(laps)}"
    yield Row("recover ÷ its work by hand", ours, theirs, note)
    yield Row("  of it in the stages", sum(stages(work).values()), ours, _said(stages(work)))
    moved = sum(e.bytes for step, e in state.effects.items() if not step.startswith("undo-"))
    needed = sum(a.bytes for a in state.proposal.actions) if state.proposal else 0
    yield Row("bytes moved ÷ bytes proposed (MiB)", moved / (1 << 20), needed / (1 << 20))


def stages(work: Work) -> dict[str, float]:
    """Seconds from the start to the end of each stage, by the journal."""
    begun: dict[str, datetime] = {}
    spent: dict[str, float] = {}
    for record in work.store.read(work.incident.id):
        match record.payload:
            case StageStarted(stage=stage):
                begun[stage] = record.at
            case StageEnded(stage=stage):
                spent[stage] = (record.at - begun[stage]).total_seconds()
            case _:
                pass
    return spent


def _said(laps: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in laps.items())


def _damage(host: LabHost) -> None:
    damage.replace_binary(host)
    damage.corrupt_table_page(host)
    for number in range(1, DAMAGED + 1):
        with host.inside(f"{BULK}/f{number}").open("r+b") as file:
            file.seek(FILE_BYTES // 2)
            file.write(b"damage")


def _prepare_by_hand(lab: Lab) -> str:
    """What an administrator has at hand: a dump on the host, and a URL of exactly the files that will be damaged."""
    host = lab.theirs.host
    host.must(["runuser", "-u", "postgres", "--", "pg_dump", "-Fc", "-f", "/var/tmp/shop.dump", DATABASE])
    host.must(["sh", "-c", f"cd {BULK} && tar -cf /var/tmp/good.tar $(seq -f f%.0f {DAMAGED})"])
    client = open_client(lab.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY, compatible=True)
    client.put_object(
        Bucket=lab.bucket, Key="by-hand.tar", Body=host.inside("/var/tmp/good.tar").read_bytes()
    )
    url: str = client.generate_presigned_url(
        "get_object", Params={"Bucket": lab.bucket, "Key": "by-hand.tar"}
    )
    return url


def _by_hand(lab: Lab, url: str) -> dict[str, float]:
    """Seconds of each part of the work nobody can leave out, over the system's ssh as root."""
    host = lab.theirs.host
    hashing = f"find {FILES} -type f -print0 | xargs -0 -P2 sha256sum >/dev/null; dpkg --verify >/dev/null"
    database = (
        "cd /; createdb -O reinstate shop_new && pg_restore -d shop_new /var/tmp/shop.dump && psql -qXc "
        "\"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname='shop'\" >/dev/null && psql -qX "
        "-c 'ALTER DATABASE shop RENAME TO shop_damaged' -c 'ALTER DATABASE shop_new RENAME TO shop'"
    )
    keep = f"cd {BULK} && tar -cf - $(seq -f f%.0f {DAMAGED}) /usr/sbin/nginx 2>/dev/null"
    laps: dict[str, float] = {}

    def lap(name: str, script: str) -> None:
        began = time.monotonic()
        with (lab.folder / "kept.tar").open("wb") as kept:
            by_hand(host, lab.folder, script, stdout=kept if name == "snapshot" else subprocess.DEVNULL)
        laps[name] = laps.get(name, 0.0) + time.monotonic() - began

    lap("hashing", hashing)
    lap("snapshot", keep)
    lap("dpkg -i", "dpkg -i /srv/pool/nginx_*.deb >/dev/null 2>&1")
    lap("transfer", f"curl -sSf '{url}' | tar -xf - -C {BULK}")
    lap("pg_restore", f"runuser -u postgres -- sh -c {_quoted(database)}")
    lap("restart", "systemctl restart nginx && systemctl is-active nginx >/dev/null")
    lap("hashing", hashing)
    if lab.theirs.fetch()[0] != 200:
        raise LabError("the shop does not answer after it was repaired by hand")
    return laps


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
