"""The fixtures of the laboratory; a test that asks for one carries the marker `lab`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.base import DATA, RPM, Base, ensure_base
from tests.lab.host import LabHost
from tests.lab.network import LabSession
from tests.lab.servers import Shop, ShopState, prepare_shop

MakeLabHost = Callable[..., LabHost]


@pytest.fixture(scope="session")
def lab_base() -> Base:
    """The cached base; the first test ever on a machine waits for it for about half a minute."""
    return ensure_base()


@pytest.fixture(scope="session")
def lab_session(lab_base: Base) -> Iterator[LabSession]:
    """The private network of this test session; whatever still hangs on it at the end is ended."""
    session = LabSession()
    yield session
    session.close()


@pytest.fixture
def make_lab_host(lab_base: Base, lab_session: LabSession) -> Iterator[MakeLabHost]:
    """A factory of booted hosts, `make_lab_host(name="host", layers=())`; all are gone after the test."""
    hosts: list[LabHost] = []

    def make(name: str = "host", layers: tuple[Path, ...] = ()) -> LabHost:
        host = LabHost(lab_base, lab_session, name, layers)
        hosts.append(host)
        host.start()
        return host

    yield make
    for host in reversed(hosts):
        host.stop()


@pytest.fixture(scope="session")
def rpm_base() -> Base:
    """The cached base of the RPM family."""
    return ensure_base(recipe=RPM)


@pytest.fixture
def make_rpm_host(rpm_base: Base, lab_session: LabSession) -> Iterator[MakeLabHost]:
    """A factory of booted hosts whose software came as RPM packages, `make_rpm_host(name="rpm")`."""
    with contextlib.ExitStack() as hosts:

        def make(name: str = "rpm") -> LabHost:
            return hosts.enter_context(LabHost(rpm_base, lab_session, name))

        yield make


@pytest.fixture(scope="session")
def data_base() -> Base:
    """The cached base with databases and backup tools."""
    return ensure_base(recipe=DATA)


@pytest.fixture
def make_data_host(data_base: Base, lab_session: LabSession) -> Iterator[MakeLabHost]:
    """A factory of booted hosts with databases and backup tools, `make_data_host(name="data", layers=())`."""
    with contextlib.ExitStack() as hosts:

        def make(name: str = "data", layers: tuple[Path, ...] = ()) -> LabHost:
            return hosts.enter_context(LabHost(data_base, lab_session, name, layers))

        yield make


@pytest.fixture
def lab_host(make_lab_host: MakeLabHost) -> LabHost:
    """A freshly booted host with nothing but the base on it."""
    return make_lab_host()


@pytest.fixture(scope="session")
def shop_layer(lab_base: Base, lab_session: LabSession) -> tuple[Path, ShopState]:
    """The shop, set up once and frozen, and its undamaged state."""
    layer = lab_session.directory / "shop-layer"
    with LabHost(lab_base, lab_session, "shop") as host:
        state = prepare_shop(host).state()
        host.freeze(layer)
    return layer, state


@pytest.fixture
def shop_state(shop_layer: tuple[Path, ShopState]) -> ShopState:
    """What the shop looks like when nothing is damaged; compare with `lab_shop.state()` after a recovery."""
    return shop_layer[1]


@pytest.fixture
def make_lab_shop(make_lab_host: MakeLabHost, shop_layer: tuple[Path, ShopState]) -> Callable[[str], Shop]:
    """A factory of hosts on which the shop runs, `make_lab_shop(name)`."""

    def make(name: str) -> Shop:
        host = make_lab_host(name, (shop_layer[0],))
        host.wait_running()
        return Shop(host)

    return make


@pytest.fixture
def lab_shop(make_lab_shop: Callable[[str], Shop]) -> Shop:
    """A host of this test's own on which the shop runs."""
    return make_lab_shop("shop")
