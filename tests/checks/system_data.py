"""A host's state as data: what the script would print, part by part, and its judgement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from checks.judging import Judging, SystemData
from model.assets import SystemAsset
from model.finding import Code, Finding
from model.host_state import HostState

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


def facts(
    parts: Mapping[str, str], endpoints: Mapping[str, bytes | str] | None = None, seconds: float = 1.0
) -> SystemData:
    """The facts of a host whose command took `seconds`."""
    return SystemData(dict(parts), NOW, NOW + timedelta(seconds=seconds), endpoints or {})


def judgement(
    part: Callable[[Judging], None],
    parts: Mapping[str, str],
    *,
    known: HostState | None = None,
    endpoints: Mapping[str, bytes | str] | None = None,
    **asset: object,
) -> Judging:
    """One part judged; keyword arguments are keys of the asset."""
    wanted = SystemAsset.model_validate({"kind": "system", "host": "web-1", **asset})
    judging = Judging("host-state", wanted, facts(parts, endpoints), known)
    part(judging)
    return judging


def found(judging: Judging) -> dict[str, tuple[Code, str]]:
    """Subject → code and what was found."""
    return {f.subject: (f.code, f.actual) for f in judging.findings.values()}


def only(judging: Judging) -> Finding:
    """The one finding there is."""
    (finding,) = judging.findings.values()
    return finding
