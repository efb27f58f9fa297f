"""Processes that run what was replaced."""

from __future__ import annotations

import pytest

from blocks.hosts.ssh import SSHHost
from blocks.secrets import Secrets
from checks.old_copies import OldCopy, collect, parse, remarks
from model.errors import PreconditionFailed
from tests.lab.host import LabHost
from tests.tasks.test_lab_repairs import plan_host

OUTPUT = b"\0".join(
    (
        b"",
        b"maps",
        b"812/maps:7f00-7f01 r-xp 00000000 08:01 99   /usr/lib/libdemo.so.1 (deleted)\n"
        b"812/maps:7f02-7f03 r-xp 00000000 08:01 98   /usr/sbin/demo (deleted)\n"
        b"812/maps:7f04-7f05 r-xp 00000000 00:05 97   /memfd:jit (deleted)\n"
        b"900/maps:7f00-7f01 r-xp 00000000 08:01 99   /usr/lib/libdemo.so.1 (deleted)\n"
        b"900/maps:nonsense (deleted)\n",
        b"comm",
        b"812/comm:demo\n900/comm:evil\x1b[2J\n",
        b"cgroup",
        b"812/cgroup:0::/system.slice/demo.service\n",
        b"end",
        b"",
    )
)


def test_whoever_maps_a_replaced_file_is_named_with_unit_and_path() -> None:
    """R-RESP-5: a repair reaches a running process only when it starts again."""
    found = parse(OUTPUT, {"/lib/libdemo.so.1", "/usr/sbin/demo"})
    assert [
        OldCopy(812, "demo", "demo.service", "/usr/lib/libdemo.so.1"),
        OldCopy(812, "demo", "demo.service", "/usr/sbin/demo"),
        OldCopy(900, "evil\x1b[2J", "", "/usr/lib/libdemo.so.1"),
    ] == found
    first, second = remarks("web", found)
    assert "PID 900" in first
    assert "\x1b" not in first
    assert second.startswith(
        "demo.service (demo) on web still runs /usr/lib/libdemo.so.1, /usr/sbin/demo as before"
    )


def test_what_was_not_replaced_is_nobodys_business() -> None:
    assert [] == parse(OUTPUT, {"/usr/lib/other.so"})


def test_output_that_was_cut_off_is_refused() -> None:
    with pytest.raises(PreconditionFailed, match="cut off"):
        parse(OUTPUT[:-5], {"/usr/sbin/demo"})


@pytest.mark.lab
def test_service_that_runs_through_a_reinstallation_is_named(
    lab_host: LabHost,
) -> None:
    """The kernel's own words on a real host, after dpkg put the same version in place again."""
    lab_host.must(["systemd-run", "--unit=demo", "/usr/bin/perl", "-e", "sleep 600"])
    package = lab_host.must(["sh", "-c", "ls /srv/pool/perl-base_*.deb"]).strip()
    secrets = Secrets(lab_host.key_path.parent)
    with SSHHost.from_plan("web-1", plan_host(lab_host), secrets).connect() as connection:
        assert [] == collect(connection, {"/usr/bin/perl"})
        lab_host.must(["dpkg", "-i", package])
        (found,) = collect(connection, {"/usr/bin/perl"})
    assert ("perl", "demo.service", "/usr/bin/perl") == (found.process, found.unit, found.path)
