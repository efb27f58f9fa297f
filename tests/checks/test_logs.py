"""Logs as values: times of every format, the journal as JSON, parts that lack a tool; facts of this machine."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from checks import logs
from checks.commands_given import commands, names
from checks.log_lines import Line, of_file, of_history, of_journal, stamp, without_doubles
from checks.package_history import interrupted, operations
from tests.checks.local import LocalConnection

NOW = datetime(2026, 11, 25, 17, 0, tzinfo=UTC).timestamp()
THEN = datetime(2026, 11, 25, 16, 20, 35, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("line", "zone", "rest"),
    [
        ("2026-11-25T16:20:35.000+00:00 web nginx: down", 0, "web nginx: down"),
        ("2026-11-25T17:20:35+0100 down", 0, "down"),
        ("2026-11-25 16:20:35 status installed x", 0, "status installed x"),
        ("2026-11-25 18:20:35 status installed x", 7200, "status installed x"),
        ("2026-11-25 16:20:35.000 UTC [12] LOG:  x", 7200, "[12] LOG:  x"),
        ("2026/11/25 16:20:35 [emerg] 1#1: x", 0, "[emerg] 1#1: x"),
        ("Nov 25 16:20:35 web nginx[3]: x", 0, "web nginx[3]: x"),
        ("[Wed Nov 25 16:20:35.000 2026] [core:error] x", 0, "[core:error] x"),
        ("Start-Date: 2026-11-25  16:20:35", 0, ""),
        ("2026-11-25T16:20:35,000000+00:00 segfault", 0, "segfault"),
    ],
)
def test_every_format_of_a_time_is_read(line: str, zone: int, rest: str) -> None:
    assert (THEN, rest) == stamp(line, zone, NOW)


@pytest.mark.parametrize("line", ["", "no time", "2026-99-99 16:20:35 x", "Xyz 25 16:20:35 x", "9999999"])
def test_line_without_a_time_stays_whole(line: str) -> None:
    assert (None, line) == stamp(line, 0, NOW)


def test_december_read_in_january_is_of_last_year() -> None:
    january = datetime(2027, 1, 2, tzinfo=UTC).timestamp()
    assert (
        stamp("Dec 31 23:59:59 web x", 0, january)[0]
        == datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
    )


def test_journal_entries_are_read_and_broken_ones_left_out() -> None:
    entry = {"__REALTIME_TIMESTAMP": "1795623635662239", "MESSAGE": "down", "UNIT": "nginx.service",
             "SYSLOG_IDENTIFIER": "systemd", "_TRANSPORT": "journal"}  # fmt: skip
    raw = {"MESSAGE": [0x64, 0xFF], "_TRANSPORT": "kernel"}
    output = "\n".join([json.dumps(entry), "{cut off", "7", json.dumps(raw), json.dumps({"x": 1})]).encode()
    first, second = of_journal(output)
    assert Line(1795623635.662239, "journal", "down", "nginx.service", "systemd") == first
    assert ("kernel", "d�", None) == (second.source, second.text, second.at)


def test_line_without_time_has_that_of_the_line_before() -> None:
    text = b"2026-11-25 16:20:35 UTC [1] ERROR: x\n\tcontinued\n"
    assert [THEN, THEN] == [line.at for line in of_file("/var/log/x", text, 0, NOW)]


def test_line_of_journal_and_syslog_is_kept_once() -> None:
    lines = [
        Line(THEN, "/var/log/syslog", "web x: down"),
        Line(THEN, "journal", "web x: down"),
        Line(THEN, "journal", "up"),
    ]
    assert ["journal", "journal"] == [line.source for line in without_doubles(lines)]


def test_interrupted_operation_is_found_and_ended_ones_are_not() -> None:
    """The state dpkg wrote last decides."""
    text = b"""2026-11-25 16:20:35 upgrade shop:all 1.0 2.0
2026-11-25 16:20:35 status half-configured shop:all 1.0
2026-11-25 16:20:36 status unpacked shop:all 2.0
2026-11-25 16:20:37 status half-configured shop:all 2.0
2026-11-25 16:20:38 upgrade other:amd64 1.0 1.0
2026-11-25 16:20:39 status installed other:amd64 1.0
"""
    lines = list(of_file("/var/log/dpkg.log", text, 0, NOW))
    (left,) = interrupted(lines)
    assert ("shop", "half-configured", THEN + 2, THEN) == (left.package, left.state, left.at, left.began)
    assert [("shop", "upgraded"), ("other", "reinstalled")] == [
        (o.package, o.verb) for o in operations(lines)
    ]


def test_operations_of_dnf_are_read() -> None:
    text = b"2026-11-25T16:20:35+0000 SUBDEBUG Upgraded: bash-5.1.8-6.el9.x86_64\n"
    (done,) = operations(of_file("/var/log/dnf.rpm.log", text, 0, NOW))
    assert ("bash", "upgraded", THEN) == (done.package, done.verb, done.at)


SUDO = " ops : TTY=pts/0 ; PWD=/home/ops ; USER=root ; COMMAND="


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("/usr/bin/rm /etc/nginx/nginx.conf", "/etc/nginx/nginx.conf"),
        ("/usr/bin/rm -rf /etc/nginx", "/etc/nginx"),
        ("/usr/bin/sh -c 'echo > /etc/nginx/nginx.conf'", "/etc/nginx/nginx.conf"),
        ("/usr/bin/apt-get remove nginx-common", "nginx-common"),
        ("/usr/bin/systemctl stop nginx", "nginx.service"),
        ("/usr/bin/rm /etc/other", ""),
        ("/usr/bin/rm -rf /", ""),
    ],
)
def test_command_is_a_hint_only_when_it_names_what_is_damaged(command: str, named: str) -> None:
    (given,) = commands([Line(THEN, "journal", SUDO + command, ident="sudo")])
    assert named == names(given, "/etc/nginx/nginx.conf", "nginx-common", "nginx.service")


@pytest.mark.parametrize(
    "command",
    [
        "/usr/bin/cat /etc/nginx/nginx.conf",
        "/usr/bin/systemctl status nginx",
        "/usr/bin/sh -c x reinstate-stat /etc/nginx",
    ],
)
def test_looking_at_a_thing_and_our_own_work_are_no_hints(command: str) -> None:
    """Nobody is suspected for reading, and Reinstate does not diagnose itself."""
    assert [] == list(commands([Line(THEN, "journal", SUDO + command, ident="sudo")]))


def test_history_of_a_shell_counts_only_with_times() -> None:
    text = b"rm /etc/x\n#1795623635\nrm /etc/nginx/nginx.conf\nls\n"
    (line,) = of_history("/root/.bash_history", text)
    assert (1795623635.0, "rm /etc/nginx/nginx.conf") == (line.at, line.text)


def test_facts_and_logs_of_this_machine_are_read(here: LocalConnection, tmp_path: Path) -> None:
    """One command for the facts, one for the logs; odd names survive."""
    odd = tmp_path / "a \udcff name"
    odd.write_text("x")
    log = tmp_path / "shop.log"
    log.write_text(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC ERROR:  disk is full\0\n")
    facts = logs.facts(here, [str(odd), str(tmp_path / "gone")])
    assert abs(facts.now - time.time()) < 30
    assert [str(odd)] == list(facts.times)
    assert abs(facts.times[str(odd)].changed - odd.stat().st_ctime) < 0.01
    assert "/" in facts.mounts
    before = len(here.ran)
    read = logs.collect(here, facts, time.time() - 60, time.time(), [str(tmp_path / "*.log")])
    assert 1 == len(here.ran) - before
    assert any(line.source == str(log) and line.text == "ERROR:  disk is full" for line in read.lines)


def test_host_without_journal_and_kernel_log_says_so(tmp_path: Path) -> None:
    """Less is read, and that is said (G11)."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "tr", "tail", "head", "find", "cat", "date", "df", "xargs"):
        target = next(p for d in os.environ["PATH"].split(":") if (p := Path(d) / name).exists())
        (folder / name).symlink_to(target)
    bare = LocalConnection(path=str(folder))
    facts = logs.facts(bare, ["/etc"])
    read = logs.collect(bare, facts, time.time() + 3600, time.time() + 3600)
    assert any("this host keeps none" in note for note in read.not_checked)
    assert any("dmesg" in note for note in read.not_checked)


def test_full_disk_is_told_apart_from_a_read_only_medium() -> None:
    text = b"Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sdb 163840 163648 192 100% /var/lib/db x\n"
    assert {"/var/lib/db x": "/var/lib/db x is 100 % full: 192 of 163840 KiB are free"} == logs._full(
        text, "space"
    )
    assert {} == logs._full(text.replace(b"192 100%", b"99999 40%"), "space")
