"""Units, certificates and account files of a host, judged against what was recorded while it was healthy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from checks import accounts, certificates, units
from model.finding import Code, Degree
from model.host_state import HostState, host_state, masks, unit_of
from model.manifest import Entry, FileType
from tests.checks.system_data import NOW, facts, found, judgement, only

FOLDER = "/etc/systemd/system"
LISTED = """\
ssh.service    loaded    active   running   OpenBSD Secure Shell server
● cron.service loaded    active   running   cron
backup.timer   loaded    active   waiting   backup
gone.service   not-found inactive dead      gone
"""
DROP_IN = "[Service]\nLimitNOFILE=1000\n"
UNITFILES = f"""\
d\t755\t0\t0\t4096\t1.0\t{FOLDER}/ssh.service.d\t
f\t644\t0\t0\t{len(DROP_IN)}\t1.0\t{FOLDER}/ssh.service.d/limits.conf\t
l\t777\t0\t0\t9\t1.0\t{FOLDER}/fstrim.timer\t/dev/null
l\t777\t0\t0\t30\t1.0\t{FOLDER}/multi-user.target.wants/cron.service\t/lib/systemd/system/cron.service
"""
HEALTHY = {
    "units": LISTED, "unitfiles": UNITFILES, "vendor": "ssh.service\ncron.service\nfstrim.timer\n", "missing": "",
    f"unit {FOLDER}/ssh.service.d/limits.conf": DROP_IN,
}  # fmt: skip


def recorded() -> HostState:
    files, contents, active = units.record(facts(HEALTHY))
    kept = host_state(HostState(units=files, contents=contents, active=active).entries())
    assert kept is not None
    return kept


def after(*lines: str, **parts: str) -> dict[str, str]:
    return HEALTHY | {"unitfiles": UNITFILES + "".join(f"{line}\n" for line in lines)} | parts


def test_recorded_state_survives_being_kept() -> None:
    state = recorded()
    assert {"ssh.service", "cron.service", "backup.timer"} == state.active
    assert [DROP_IN] == list(state.contents.values())
    assert host_state(()) is None


def test_text_that_is_not_what_its_hash_says_is_not_taken_from_a_baseline() -> None:
    """A baseline that was altered never becomes a unit file."""
    entries = [
        e.model_copy(update={"link": "evil"}) if e.path.startswith("content:") else e
        for e in recorded().entries()
    ]
    state = host_state(entries)
    assert state is not None
    assert {} == state.contents


def test_healthy_units_have_no_findings_with_and_without_a_baseline() -> None:
    assert {} == found(judgement(units.judge, HEALTHY, known=recorded()))
    judging = judgement(units.judge, HEALTHY)
    assert {} == found(judging)
    assert "fstrim.timer" in judging.notes[0]


def test_failed_unit_is_found_without_a_baseline_and_accepted_by_the_plan() -> None:
    parts = HEALTHY | {
        "units": LISTED.replace("loaded    active   running   cron", "loaded failed failed cron")
    }
    finding = only(judgement(units.judge, parts))
    assert (Code.UNIT_FAILED, "cron.service") == (finding.code, finding.subject)
    assert {} == found(judgement(units.judge, parts, accept=["cron.service"]))


@pytest.mark.parametrize("folder", [FOLDER, "/run/systemd/system"])
def test_mask_that_the_baseline_does_not_have_is_found(folder: str) -> None:
    parts = after(f"l\t777\t0\t0\t9\t2.0\t{folder}/cron.service\t/dev/null")
    finding = only(judgement(units.judge, parts, known=recorded()))
    assert (Code.UNIT_MASKED, "cron.service") == (finding.code, finding.subject)
    assert "ran when" in finding.detail


def test_changed_drop_in_is_found() -> None:
    parts = HEALTHY | {f"unit {FOLDER}/ssh.service.d/limits.conf": DROP_IN.replace("1000", "0000")}
    finding = only(judgement(units.judge, parts, known=recorded()))
    assert (Code.UNIT_CHANGED, f"{FOLDER}/ssh.service.d/limits.conf") == (finding.code, finding.subject)


@pytest.mark.parametrize(
    ("line", "text", "degree", "expected"),
    [
        (
            f"{FOLDER}/cron.service.d/x.conf",
            "[Service]\nEnvironment=SECRET=hunter2\n",
            Degree.SERIOUS,
            "absent",
        ),
        (f"{FOLDER}/ssh.service", "[Service]\n", Degree.SERIOUS, "absent"),
        (f"{FOLDER}/mine.service", "[Service]\n", Degree.SLIGHT, "in the baseline"),
    ],
)
def test_addition_is_grave_when_it_changes_what_a_package_brought(
    line: str, text: str, degree: Degree, expected: str
) -> None:
    parts = after(f"f\t644\t0\t0\t{len(text)}\t2.0\t{line}\t", **{f"unit {line}": text})
    finding = only(judgement(units.judge, parts, known=recorded()))
    assert (line, degree, expected) == (finding.subject, finding.degree, finding.expected)
    assert "hunter2" not in finding.model_dump_json()


def test_link_that_is_gone_or_leads_elsewhere_is_found() -> None:
    gone = HEALTHY | {"unitfiles": UNITFILES.rsplit("\n", 2)[0] + "\n"}
    assert "absent" == only(judgement(units.judge, gone, known=recorded())).actual
    moved = HEALTHY | {"unitfiles": UNITFILES.replace("/lib/systemd/system/cron", "/tmp/cron")}
    assert "link to /tmp/cron.service" == only(judgement(units.judge, moved, known=recorded())).actual
    merged = HEALTHY | {"unitfiles": UNITFILES.replace("\t/lib/systemd", "\t/usr/lib/systemd")}
    assert {} == found(judgement(units.judge, merged, known=recorded()))


def test_mode_of_a_unit_file_is_found() -> None:
    parts = HEALTHY | {"unitfiles": UNITFILES.replace("f\t644", "f\t666")}
    assert "mode 0666, owner 0:0" == only(judgement(units.judge, parts, known=recorded())).actual


def test_timer_that_no_longer_runs_is_found() -> None:
    parts = HEALTHY | {"units": LISTED.replace("active   waiting   backup", "inactive dead backup")}
    finding = only(judgement(units.judge, parts, known=recorded()))
    assert ("backup.timer", "inactive (loaded)") == (finding.subject, finding.actual)


def test_host_without_systemd_is_said() -> None:
    judging = judgement(units.judge, {"units": "System has not been booted with systemd as init system\n"})
    assert ({}, 0) == (found(judging), judging.examined)
    assert "systemd does not answer" in judging.notes[0]


def test_paths_name_their_units() -> None:
    assert "ssh.service" == unit_of(f"{FOLDER}/ssh.service.d/x.conf")
    assert "cron.service" == unit_of(f"{FOLDER}/multi-user.target.wants/cron.service")
    assert "x.timer" == unit_of("/run/systemd/system/x.timer")
    assert "" == unit_of("/etc/passwd")


def test_empty_unit_file_masks_and_empty_drop_in_does_not() -> None:
    """systemd.unit(5)."""
    assert masks(Entry(path=f"{FOLDER}/x.service", type=FileType.FILE))
    assert not masks(Entry(path=f"{FOLDER}/x.service.d/y.conf", type=FileType.FILE))
    assert not masks(None)


def certificate(begins: timedelta, ends: timedelta, name: str = "shop.example.org") -> x509.Certificate:
    key = ed25519.Ed25519PrivateKey.generate()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).serial_number(1)
    return (
        builder.public_key(key.public_key()).not_valid_before(NOW + begins).not_valid_after(NOW + ends).sign(key, None)
    )  # fmt: skip


def pem(*whole: x509.Certificate) -> str:
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in whole)


DAY = timedelta(days=1)
GOOD = certificate(-DAY, 90 * DAY)


@pytest.mark.parametrize(
    ("text", "said", "degree"),
    [
        (pem(certificate(-90 * DAY, -DAY)), "expired 2026-05-31", Degree.SERIOUS),
        (pem(GOOD, certificate(-90 * DAY, -DAY, "Old CA")), "(Old CA)", Degree.SERIOUS),
        (pem(certificate(DAY, 90 * DAY)), "not valid before 2026-06-02", Degree.SERIOUS),
        (pem(certificate(-DAY, 3 * DAY)), "in 3.0 days", Degree.SLIGHT),
        (pem(GOOD).replace("\nMI", "\nAI", 1), "1 damaged", Degree.SERIOUS),
        (pem(GOOD).replace("BEGIN", "BEGON"), "no certificate", Degree.SERIOUS),
        (pem(GOOD)[:200], "1 damaged", Degree.SERIOUS),
        ("nothing\n", "no certificate", Degree.SERIOUS),
    ],
)
def test_certificate_that_does_not_hold_is_found(text: str, said: str, degree: Degree) -> None:
    finding = only(judgement(certificates.judge, {"pem /etc/ssl/shop.pem": text}))
    assert (Code.CERTIFICATE_EXPIRED, degree) == (finding.code, finding.degree)
    assert said in finding.actual


def test_certificates_that_hold_and_files_of_keys_have_no_findings() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----\n"
    parts = {"pem /etc/ssl/shop.pem": f"some text\n{key}{pem(GOOD)}", "pem /etc/ssl/key.pem": key}
    judging = judgement(certificates.judge, parts)
    assert ({}, 1) == (found(judging), judging.examined)


def test_certificate_file_that_was_named_and_is_gone_is_found_and_a_pattern_may_match_nothing() -> None:
    judging = judgement(certificates.judge, {"absent /etc/ssl/shop.pem": "", "absent /etc/ssl/x/*.pem": ""})
    assert {"/etc/ssl/shop.pem": (Code.CERTIFICATE_EXPIRED, "no such file")} == found(judging)


def test_certificate_of_a_server_is_judged_and_a_silent_server_is_said() -> None:
    der = certificate(-90 * DAY, -DAY).public_bytes(serialization.Encoding.DER)
    judging = judgement(certificates.judge, {}, endpoints={"a:443": der, "b:443": "refused", "c:443": b"x"})
    assert {"a:443", "c:443"} == set(found(judging))
    assert ["the certificate of b:443: refused"] == judging.notes


ACCOUNTS = {
    "accountfiles": "644 0 0 9 /etc/passwd\n644 0 0 9 /etc/group\n640 0 42 9 /etc/shadow\n440 0 0 9 /etc/sudoers\n",
    "passwd": "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/sh\n",
    "group": "root:x:0:\nann:x:1000:\n", "shadow": "root:*:19000:0:99999:7:::\nann:*:19000:0:99999:7:::\n",
    "gshadow": "", "sudoers": "root ALL=(ALL:ALL) ALL\n",
}  # fmt: skip


def test_whole_accounts_have_no_findings_and_are_recorded() -> None:
    assert {} == found(judgement(accounts.judge, ACCOUNTS))
    users, groups = accounts.record(facts(ACCOUNTS))
    assert ({"root": 0, "ann": 1000}, {"root": 0, "ann": 1000}) == (users, groups)
    assert {} == found(judgement(accounts.judge, ACCOUNTS, known=HostState(users=users, groups=groups)))


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"passwd": "root:x:0:0:root:/root:/bin/bash\nann:x\n"}, "/etc/passwd", "line 2: 2 of 7 fields"),
        ({"accountfiles": ACCOUNTS["accountfiles"].replace("644", "666", 1)}, "/etc/passwd", "others may write"),
        ({"accountfiles": ACCOUNTS["accountfiles"].replace("640 0 42 9 /etc/shadow\n", "")}, "/etc/shadow", "absent"),
        ({"sudoers": "nonsense\n"}, "/etc/sudoers", "line 1: not understood"),
        ({"sudoers /etc/sudoers.d/x": "nonsense\n"}, "/etc/sudoers.d/x", "line 1"),
        ({"visudo": "/etc/sudoers:1:5: syntax error\n"}, "/etc/sudoers", "syntax error"),
        ({"accountfiles": ACCOUNTS["accountfiles"].replace("440", "462")}, "/etc/sudoers", "sudo refuses it"),
    ],
)  # fmt: skip
def test_account_file_that_is_not_whole_is_found(change: dict[str, str], path: str, said: str) -> None:
    finding = only(judgement(accounts.judge, ACCOUNTS | change))
    assert path == finding.subject
    assert said in finding.actual


def test_recorded_user_who_is_gone_is_found() -> None:
    known = HostState(users={"root": 0, "bob": 1001}, groups={})
    assert "bob is missing" == only(judgement(accounts.judge, ACCOUNTS, known=known)).actual


def test_host_without_shadow_passwords_is_healthy() -> None:
    parts = ACCOUNTS | {
        "accountfiles": "644 0 0 9 /etc/passwd\n644 0 0 9 /etc/group\n", "shadow": "",
        "passwd": "root:$6$x:0:0:root:/root:/bin/sh\n",
    }  # fmt: skip
    assert {} == found(judgement(accounts.judge, parts))


def test_dates_are_in_utc() -> None:
    read, broken = certificates.read_pem(pem(GOOD))
    assert (0, datetime(2026, 5, 31, 12, tzinfo=UTC)) == (broken, read[0].begins)
