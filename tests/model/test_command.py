"""Commands as values: the wire carries every word exactly, and what is shown is safe (G9, G10)."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from model.command import Command, Masked, Result, printable
from model.errors import BadInput, ReinstateError

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
NAMES = st.from_regex(r"\A[A-Z_][A-Z0-9_]{0,8}\Z").filter(
    lambda name: name not in {"PATH", "IFS", "PWD", "OLDPWD", "_"}
)


def through_shell(command: Command) -> bytes:
    return subprocess.run(["sh", "-c", command.wire()], capture_output=True, check=True).stdout


@given(st.lists(WORDS, min_size=1, max_size=8))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(
    ["$(id)", "`id`", "; rm -rf /", "a\nb", "'", '"', "\\", "", "-rf", "*", "~", "#", "!", "\u202e", "a'b\"c"]
)
@example(["é", "日本", "\r", "\t", "${IFS}", "&&", "|", ">", "<(x)", "{a,b}", "\x1b]0;x\x07"])
def test_argv_survives_the_shell_exactly(words: list[str]) -> None:
    """G10: no field reaches a shell as anything but one word."""
    out = through_shell(Command(("printf", "%s\\0", *words)))
    assert [word.encode() for word in words] == out.split(b"\0")[:-1]


@given(st.dictionaries(NAMES, WORDS, max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_environment_survives_the_shell_exactly(env: dict[str, str]) -> None:
    lines = through_shell(Command(("env", "-0"), env=env)).split(b"\0")
    assert [] == [key for key, value in env.items() if f"{key}={value}".encode() not in lines]


@given(st.binary(max_size=20).filter(lambda data: b"\0" not in data))
@settings(max_examples=40, deadline=None)
def test_names_that_are_not_utf8_survive_the_shell(name: bytes) -> None:
    wire = Command(("printf", "%s", os.fsdecode(name))).wire()
    done = subprocess.run(["sh", "-c", os.fsencode(wire)], capture_output=True, check=True)
    assert name == done.stdout


@pytest.mark.parametrize(
    ("argv", "env"),
    [
        ((), {}),
        (("a\0b",), {}),
        (("a", Masked("b\0")), {}),
        (("a",), {"A": "\0"}),
        (("a",), {"A=B": "x"}),
        (("a",), {"-i": "x"}),
        (("a",), {"": "x"}),
        (("a",), {"A\n": "x"}),
        (("a=b",), {"A": "x"}),
    ],
)
def test_what_no_argv_can_carry_is_refused(argv: tuple[str | Masked, ...], env: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        Command(argv, env=env)


def test_masked_words_are_sent_and_never_shown() -> None:
    """G9."""
    command = Command(("login", "--password", Masked("s3cret")), stdin=b"s3cret", env={"A": "1"})
    assert "env A=1 login --password s3cret" == command.wire()
    assert "login --password '***'" == command.shown()
    assert "s3cret" not in repr(command)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ✓\n\tx", "plain ✓\n\tx"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("a\rb\0", "a\\rb\\x00"),
        ("\udcff", "\\udcff"),
        ("\u200b\U000e0001", "\\u200b\\U000e0001"),
    ],
)
def test_printable_shows_control_characters_as_escapes(text: str, shown: str) -> None:
    assert shown == printable(text)


@given(st.text())
def test_printable_holds_nothing_a_terminal_acts_on(text: str) -> None:
    shown = printable(text)
    assert all(char.isprintable() or char in "\n\t" for char in shown)
    shown.encode()


def test_result_tail_prefers_stderr_and_is_safe() -> None:
    assert "a\\x1b[0m\n\ufffd" == Result("x", 1, b"out", b"1\n2\na\x1b[0m\n\xff\n").tail(2)
    assert "out" == Result("x", 0, b"out\n").tail()


@pytest.mark.parametrize("status", [1, -9, None])
def test_result_check_raises_with_the_tail(status: int | None) -> None:
    """A lost connection (None) is never taken for success."""
    result = Result("do it", status, b"", b"it broke\n")
    assert not result.ok
    with pytest.raises(ReinstateError, match="it broke") as caught:
        result.check("web-1", "look at it")
    assert ("web-1", "look at it") == (caught.value.where, caught.value.remedy)


def test_result_check_of_a_good_end_returns_itself() -> None:
    result = Result("do it", 0, "ü\n".encode())
    assert result is result.check()
    assert "ü\n" == result.text
