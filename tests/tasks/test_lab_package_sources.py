"""Where packages come from on a real host: the order, offline from folder and bucket, and what is refused."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.backups.s3client import open_client
from blocks.keys import SigningKey
from blocks.packages import PackageStore, open_objects
from blocks.packages.objects import FolderObjects
from checks import package_sources
from model.assets import DpkgAsset
from model.plan import S3Packages
from tasks.stocking import stock
from tests.lab import damage
from tests.lab.base import sign_pool
from tests.lab.host import LabHost
from tests.support.packages import DictMemory, key, shelf
from tests.support.rounds import HOST, Round
from tests.support.s3server import ACCESS_KEY, SECRET_KEY, start_s3
from tests.support.stores import FixedSecrets
from tests.support.witness import changes, look
from tests.tasks.localhost import quiet

pytestmark = pytest.mark.lab

PACKAGES = ("curl", "nginx", "nginx-light", "nginx-common", "hostname", "libnginx-mod-http-geoip")


@pytest.fixture(scope="module")
def lab_s3(lab_session: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server that hosts of the laboratory reach, too."""
    from tests.lab.network import LabSession

    assert isinstance(lab_session, LabSession)
    server = start_s3(tmp_path_factory.mktemp("s3"), lab_session.gateway)
    open_client(server.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY, compatible=True).create_bucket(
        Bucket="debs"
    )
    yield server.endpoint
    server.stop()


def bucket_store(endpoint: str, signing: SigningKey) -> PackageStore:
    source = S3Packages(
        kind="s3", bucket="debs", prefix="stock", endpoint=endpoint, access_key="env:S3_ACCESS",
        secret_key="env:S3_SECRET",
    )  # fmt: skip
    objects = open_objects("debs", source, FixedSecrets(), Path("/"))
    return PackageStore("debs", objects, [signing.verifier], DictMemory(), "mark.json")


def test_offline_repair_from_bucket_and_folder_that_were_stocked_through_the_host(
    lab_host: LabHost, lab_s3: str, tmp_path: Path
) -> None:
    """Must show 4 and R-PREV-4: stocked while healthy, then every mirror is unreachable and the cache is empty."""
    folder = PackageStore(
        "debs", FolderObjects("debs", tmp_path / "debs"), [key().verifier], DictMemory(), "mark.json"
    )
    stores = [folder, bucket_store(lab_s3, key())]
    plain = Round(lab_host, {"debs": folder}, {"packages": PACKAGES, "store": "debs"})
    asset = plain.plan.assets["system"]
    assert isinstance(asset, DpkgAsset)
    with plain.connect() as connection:
        for store in stores:
            told: list[tuple[int, int]] = []
            done = stock("system", asset, connection, store, key(), lambda *a, told=told: told.append(a))
            assert (len(PACKAGES), 0, {}) == (done.fetched, done.present, dict(done.missing))
            assert told[-1][0] == told[-1][1] == done.bytes
            again = stock("system", asset, connection, store, key(), quiet)
            assert (0, len(PACKAGES), 0) == (again.fetched, again.present, again.bytes)
    assert not list(lab_host.inside("/var/lib/reinstate/staging").iterdir())
    shutil.rmtree(lab_host.inside("/srv/pool"))
    for store in stores:
        there = Round(lab_host, {"debs": store}, {"packages": PACKAGES, "store": "debs"})
        before = look(lab_host, ["/usr/bin", "/usr/sbin", "/etc/nginx"])
        damage.replace_binary(lab_host)
        lab_host.inside("/usr/bin/curl").write_bytes(b"garbage")
        with there.connect() as connection:
            _found, proposal = there.cure(connection)
        assert {"store:debs"} == {action.source for action in proposal.actions if hasattr(action, "source")}
        after = look(lab_host, ["/usr/bin", "/usr/sbin", "/etc/nginx"])
        # Directories of a reinstalled package get a new time; every file is as it was, its time included.
        assert [] == [line for line in changes(before, after) if " directory " not in line]


def wanted(host: LabHost, package: str) -> package_sources.Wanted:
    said = host.must(["dpkg-query", "-W", "-f", "${Version} ${Architecture}", package]).split()
    return package, said[0], said[1]


def test_sources_are_asked_in_order_and_hostile_ones_refused_by_name(
    lab_host: LabHost, tmp_path: Path
) -> None:
    """Must show 5: each is refused by name; the next honest source serves; nothing is installed."""
    curl = wanted(lab_host, "curl")
    pool, cache = lab_host.inside("/srv/pool"), lab_host.inside("/var/cache/apt/archives")
    (deb,) = pool.glob("curl_*.deb")
    (tmp_path / "debs").mkdir()
    shutil.copy(deb, tmp_path / "debs" / deb.name)
    asset = DpkgAsset(kind="dpkg", host=HOST, store="debs")
    before = look(lab_host, ["/usr", "/etc", "/var/lib/dpkg"])

    serials = itertools.count(1)

    def ask(store: PackageStore | None = None, **fields: object) -> tuple[str, str]:
        with Round(lab_host).connect() as connection:
            found = package_sources.find(connection, asset.model_copy(update=fields), [curl], store)
        offer = found.offers.get(curl)
        return (offer.source if offer else "", " ".join(found.refused))

    def signed(**more: object) -> PackageStore:
        return shelf(tmp_path / "debs", "debs", serial=next(serials), **more)  # type: ignore[arg-type]

    assert ("mirror", "") == ask()
    assert ("store:debs", "") == ask(signed())
    shutil.copy(deb, cache / deb.name)
    assert ("host-cache", "") == ask(signed())
    # A tampered file of the cache: the store serves.
    (cache / deb.name).write_bytes(deb.read_bytes()[:-1] + b"\0")
    source, refused = ask(signed())
    assert "store:debs" == source
    assert f"/var/cache/apt/archives/{deb.name} is not the file its signed index names" in refused
    (cache / deb.name).unlink()
    # A tampered file in the store, a store of another key, an unsigned one: the mirror serves.
    store = signed()
    (tmp_path / "debs" / deb.name).write_bytes(b"!<arch>\nevil")
    source, refused = ask(store)
    assert "mirror" == source
    assert f"{deb.name} has SHA-256" in refused
    source, refused = ask(signed(packages=[], signer=key("intruder")))
    assert ("mirror", True) == (source, "no trusted key signed this index" in refused)
    (tmp_path / "debs/packages.json").write_text("Package: curl\n")
    source, refused = ask(shelf(tmp_path / "debs", "debs", sign=False))
    assert ("mirror", True) == (source, "not a signed index" in refused)
    # A mirror nobody signed; and one whose signature is another's: nothing serves.
    sources = lab_host.inside("/etc/apt/sources.list")
    honest = sources.read_text()
    sources.write_text(honest.replace("signed-by=/etc/apt/keyrings/lab.gpg", "trusted=yes"))
    lab_host.must(["apt-get", "update"])
    source, refused = ask()
    assert ("", True) == (source, "mirror file:/srv/pool/ is unsigned" in refused)
    assert "mirror" == ask(allow_unsigned_mirror=True)[0]
    sources.write_text(honest)
    sign_pool(pool, tmp_path / "other.gpg")
    lab_host.shell(["rm", "-rf", "/var/lib/apt/lists"])
    assert 0 != lab_host.shell(["apt-get", "update", "--error-on=any"]).returncode
    assert "" == ask()[0]
    left = [
        line
        for line in changes(before, look(lab_host, ["/usr", "/etc", "/var/lib/dpkg"]))
        if not line.startswith(("/etc/apt", "/etc: "))
    ]
    assert [] == left


def test_other_version_is_proposed_only_when_the_plan_says_so(lab_host: LabHost, tmp_path: Path) -> None:
    """Never upgraded silently: `other_version: propose` shows X → Y, and the default refuses."""
    name, version, architecture = wanted(lab_host, "hostname")
    (deb,) = lab_host.inside("/srv/pool").glob("hostname_*.deb")
    tree, store = tmp_path / "tree", tmp_path / "debs"
    store.mkdir()
    subprocess.run(["dpkg-deb", "-R", deb, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace(f"Version: {version}", f"Version: {version}+lab1"))
    (tree / "usr/share/hostname").mkdir()
    (tree / "usr/share/hostname/new").write_text("new\n")
    with (tree / "DEBIAN/md5sums").open("a") as sums:
        md5 = hashlib.md5(b"new\n", usedforsecurity=False).hexdigest()
        sums.write(f"{md5}  usr/share/hostname/new\n")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, store], check=True, capture_output=True)
    shutil.rmtree(lab_host.inside("/srv/pool"))
    place = lab_host.inside("/bin/hostname")
    os.truncate(place, 10)
    fields = {"packages": ("hostname",), "store": "debs"}
    refusing = Round(lab_host, {"debs": shelf(store, "debs")}, fields)
    with refusing.connect() as connection:
        proposal = refusing.propose(connection, refusing.look(connection))
        assert () == proposal.actions
        assert "another version is never taken silently" in proposal.unmet[0].sentence
    asking = Round(lab_host, {"debs": shelf(store, "debs")}, fields | {"other_version": "propose"})
    with asking.connect() as connection:
        proposal = asking.propose(connection, asking.look(connection))
        (action,) = proposal.actions
        assert action.reason.startswith(
            f"Another version: {version} → {version}+lab1, because {version} is nowhere."
        )
        assert {"/usr/share/hostname/new", "/var/lib/dpkg/info/hostname.postinst"} <= set(action.touches)
        assert f"installed instead of {version}" in asking.perform(connection, proposal)[0]
        assert [] == asking.look(connection)
    assert (name, f"{version}+lab1", architecture) == wanted(lab_host, "hostname")
