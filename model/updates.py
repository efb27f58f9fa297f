"""Pending updates, and which of them mend known vulnerabilities. Never a damage finding (R-PREV-3)."""

from __future__ import annotations

from pydantic import AwareDatetime

from model.canonical import HostText, Value


class Update(Value):
    """One package that is not what it could be.

    Attributes:
        package: name.
        installed: version that is installed.
        candidate: version the sources offer, or the first that mends the vulnerability; empty when none is known.
        security: whether it mends vulnerabilities, as far as the source says.
        origin: where the candidate comes from.
        advisories: ids of advisories (DSA, RHSA, GHSA, PYSEC …).
        cves: CVE ids; empty when the source names none: then it is not known, not "none".
        held: a person holds the package back.
    """

    package: HostText
    installed: HostText
    candidate: HostText = ""
    security: bool = False
    origin: HostText = ""
    advisories: tuple[HostText, ...] = ()
    cves: tuple[HostText, ...] = ()
    held: bool = False


class UpdatesReport(Value):
    """What one asset could be updated to.

    Attributes:
        lists_at: how old the lists are that this was told from; None when there is none.
        refreshed: they were fetched for this very look.
        looked: whether it could be told at all; `sentence` says why not.
    """

    host: str
    asset: str
    looked: bool
    sentence: str
    updates: tuple[Update, ...] = ()
    lists_at: AwareDatetime | None = None
    refreshed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def security(self) -> tuple[Update, ...]:
        """Those that mend vulnerabilities."""
        return tuple(update for update in self.updates if update.security)
