"""Exchanging a database server's data directory for one laid beside it: who stands still, in which order, and back.

The same for every kind of server; what lays the new directory, and proves it, is in the engines' own modules.
"""

from __future__ import annotations

import hashlib
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from blocks.hosts.base import Connection
from model.assets import MariadbAsset, PostgresAsset, ServiceAsset
from model.command import Command, Result
from model.errors import PreconditionFailed, Refused, ReinstateError, Transient
from tasks.performed import Performed
from tasks.staging import PLAIN, Progress

SECONDS = 24 * 3600.0

COMEBACK = 120.0
"""Seconds the server gets to answer after its start."""

# Every server of these kinds works in its data directory: a pid file may be old, or another one's.
_SWAP = r"""
cd / || exit 73
first=$1 second=$2 aside=$3 holds=$4
for each in /proc/[0-9]*/cwd; do
    [ "$(readlink "$each")" != "$first" ] || { echo "a server runs in $first" >&2; exit 75; }
done
if [ ! -e "$aside" ]; then
    [ -e "$second/$holds" ] || { echo "$second is not there" >&2; exit 66; }
    if [ -e "$first" ]; then
        mv -T -- "$first" "$aside" || exit 73
    else
        mkdir -m 700 -- "$aside" && : >"$aside/reinstate-was-absent" || exit 73
    fi
fi
if [ ! -e "$first" ]; then
    rm -f -- "$second/reinstate-whole"
    mv -T -- "$second" "$first" || { mv -T -- "$aside" "$first"; exit 73; }
fi
[ ! -e "$first/reinstate-was-absent" ] || rm -rf -- "$first"
sync
"""
"""Arguments: directory, the one that takes its place, where the first is kept, what the second holds."""
_BACK = r"""
cd / || exit 73
mv -T -- "$1" "$2" || exit 73
[ ! -e "$2/reinstate-was-absent" ] || rm -rf -- "$2"
"""
_STATE = 'cd / || exit 73; for folder; do [ -e "$folder" ] && echo yes || echo no; done'


@dataclass(frozen=True)
class Layout:
    """The folders of one effect; the same for all its attempts and its undo.

    Attributes:
        live: the data directory.
        new: where the restored one is laid.
        aside: what `live` was; kept until commit.
        undone: what was restored, after an undo.
        private: folder of the socket of a server that only its owner reaches.
    """

    live: str
    new: str
    aside: str
    undone: str
    private: str

    @classmethod
    def of(cls, live: str, effect: str) -> Layout:
        """The names for an effect, `INCIDENT/ACTION`."""
        suffix = hashlib.sha256(effect.encode()).hexdigest()[:8]
        new, aside, undone = (f"{live}.reinstate-{what}-{suffix}" for what in ("new", "damaged", "restored"))
        return cls(live, new, aside, undone, f"/tmp/reinstate-{suffix}")  # noqa: S108 - mode 700, refused when foreign


def effect_of(job_prefix: str, action_id: str) -> str:
    """The effect that attempts `INCIDENT-ACTION-ATTEMPT` and their undo belong to."""
    incident = re.split(rf"-(?:undo-)?{re.escape(action_id)}(?:-|$)", job_prefix)[0]
    return f"{incident}/{action_id}"


def ask(connection: Connection, command: Command) -> Result:
    """Run one that changes nothing live.

    Raises:
        Transient: the connection was lost.
    """
    result = connection.run(command)
    if result.status is None:
        raise Transient(
            "the connection was lost while the data directory was looked at.", connection.name, "run it again"
        )
    return result


def layout_of(asset: PostgresAsset | MariadbAsset, job_prefix: str, action_id: str) -> Layout:
    """The folders of an action on an asset's server.

    Raises:
        Refused: the plan does not say where its data is, or what runs it.
    """
    if asset.data_directory is None or asset.service is None:
        raise Refused(
            "the plan does not say where the data directory is and what runs its server.", asset.database,
            "give `data_directory` and `service` of the database",
        )  # fmt: skip
    return Layout.of(asset.data_directory, effect_of(job_prefix, action_id))


def users_of(
    asset: PostgresAsset | MariadbAsset, services: Mapping[str, ServiceAsset]
) -> tuple[ServiceAsset, ...]:
    """The services on the asset's host that use its server."""
    return tuple(
        services[name]
        for name in asset.services
        if services[name].host == asset.host and name != asset.service
    )


@dataclass(frozen=True)
class Exchange(ABC):
    """One effect on a server's data directory: where everything is, and who must stand still meanwhile.

    Attributes:
        server: the service that runs the server.
        users: services on this host that use it; they stop first and start last.
        owner: user of the host who moves the folders; empty: root, or the login.
        holds: a path that every data directory of this kind has.
        noun: what is exchanged, in words.
    """

    connection: Connection
    layout: Layout
    server: ServiceAsset
    users: tuple[ServiceAsset, ...]
    prefix: str
    token: int
    owner: str
    holds: str
    noun: str

    @abstractmethod
    def answers(self) -> None:
        """Ask the server something.

        Raises:
            PreconditionFailed: it does not answer.
        """

    @abstractmethod
    def discard(self, name: str) -> None:
        """Remove what was laid beside the live directory."""

    def job(self, name: str, command: Command) -> Result:
        """A step, exactly once."""
        return self.connection.job(f"{self.prefix}-{name}", command, self.token)

    def script(self, text: str, *words: str) -> Command:
        """A constant script as the folders' owner; its words are data."""
        return Command(
            ("sh", "-c", text, "reinstate-exchange", *words), sudo=True, user=self.owner, env=PLAIN, timeout=SECONDS
        )  # fmt: skip

    def stop(self) -> None:
        """Stop who uses the server, then itself.

        Raises:
            ReinstateError: the server still runs.
        """
        for number, service in enumerate((*self.users, self.server)):
            self._drive(service, "stop", f"stop-{number}")
        if self._runs():
            raise ReinstateError(
                "the database server does not stop.",
                self.connection.name,
                "stop it by hand, then go on; nothing was changed",
            )

    def start(self, name: str) -> None:
        """Start the server and wait until it answers, then who uses it.

        Raises:
            ReinstateError: it does not answer.
        """
        started = self._drive(self.server, "start", f"{name}-server")
        deadline = time.monotonic() + COMEBACK
        while True:
            try:
                self.answers()
                break
            except PreconditionFailed as error:
                if time.monotonic() > deadline or not (started or self._runs()):
                    raise ReinstateError(
                        f"the database server does not answer after its start: {error.what}", error.where,
                        "read its log; the run goes back to what was before",
                    ) from error  # fmt: skip
                time.sleep(0.3)
        for number, service in enumerate(reversed(self.users)):
            self._drive(service, "start", f"{name}-{number}")

    def _drive(self, service: ServiceAsset, verb: Literal["start", "stop"], name: str) -> bool:
        """Have a service started or stopped; whether it said that it is."""
        done = [
            self.job(f"{name}-{part}", Command(words, sudo=True, env=PLAIN, timeout=600.0))
            for part, words in enumerate(service.command(verb))
        ]
        return all(one.ok for one in done)

    def _runs(self) -> bool:
        return all(ask(self.connection, _status(words)).ok for words in self.server.command("status"))

    def swap(self, name: str, first: str, second: str, aside: str, holds: str) -> None:
        """`first` becomes `aside`, `second`, which `holds` something, becomes `first`; finishes what was begun.

        Raises:
            ReinstateError: a rename failed; both are as they were.
        """
        result = self.job(name, self.script(_SWAP, first, second, aside, holds))
        if not result.ok:
            raise ReinstateError(
                f"{second} could not take the place of {first}: {result.tail(2)}.", self.connection.name,
                "see that no server runs there; both folders are as they were",
            )  # fmt: skip

    def there(self) -> dict[str, bool]:
        """Which of the folders there are."""
        folders = {"live": self.layout.live, "new": self.layout.new, "aside": self.layout.aside}
        result = ask(self.connection, self.script(_STATE, *folders.values()))
        answers = result.check(self.connection.name, "look at the host").text.split()
        return {name: answer == "yes" for name, answer in zip(folders, answers, strict=True)}

    def serve(self, about: str, point: str, proof: str, moved: int) -> Performed:
        """Exchange the folders and start the services.

        Args:
            about: whose it is.
            point: id of the recovery point.
            proof: what was seen to be whole; empty: it was seen before.
            moved: bytes.
        """
        self.swap("swap", self.layout.live, self.layout.new, self.layout.aside, self.holds)
        self.start("start")
        said = f" {proof[0].upper()}{proof[1:]};" if proof else ""
        return Performed(
            f"The {self.noun} of {about} was restored from {point}.{said} the damaged {self.noun} is kept as "
            f"{self.layout.aside}.",
            moved,
        )

    def undo(self, progress: Progress) -> Performed:
        """Put back what was there before, bit for bit; what was restored stays beside it.

        Raises:
            ReinstateError: a rename failed.
        """
        there, layout = self.there(), self.layout
        if not there["aside"]:
            self.discard("discard")
            progress(1, 1)
            return Performed(f"{layout.live} was not replaced; nothing had to be renamed back.")
        self.stop()
        if there["live"]:
            self.swap("rename", layout.live, layout.aside, layout.undone, "")
            kept = f" The restored {self.noun} is kept as {layout.undone}."
        else:  # a swap that was cut between its two renames
            result = self.job("rename", self.script(_BACK, layout.aside, layout.live))
            result.check(self.connection.name, "rename it by hand")
            kept = ""
        try:
            self.start("start")
        except Transient:
            raise
        except ReinstateError as error:
            # What did not serve before the recovery does not serve after its undo.
            kept += f" It does not answer, as before the recovery: {error.what}"
        progress(1, 1)
        return Performed(f"{layout.live} is again the {self.noun} it was before the recovery.{kept}")


def _status(words: tuple[str, ...]) -> Command:
    return Command(words, sudo=True, env=PLAIN, timeout=30.0)
