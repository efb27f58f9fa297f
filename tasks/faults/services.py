"""Faults of services: one that somebody stopped (R-DRILL)."""

from __future__ import annotations

from model.assets import MariadbAsset, PostgresAsset, ServiceAsset
from model.errors import PreconditionFailed
from model.faults import Expected, Planted
from model.finding import Code
from tasks.faults.site import Site


def prepare(site: Site) -> Planted:
    """It must run, or stopping it is no fault."""
    name, asset = site.fault.asset, site.asset(ServiceAsset)
    if not site.running((name,)):
        raise PreconditionFailed(
            f"{name} does not run, so it cannot be stopped.",
            site.connection.name,
            "start it before the drill",
        )
    subject = asset.unit or name
    databases = [
        other for other, one in site.plan.assets.items()
        if isinstance(one, PostgresAsset | MariadbAsset) and one.service == name
    ]  # fmt: skip
    others = [other for other in site.plan.services if name in site.plan.needs(other)]
    follows = [
        *(Expected(code=Code.DATABASE_UNREACHABLE, asset=other) for other in databases),
        *(Expected(code=Code.SERVICE_DOWN, asset=other) for other in others),
        *(
            Expected(code=Code.UNIT_CHANGED, subject=subject),
            Expected(code=Code.UNIT_FAILED, subject=subject),
        ),
    ]
    return site.planted(
        f"The service {name} ({subject}) was stopped.", (subject,),
        [Expected(code=Code.SERVICE_DOWN, asset=name, subject=subject)], follows=follows,
        services=site.running((name, *others)),
    )  # fmt: skip


def strike(site: Site, _planted: Planted) -> None:
    """Stop it."""
    site.stop(site.fault.asset)


def mend(site: Site, planted: Planted) -> None:
    """Start what does not run again."""
    for name in planted.left.services:
        site.start(name)
