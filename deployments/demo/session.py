"""The recovery of a demo, through a real Prefect server (ServerSession) or without any (LocalSession)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyotp
import typer

from blocks.home import home, open_store, signing_key
from deployments.cli.output import clean
from deployments.demo.facts import WorldFacts
from deployments.server.paths import Paths
from deployments.server.remote import answer, start_run, wait_for_gate
from deployments.server.up import Up
from flows.back_up import back_up as back_up_flow
from flows.gate import WaitingForSignOff, description
from flows.recover import recover
from flows.stages import report
from model.errors import Refused, ReinstateError
from model.finding import Verdict
from model.incident import Kind, Source
from model.journal import LeaseReleased, Noted, fold
from model.outcome import Gate
from model.plan import DirectoryPackages
from model.signoff import Decision
from model.steps import Ask, Finished, next_step
from tasks.package_index import index_folder
from tasks.progress import Progress
from tasks.render import line
from tasks.steps import look
from tasks.voting import cast_vote, gate_digest, gate_standing, open_gate
from tasks.work import Work, load_plan, open_work

if TYPE_CHECKING:
    from deployments.demo.run import Wishes

REPORTER = "mia"
SUMMARY = "The smoke probe of the web shop failed."
PATIENCE = 600.0
CODE_SECONDS = 30


def back_up(plan: Path) -> list[str]:
    """Sign the package stores, then back up the shop through the product's own flow."""
    sentences = sign_stores(plan)
    return [*sentences, *asyncio.run(back_up_flow.fn(str(plan)))]


def sign_stores(plan: Path) -> list[str]:
    """What `reinstate packages index` does for each store of the plan: the demo made these packages itself."""
    memory, file = open_store(), load_plan(str(plan))
    done = []
    for name, source in file.plan.package_stores.items():
        if isinstance(source, DirectoryPackages):
            folder, progress = file.path.parent / source.path, Progress("index", "index")
            signed = index_folder(folder, signing_key(), memory, progress, changed_too=True)
            done.append(f"{name}: {signed.sentence}")
    return done


def healthy(plan: Path) -> bool:
    """Whether every check of the plan passes."""
    store = open_store()
    results = look(load_plan(str(plan), store), store, None, Progress("scan", "scan"))
    return all(result.verdict is Verdict.PASSED for result in results)


def forget_unfinished() -> None:
    """Give the hosts of earlier demos back whose recovery was cut off: their host was just rebuilt."""
    store = open_store()
    for incident in store.incidents():
        state = fold(store.read(incident))
        if state.proposal is None or isinstance(next_step(state), Finished):
            continue
        for host, token in state.tokens.items():
            store.release(state.proposal.hosts[host], token)
            store.append(incident, LeaseReleased(host=host, token=token))
        store.append(incident, Noted(sentence="The demo's host was rebuilt; this recovery ends here."))


def corrupt(world: WorldFacts) -> str:
    """Flip bytes all over the newest backups, behind the product's back; returns what was flipped."""
    if world.s3 is None:
        flipped = sorted(p for p in world.backups.rglob("*") if p.is_file() and p.suffix != ".json")
        for path in flipped:
            path.write_bytes(_flip(path.read_bytes()))
        return ", ".join(str(path.relative_to(world.backups)) for path in flipped)
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3", endpoint_url=world.s3.endpoint, region_name=world.s3.region,
        aws_access_key_id=world.s3.access_key_file.read_text().strip(),
        aws_secret_access_key=world.s3.secret_key_file.read_text().strip(),
        config=Config(request_checksum_calculation="when_required", response_checksum_validation="when_required"),
    )  # fmt: skip
    listed = client.list_objects_v2(Bucket=world.s3.bucket).get("Contents", [])
    keys = [item["Key"] for item in listed if not item["Key"].endswith(".json")]
    for key in keys:
        body = client.get_object(Bucket=world.s3.bucket, Key=key)["Body"].read()
        client.put_object(Bucket=world.s3.bucket, Key=key, Body=_flip(body))
    return ", ".join(keys)


def _flip(data: bytes) -> bytes:
    changed = bytearray(data)
    for position in range(100, len(changed), 200):
        changed[position] ^= 0x20
    return bytes(changed)


class Session:
    """What both ways share: showing the journal, asking the person, signing."""

    url = ""
    password = ""

    def __init__(self, wish: Wishes, plan: Path) -> None:
        """Remember the wishes; `start` starts what is needed."""
        self.wish, self.plan = wish, plan
        self.shown = 0

    def start(self) -> None:
        """Start what the recovery needs."""

    def stop(self) -> None:
        """Stop what `start` started."""

    def show(self, work: Work) -> None:
        """Print the journal's new records."""
        records = work.store.read(work.incident.id)
        for record in records[self.shown :]:
            self.wish.console.print(f"    [dim]{record.at:%H:%M:%S}[/] {clean(line(record))}", soft_wrap=True)
        self.shown = len(records)

    def _signer(self, may_sign: Sequence[str]) -> str:
        """Someone whose present code was not used yet; a code is good once, so it may take until the next one."""
        path = home() / "demo-codes.json"
        while True:
            used: dict[str, int] = json.loads(path.read_text()) if path.is_file() else {}
            step = int(time.time() // CODE_SECONDS)
            free = [person for person in may_sign if used.get(person) != step]
            if free:
                path.write_text(json.dumps(used | {free[0]: step}))
                return free[0]
            self.wish.step("Waiting for the next one-time code: each is good only once …")
            time.sleep(CODE_SECONDS - time.time() % CODE_SECONDS + 0.2)

    def ask(self, work: Work, gate: Gate) -> tuple[str, Decision, str, str, str] | None:
        """What to answer at a gate: person, decision, reason, digest, code; None when the person signs in the UI."""
        state = open_gate(work, gate)
        signer = self._signer(gate_standing(work, state, gate).may_sign)
        reference = work.plan.people[signer].totp or ""
        code = pyotp.TOTP(work.file.secrets.resolve(reference)).now()
        digest = gate_digest(state, gate)
        decision, reason = Decision.APPROVE, "Signed by the demo."
        if self.wish.yes:
            if gate is Gate.ACCEPT and self.wish.deny:
                decision = Decision.DENY
            self.wish.step(f"{signer} signs {gate} with {decision} and a one-time code (--yes).")
            return signer, decision, reason, digest, code
        self.wish.console.print(clean(description(work, state, gate)), soft_wrap=True)
        self.wish.step(
            f"Waiting for a sign-off at {gate}: {signer} may sign; the code of {signer} is {code}."
        )
        words = "approve, deny or ui" if self.url else "approve or deny"
        said = typer.prompt(f"Your decision ({words})", default="approve", err=True).strip().lower()
        if said == "ui" and self.url:
            self.wish.step(f"Sign at {self.url}: open the run, press Resume.")
            return None
        decision = Decision.DENY if said.startswith("d") else Decision.APPROVE
        reason = typer.prompt("Reason", default="Looks right to me.", err=True)
        code = typer.prompt("One-time code", default=code, err=True)
        return signer, decision, reason, digest, code


class LocalSession(Session):
    """Without a Prefect server."""

    def recover(self, detected: datetime) -> Work:
        """Run the recovery in this process, asking in the terminal."""
        incident = asyncio.run(report.fn(str(self.plan), SUMMARY, REPORTER, Kind.REAL, Source.DEMO, detected))
        work = open_work(incident)
        while True:
            try:
                asyncio.run(recover.fn(incident=incident))
            except WaitingForSignOff:
                self.show(work)
                step = next_step(work.state())
                assert isinstance(step, Ask)  # noqa: S101 - that is what the error says
                said = self.ask(work, step.gate)
                assert said is not None  # noqa: S101 - without a UI the person answers here
                person, decision, reason, digest, code = said
                try:
                    cast_vote(
                        work, step.gate, person=person, decision=decision, reason=reason, signed_digest=digest,
                        code=code,
                    )  # fmt: skip
                except Refused as refusal:
                    self.wish.step(f"Refused: {refusal}")
            else:
                self.show(work)
                return work


class ServerSession(Session):
    """Through `up`: a real Prefect server, worker and UI."""

    def start(self) -> None:
        """Start `up`."""
        store = open_store()
        self.up = Up([load_plan(str(self.plan), store)], None, lambda _: None)
        self.up.start()
        self.url, self.password = self.where.url, self.where.password

    @property
    def where(self) -> Paths:
        """The installation."""
        return self.up.where

    def stop(self) -> None:
        """Stop `up` in order."""
        if hasattr(self, "up"):
            self.up.stop(drain=5.0)

    def recover(self, detected: datetime) -> Work:
        """Start `recover` on the server, show the journal as it grows, answer the forms."""
        run, url = start_run(
            self.where,
            "demo-shop",
            summary=SUMMARY,
            reported_by=REPORTER,
            source=Source.DEMO,
            detected_at=detected,
        )
        self.wish.step(f"Watch it: {url}")
        store, deadline = open_store(), time.monotonic() + PATIENCE
        known = None
        while known is None and time.monotonic() < deadline and self._worker_lives():
            known = store.get(f"runs/{run}")
            time.sleep(0.2)
        if known is None:
            raise ReinstateError(
                "the recovery did not start.", where=url, remedy=f"read {home() / 'up/logs/worker.log'}"
            )
        work = open_work(known.decode(), store)
        while True:
            self.show(work)
            step = next_step(work.state())
            if isinstance(step, Finished):
                return work
            if isinstance(step, Ask) and wait_for_gate(self.where, work):
                said = self.ask(work, step.gate)
                if said is not None:
                    person, decision, reason, digest, code = said
                    form = {"person": person, "decision": decision.value, "reason": reason}
                    answer(self.where, work, form | {"digest": digest, "code": code})
                self._until_dealt_with(work, step.gate)
            elif not self._worker_lives() or (time.monotonic() > deadline and self.wish.yes):
                raise ReinstateError(
                    "the recovery did not end in time.", where=url, remedy="look at the run there"
                )
            time.sleep(0.3)

    def _worker_lives(self) -> bool:
        return self.up.worker is not None and self.up.worker.alive()

    def _until_dealt_with(self, work: Work, gate: Gate) -> None:
        """Wait until the answer is in the journal, so that nobody is asked twice for one question."""
        asked = work.state().asked(gate)
        while work.state().asked(gate) == asked and isinstance(next_step(work.state()), Ask):
            self.show(work)
            time.sleep(0.3)
