"""Mode and owner set as signed; services restarted and seen running."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from checks.stat import collect
from model.assets import ServiceAsset
from model.errors import PreconditionFailed, ReinstateError
from model.manifest import Entry
from model.outcome import Stage
from model.proposal import RestartService, Rung, SetMetadata
from tasks import restart_service, set_metadata
from tests.tasks.localhost import JobHost, quiet


@pytest.fixture
def host(tmp_path: Path) -> JobHost:
    return JobHost(tmp_path / "state")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "live"
    root.mkdir()
    for name in ("plain", "-dash", "line\nbreak \\n", "program"):
        (root / name).write_text(name)
    (root / "folder").mkdir()
    return root


def entries_of(host: JobHost, root: Path) -> tuple[Entry, ...]:
    return tuple(
        fact.entry() for fact in collect(host, [str(path) for path in sorted(root.iterdir())]).values()
    )


def set_to(entries: tuple[Entry, ...]) -> SetMetadata:
    return SetMetadata(
        id="a01", host="web-1", asset="system", stage=Stage.REPAIR, rung=Rung.FILE, reason="r", undo="u", files=entries
    )  # fmt: skip


def perform(host: JobHost, action: SetMetadata) -> str:
    return set_metadata.perform(
        host, ServiceAsset(kind="service", host="web-1", unit="x"), action, job_prefix="i-a01-1", token=1,
        progress=quiet,
    ).sentence  # fmt: skip


def test_set_metadata_sets_mode_owner_and_time_and_nothing_else(host: JobHost, files: Path) -> None:
    (files / "program").chmod(0o4755)
    (files / "folder").chmod(0o2750)
    wanted = entries_of(host, files)
    for path in files.iterdir():
        path.chmod(0o777 if path.is_dir() else 0)
        os.utime(path, (5, 5))
        if os.geteuid() == 0:
            os.chown(path, 99, 98)
    assert "Mode and owner of 5 paths set." == perform(host, set_to(wanted))
    assert wanted == entries_of(host, files)
    assert ["i-a01-1-metadata"] == list(host.jobs)


def test_set_metadata_of_a_file_that_became_a_link_is_refused(host: JobHost, files: Path) -> None:
    """A link planted meanwhile must not carry the mode elsewhere."""
    wanted = entries_of(host, files)
    (files / "plain").unlink()
    (files / "plain").symlink_to("program")
    with pytest.raises(PreconditionFailed, match="signed for"):
        perform(host, set_to(wanted))
    assert {} == host.jobs


def test_set_metadata_of_a_file_with_other_content_by_now_is_refused(host: JobHost, files: Path) -> None:
    wanted = entries_of(host, files)
    (files / "plain").write_text("changed")
    with pytest.raises(PreconditionFailed, match="signed for"):
        perform(host, set_to(wanted))


def test_set_metadata_planted_link_between_check_and_job_is_refused_by_the_job(
    host: JobHost, files: Path
) -> None:
    wanted = entries_of(host, files)

    def plant(_name: str) -> None:
        (files / "plain").unlink()
        (files / "plain").symlink_to("program")

    host.before_job = plant
    before = (files / "program").stat()
    with pytest.raises(ReinstateError, match="became a symbolic link"):
        perform(host, set_to(wanted))
    assert before.st_mode == (files / "program").stat().st_mode


def service(tmp_path: Path, start: str, stop: str = "rm -f $F", status: str = "test -e $F") -> ServiceAsset:
    flag = str(tmp_path / "running")

    def words(script: str) -> tuple[str, ...]:
        return ("sh", "-c", script.replace("$F", f'"{flag}"'))

    return ServiceAsset(
        kind="service", host="web-1", start=words(start), stop=words(stop), status=words(status)
    )


RESTART = RestartService(
    id="a09",
    host="web-1",
    asset="app",
    stage=Stage.REPAIR,
    rung=Rung.SERVICE,
    reason="r",
    undo="u",
    service="shop",
)


def restart(host: JobHost, asset: ServiceAsset) -> str:
    return restart_service.perform(
        host, asset, RESTART, job_prefix="i-a09-1", token=1, progress=quiet
    ).sentence  # fmt: skip


def test_restart_stops_starts_and_waits_until_it_runs(
    host: JobHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restart_service, "STEADY", 0.3)
    sentence = restart(host, service(tmp_path, "(sleep 0.6; touch $F) >/dev/null 2>&1 &"))
    assert "shop was restarted and runs after" in sentence
    assert ["i-a09-1-restart-0", "i-a09-1-restart-1"] == list(host.jobs)


def test_restart_of_a_dead_service_whose_stop_fails_still_starts_it(
    host: JobHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restart_service, "STEADY", 0.3)
    assert "runs after" in restart(host, service(tmp_path, "touch $F", stop="echo no pid >&2; exit 7"))


def test_restart_of_a_service_that_dies_at_once_fails_with_its_words(
    host: JobHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was running for a moment: that is not running."""
    monkeypatch.setattr(restart_service, "PATIENCE", 1.5)
    asset = service(
        tmp_path, "touch $F; (sleep 0.4; rm -f $F) >/dev/null 2>&1 & echo cannot bind >&2; exit 1"
    )
    with pytest.raises(ReinstateError, match=r"does not run after.*cannot bind"):
        restart(host, asset)


def test_restart_twice_under_one_name_starts_it_once(
    host: JobHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restart_service, "STEADY", 0.1)
    asset = service(tmp_path, "echo x >>$F.starts; touch $F")
    restart(host, asset)
    restart(host, asset)
    assert 1 == len(Path(f"{tmp_path}/running.starts").read_text().split())
