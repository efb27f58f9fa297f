"""What `up` does about alerts: the incidents they lead to are opened and their recoveries started (R-USE-6).

A recovery that was started by an alert goes up to its proposal by itself. It changes nothing before people have signed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

from blocks.alerts.spool import Spool
from blocks.home import home
from blocks.journals.base import JournalStore
from deployments.gateway.serving import LivePlans
from deployments.server.paths import Paths
from deployments.server.remote import announce, start_run
from flows.events import ALERTED, about
from model.canonical import now
from tasks.alerting import Alerting

LOOK_SECONDS = 1.0
FORGET_EVERY = timedelta(hours=6)


def keep_alerts(
    store: JournalStore,
    references: Sequence[str],
    where: Paths,
    stopping: threading.Event,
    say: Callable[[str], None],
) -> threading.Thread:
    """Deal with what the gateway has taken, again and again beside everything else, until told to stop.

    Args:
        store: the journal store.
        references: files of the plans that have sources of alerts.
        where: the installation on which recoveries are started.
        stopping: set when it shall end.
        say: told what was done, and what went wrong.
    """
    spool = Spool(home() / "alerts")

    def start(plan: str, incident: str) -> None:
        start_run(where, plan, incident=incident, once=incident)

    alerting = Alerting(store, spool, LivePlans(references), start)

    def keep() -> None:
        forgotten = now()
        while not stopping.wait(LOOK_SECONDS):
            try:
                for dealt in alerting.deal():
                    if dealt.sentence:
                        say(dealt.sentence)
                    if dealt.opened:
                        announce(
                            where,
                            about(
                                ALERTED,
                                dealt.group.plan,
                                dealt.incident,
                                host=dealt.group.host,
                                cause=dealt.group.cause,
                            ),
                        )
                if now() - forgotten > FORGET_EVERY:
                    forgotten, _ = now(), spool.forget(now())
            except Exception as error:  # noqa: BLE001 - what was taken stays in the spool; the next look tries again
                say(f"Alerts could not be dealt with: {error}")
        spool.close()

    thread = threading.Thread(target=keep, name="alerts", daemon=True)
    thread.start()
    return thread
