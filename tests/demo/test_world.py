"""The demo's world: it is healthy when built, each damage shows, and nothing of it stays behind."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import boto3
import pyotp
import pytest
from botocore.config import Config

from deployments.demo import damage, database, files, processes
from deployments.demo.world import MARKER, World

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are listed by /proc")


def run(world: World, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    env = processes.clean_environment(world.facts.id, HOME=str(world.facts.host.root))
    return subprocess.run([str(word) for word in argv], env=env, capture_output=True, text=True, check=False)


def sql(world: World, statement: str) -> str:
    return database.query(world.facts.host.root, world.facts.database, statement, world.facts.id)


def test_build_new_folder_is_healthy(healthy: World) -> None:
    """Everything runs, and the shop says so."""
    health = healthy.health()

    assert {"config", "database", "files", "theme", "report"} == set(health.checks)
    assert {"ok"} == set(health.checks.values())
    assert health.ok
    assert all(healthy.status().values())


def test_build_writes_secrets_that_only_the_owner_reads(healthy: World) -> None:
    """G9: no secret in what travels; files with secrets have mode 600."""
    folder = healthy.facts.folder
    secret_files = [*(folder / "secrets").iterdir(), folder / "sshd/host-key", folder / "host/.pgpass"]
    private = [path for path in secret_files if path.suffix != ".pub"]

    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in private}
    world_json = (folder / "world.json").read_text()
    for path in (folder / "secrets").iterdir():
        if path.suffix != ".pub":
            assert path.read_text().strip() not in world_json


def test_people_have_working_one_time_codes(healthy: World) -> None:
    """R-ORG-5: every person can prove who they are."""
    roles = {role for person in healthy.facts.people for role in person.roles}

    assert {"leading_group", "working_group"} <= roles
    for person in healthy.facts.people:
        assert 6 == len(pyotp.TOTP(person.totp_file.read_text().strip()).now())


def test_database_has_checksums_and_the_same_rows_every_time(healthy: World) -> None:
    assert "5000|on" == sql(healthy, "select count(*), current_setting('data_checksums') from orders")
    assert "0" == sql(
        healthy, "select count(*) from orders where amount <= 0 or quantity not between 1 and 9"
    )


def test_every_postgresql_program_of_the_product_runs(healthy: World) -> None:
    """Also as root, which PostgreSQL refuses."""
    for program in ("psql", "pg_dump", "pg_restore", "pg_ctl", "pg_checksums", "pg_amcheck", "initdb"):
        done = run(healthy, healthy.facts.database.bin_dir / program, "--version")
        assert 0 == done.returncode, done.stderr


def test_packages_are_clean_for_dpkg(healthy: World) -> None:
    packages = healthy.facts.packages
    if packages is None:
        pytest.skip("no dpkg here")

    listing = run(healthy, *packages.dpkg, "--list").stdout
    assert "" == run(healthy, *packages.dpkg, "--verify").stdout
    for name, version in packages.packages.items():
        assert name in listing
        assert (packages.store / f"{name}_{version}_all.deb").is_file()


def test_shop_can_be_reinstalled_from_the_wheelhouse(fresh: World) -> None:
    """The way the product repairs a pip installation."""
    shop = fresh.facts.shop
    damage.inflict(fresh.facts, "pip-file")
    reinstall = ("install", "--force-reinstall", "--no-deps", "--no-index", "--find-links", shop.wheelhouse)
    done = run(fresh, shop.python, "-m", "pip", *reinstall, "shopfront==1.4.2")

    assert 0 == done.returncode, done.stderr
    assert 0 == run(fresh, *shop.service.restart).returncode
    assert fresh.health().ok


def test_all_the_environment_holds_is_in_the_wheelhouse(healthy: World) -> None:
    """Also what `venv` installs itself: otherwise its packages could not be repaired, and the demo is not ready."""
    shop = healthy.facts.shop
    listed = run(healthy, shop.python, "-m", "pip", "--disable-pip-version-check", "list", "--format=freeze")
    wheels = {"==".join(path.name.split("-")[:2]) for path in shop.wheelhouse.glob("*.whl")}
    assert {"pip", "shopfront", "shoplib"} <= {line.partition("==")[0] for line in listed.stdout.split()}
    assert set(listed.stdout.split()) <= wheels


def test_package_can_be_reinstalled_from_the_store(fresh: World) -> None:
    """The way the product repairs a package, modes included."""
    packages = fresh.facts.packages
    if packages is None:
        pytest.skip("no dpkg here")
    for kind in ("package-file", "mode"):
        damage.inflict(fresh.facts, kind)
    done = run(fresh, *packages.dpkg, "--install", *packages.store.glob("*.deb"))

    assert 0 == done.returncode, done.stderr
    assert fresh.health().ok


def test_s3_bucket_takes_and_gives_objects(healthy: World) -> None:
    s3 = healthy.facts.s3
    if s3 is None:
        pytest.skip("no S3 server here")
    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name=s3.region,
        aws_access_key_id=s3.access_key_file.read_text().strip(),
        aws_secret_access_key=s3.secret_key_file.read_text().strip(),
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    client.put_object(Bucket=s3.bucket, Key="a key/ü", Body=b"backup")
    body = client.get_object(Bucket=s3.bucket, Key="a key/ü")["Body"]
    assert b"backup" == body.read()
    body.close()
    client.close()


@pytest.mark.parametrize("kind", damage.KINDS)
def test_damage_leaves_its_trace_and_the_shop_fails(fresh: World, kind: damage.Kind) -> None:
    """R-SCOPE-1: packages, files, configuration and data, each damaged for real."""
    if kind not in damage.kinds(fresh.facts):
        pytest.skip("no packages here")
    done = damage.inflict(fresh.facts, kind)

    assert kind == done.kind
    assert trace(fresh, kind, done.where)
    assert not fresh.health().ok


def trace(world: World, kind: damage.Kind, where: str) -> bool:
    """Whether the damage is really there."""
    path = Path(where)
    healthy = (
        world.facts.folder / "cache/host" / path.relative_to(world.facts.host.root)
        if path.is_absolute()
        else path
    )
    match kind:
        case "database-page":
            with pytest.raises(RuntimeError, match=r"invalid page|checksum"):
                sql(world, "select sum(length(note)) from orders")
            return True
        case "mode":
            return stat.S_IMODE(path.stat().st_mode) == 0
        case "link":
            return path.is_symlink()
        case "delete":
            return not path.exists() and healthy.exists()
        case "config":
            return b"\0" in path.read_bytes()
        case _:
            return path.read_bytes() != healthy.read_bytes()


def test_all_damage_together_is_gone_after_the_next_build(fresh: World) -> None:
    """A second `make demo` starts from a healthy host, with the same identity and secrets."""
    for kind in damage.kinds(fresh.facts):
        damage.inflict(fresh.facts, kind)
    assert not fresh.health().ok

    again = World.build(fresh.facts.folder, with_s3=False)

    assert again.health().ok
    assert fresh.facts.host.host_key == again.facts.host.host_key
    assert fresh.facts.host.machine_id == again.facts.host.machine_id
    assert fresh.facts.people == again.facts.people
    assert again.facts == World.load(fresh.facts.folder).facts


def test_services_answer_with_lsb_exit_codes(fresh: World) -> None:
    for service in (fresh.facts.shop.service, fresh.facts.database.service):
        assert 0 == run(fresh, *service.status).returncode
        assert 0 == run(fresh, *service.stop).returncode
        assert 0 == run(fresh, *service.stop).returncode
        assert 3 == run(fresh, *service.status).returncode
        assert 0 == run(fresh, *service.start).returncode
        assert 0 == run(fresh, *service.start).returncode
    assert 0 == run(fresh, *fresh.facts.shop.service.restart).returncode
    assert fresh.health().ok


def test_file_set_keeps_its_odd_names(healthy: World) -> None:
    top = healthy.facts.shop.files
    found = [path for path in top.rglob("*") if path.is_file()]

    assert 60 <= len(found)
    assert set(files.ODD_NAMES) <= {path.name for path in found}
    assert Path("2024-12.txt") == (top / "invoices/latest").readlink()


@LINUX
def test_stop_leaves_no_process(fresh: World) -> None:
    """Not even a job that was detached on the host, or a supervisor's child."""
    env = processes.clean_environment(fresh.facts.id)
    processes.spawn(["sleep", "600"], cwd=fresh.facts.folder, env=env, log=fresh.facts.folder / "job.log")
    # The mark is in its environment, which it has from its `exec` on.
    assert processes.wait_until(lambda: len(fresh.processes()) >= 5, timeout=10.0)

    fresh.stop()

    assert [] == fresh.processes()
    assert not any(fresh.status().values())
    fresh.start()
    assert fresh.health().ok


@LINUX
def test_build_after_kill_ends_the_leftovers(fresh: World) -> None:
    """A demo that was killed, its pid files and addresses lost: its processes still end, by the mark they carry."""
    folder = fresh.facts.folder
    before = set(fresh.processes())
    (folder / "world.json").unlink()
    shutil.rmtree(folder / "sshd")

    again = World.build(folder, with_s3=False)

    assert not before & set(again.processes())
    assert again.health().ok


def test_is_ours_stranger_is_not() -> None:
    """A pid in an old file may be somebody else's today."""
    stranger = subprocess.Popen(["sleep", "30"])
    try:
        assert not processes.is_ours(stranger.pid, "0" * 32, Path("/nowhere/at/all"))
        assert not processes.is_ours(os.getpid(), "0" * 32, Path("/"))
    finally:
        stranger.kill()
        stranger.wait()


def test_build_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(ValueError, match="something else"):
        World.build(tmp_path)
    with pytest.raises(ValueError, match=MARKER):
        World.remove(tmp_path)
    assert "years of work" == (tmp_path / "thesis.txt").read_text()


def test_load_missing_world_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make demo"):
        World.load(tmp_path)
    assert not World.remove(tmp_path / "missing")


def test_long_path_puts_the_socket_elsewhere(tmp_path: Path) -> None:
    """A socket's name has room for about a hundred bytes only."""
    folder = tmp_path / ("long-" * 20) / "demo"
    world = World.build(folder, with_s3=False)
    sockets = world.facts.database.socket_dir
    try:
        assert not sockets.is_relative_to(folder)
        assert list(sockets.iterdir())
    finally:
        World.remove(folder)
    assert not sockets.exists()
    assert not folder.exists()


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="root needs it, with setpriv"
)
def test_root_without_user_namespaces_runs_postgresql_as_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL refuses root; below directories that only root may enter it still works."""
    monkeypatch.setattr(database, "mode", lambda: "nobody")
    tmp_path.chmod(0o700)
    world = World.build(tmp_path / "demo", with_s3=False)
    try:
        damage.inflict(world.facts, "database-page")
        assert "invalid page" in world.health().checks["database"]
        assert 0 == run(world, *world.facts.database.service.restart).returncode
    finally:
        World.remove(tmp_path / "demo")
