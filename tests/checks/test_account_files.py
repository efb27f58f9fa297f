"""Account files line by line: everything that is wrong is found, and nobody is lost by a repair."""

from __future__ import annotations

import pytest

from checks.account_files import FILES, GROUP, GSHADOW, PASSWD, SHADOW, mend, wrong
from checks.accounts import not_understood

WHOLE = {
    PASSWD: "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000:Ann,,,:/home/ann:/bin/sh\nwww-data:x:33:33::/var/www:\n",
    GROUP: "root:x:0:\nadm:x:4:ann,bob\nsamba$:x:1001:\n",
    SHADOW: "root:*:19000:0:99999:7:::\nann:$y$j9T$x:19000:0:99999:7::20000:\nwww-data:!:19000::::::\n",
    GSHADOW: "root:*::\nadm:!:ann:ann,bob\n",
}  # fmt: skip


@pytest.mark.parametrize("path", FILES)
def test_whole_files_have_nothing_wrong(path: str) -> None:
    """The negative control: a check that always finds something is worth nothing (G11)."""
    assert [] == wrong(path, WHOLE[path])


@pytest.mark.parametrize(
    ("path", "line", "said"),
    [
        (PASSWD, "ann:x:1000", "3 of 7 fields"),
        (PASSWD, "bob:x:10x:1000::/home/bob:/bin/sh", "no number"),
        (PASSWD, "bob:x:1002:4294967295::/home/bob:/bin/sh", "no number"),
        (PASSWD, "bob:x:1002:1002::home/bob:/bin/sh", "home"),
        (PASSWD, ":x:1002:1002::/home/bob:/bin/sh", "no valid name"),
        (PASSWD, "b\x01b:x:1002:1002::/:/bin/sh", "no valid name"),
        (PASSWD, "bob:x:1002:1002:\x7f:/:/bin/sh", "control characters"),
        (PASSWD, "", "1 of 7 fields"),
        (PASSWD, "ann:x:1003:1003::/home/ann:/bin/sh", "stands in line 2"),
        (PASSWD, "bob:x:0:0::/root:/bin/sh", "the uid 0 of root"),
        (GROUP, "adm2:x:four:", "no number"),
        (GROUP, "adm2:x:4", "3 of 4 fields"),
        (SHADOW, "bob:*:yesterday:0:99999:7:::", "no number"),
        (SHADOW, "bob:*:19000", "3 of 9 fields"),
        (GSHADOW, "bob", "1 of 4 fields"),
    ],
)
def test_one_wrong_line_is_named_with_what_is_wrong(path: str, line: str, said: str) -> None:
    (one,) = wrong(path, f"{WHOLE[path]}{line}\n")
    assert len(WHOLE[path].splitlines()) + 1 == one.line
    assert said in one.what


def test_file_that_is_empty_or_cut_is_found() -> None:
    assert ["it is empty"] == [w.what for w in wrong(PASSWD, "\n")]
    assert ["it ends in the middle of a line"] == [w.what for w in wrong(PASSWD, WHOLE[PASSWD][:-1])]


def test_root_that_is_gone_or_no_root_is_found() -> None:
    text = WHOLE[PASSWD]
    assert ["root is missing"] == [w.what for w in wrong(PASSWD, text.split("\n", 1)[1])]
    assert ["root has the id 7"] == [w.what for w in wrong(PASSWD, text.replace("root:x:0", "root:x:7"))]


def test_recorded_user_that_is_gone_is_found_and_others_may_go() -> None:
    """Who a person reviewed in the baseline is missed; a deleted user nobody recorded is not."""
    assert ["bob is missing"] == [w.what for w in wrong(PASSWD, WHOLE[PASSWD], {"bob": 1001, "ann": 1000})]


def test_two_names_of_one_id_are_accepted_when_they_were_recorded() -> None:
    text = f"{WHOLE[PASSWD]}toor:x:0:0::/root:/bin/sh\n"
    assert 1 == len(wrong(PASSWD, text))
    assert [] == wrong(PASSWD, text, {"root": 0, "toor": 0})


def test_nis_lines_are_whole() -> None:
    assert [] == wrong(PASSWD, f"{WHOLE[PASSWD]}+::::::\n")


def test_broken_line_comes_back_and_who_came_later_stays() -> None:
    """Never lose users that exist now."""
    now = (
        WHOLE[PASSWD].replace("ann:x:1000:1000:Ann,,,:/home/ann:/bin/sh", "ann:x:10")
        + "new:x:1005:1005::/:/bin/sh\n"
    )
    made = mend(PASSWD, now, WHOLE[PASSWD])
    assert WHOLE[PASSWD] + "new:x:1005:1005::/:/bin/sh\n" == made.text
    assert (("ann",), (), ()) == (made.returned, made.dropped, made.left)


def test_unreadable_line_goes_and_its_owner_comes_back_to_his_place() -> None:
    now = WHOLE[PASSWD].replace("ann:x:1000:1000:Ann,,,:/home/ann:/bin/sh", "\x02\x03garbage")
    made = mend(PASSWD, now, WHOLE[PASSWD])
    assert WHOLE[PASSWD] == made.text
    assert (("ann",), (2,)) == (made.returned, made.dropped)


def test_deleted_user_stays_deleted() -> None:
    """The backup is older than the last `userdel`."""
    old = f"{WHOLE[PASSWD]}bob:x:1001:1001::/:/bin/sh\n"
    now = WHOLE[PASSWD].replace("www-data:x:33:33::/var/www:", "www-data:x:33")
    assert WHOLE[PASSWD] == mend(PASSWD, now, old).text
    assert old == mend(PASSWD, now, old, {"bob": 1001}).text


def test_cut_file_gets_back_what_stood_behind_the_cut() -> None:
    made = mend(PASSWD, WHOLE[PASSWD][:40], WHOLE[PASSWD])
    assert (WHOLE[PASSWD], ()) == (made.text, made.left)
    assert WHOLE[PASSWD] == mend(PASSWD, "", WHOLE[PASSWD]).text


def test_root_made_an_ordinary_user_comes_back() -> None:
    made = mend(PASSWD, WHOLE[PASSWD].replace("root:x:0", "root:x:7"), WHOLE[PASSWD])
    assert (WHOLE[PASSWD], ("root",)) == (made.text, made.returned)


def test_user_who_took_roots_id_gets_his_own_again() -> None:
    made = mend(PASSWD, WHOLE[PASSWD].replace("ann:x:1000", "ann:x:0"), WHOLE[PASSWD])
    assert WHOLE[PASSWD] == made.text


def test_whole_line_of_a_shared_id_is_never_dropped() -> None:
    """What the backup cannot cure is left to people, with the line in its place."""
    now = f"{WHOLE[PASSWD]}toor:x:0:0::/root:/bin/sh\n"
    made = mend(PASSWD, now, WHOLE[PASSWD])
    assert now == made.text
    assert made.left


def test_backup_that_is_broken_itself_cures_nothing() -> None:
    made = mend(PASSWD, "root:x:0", "root:x:0")
    assert made.left


def test_second_line_of_a_name_goes() -> None:
    """The first is the one that counts for libc."""
    made = mend(PASSWD, f"{WHOLE[PASSWD]}ann:x:1003:1003::/:/bin/sh\n", WHOLE[PASSWD])
    assert (WHOLE[PASSWD], (4,)) == (made.text, made.dropped)


def test_mending_what_is_whole_changes_nothing() -> None:
    for path in FILES:
        made = mend(path, WHOLE[path], "")
        assert (WHOLE[path], (), ()) == (made.text, made.returned, made.dropped)


@pytest.mark.parametrize(
    "rule",
    [
        "Defaults env_reset", 'Defaults:ann !lecture, passwd_tries=2', "Defaults!/usr/bin/x use_pty",
        "root ALL=(ALL:ALL) ALL", "%sudo\tALL=(ALL:ALL) ALL", "ann, bob web-1 = (root) NOPASSWD: /bin/ls, !/bin/sh",
        "User_Alias ADMINS = ann, bob", "Cmnd_Alias HALT = /sbin/halt", "@includedir /etc/sudoers.d",
        "#includedir /etc/sudoers.d", "# a comment", "", "ann ALL = \\\n  /bin/ls", "#1000 ALL=(ALL) ALL",
    ],
)  # fmt: skip
def test_rules_of_sudo_are_understood(rule: str) -> None:
    """As sudoers(5) has them; each is a negative control."""
    assert [] == not_understood(f"{rule}\n")


@pytest.mark.parametrize("rule", ["this is no rule", "ann ALL", "%sudo", "\x7f\x7f", "User_Alias x = ann"])
def test_nonsense_in_sudoers_is_found_by_line(rule: str) -> None:
    assert [2] == not_understood(f"Defaults env_reset\n{rule}\n")
