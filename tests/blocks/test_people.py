"""Proofs of identity: one-time codes and SSH signatures (attacks: reused, forged, altered, another person's)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyotp
import pytest

from blocks.journals.base import JournalStore
from blocks.journals.directory import DirectoryJournal
from blocks.people import verify_totp
from model.errors import Damaged, PreconditionFailed, Refused
from model.plan import Person

from .journals.builders import FORK

AT = datetime(2025, 3, 1, 12, 0, 10, tzinfo=UTC)
SECRETS = {
    "env:ANN": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
    "env:BOB": "KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU",
    "env:BAD": "not base32!",
    "env:SHORT": "JBSWY3DPEHPK3PXP",
}
ANN = Person(name="Ann", totp="env:ANN")
BOB = Person(name="Bob", totp="env:BOB")


@pytest.fixture
def store(tmp_path: Path) -> JournalStore:
    return DirectoryJournal(tmp_path / "store")


def code(person: Person = ANN, at: datetime = AT) -> str:
    return pyotp.TOTP(SECRETS[person.totp or ""]).at(at)


def check(
    store: JournalStore,
    typed: str,
    claim: str = "form 1",
    at: datetime = AT,
    who: str = "ann",
    person: Person = ANN,
) -> str:
    return verify_totp(store, SECRETS.__getitem__, who, person, typed, claim, at)


def wrong(number: int) -> str:
    """A code that is none of Ann's or Bob's around AT."""
    near = {code(p, AT + timedelta(seconds=30 * s)) for p in (ANN, BOB) for s in range(-200, 200)}
    return [text for text in (f"{n:06d}" for n in range(10_000)) if text not in near][number]


def test_a_right_code_is_proof_by_its_time_step(store: JournalStore) -> None:
    assert f"totp:{int(AT.timestamp()) // 30}" == check(store, code())


def test_blanks_in_the_code_do_not_matter(store: JournalStore) -> None:
    assert check(store, f" {code()[:3]} {code()[3:]}\n")


def test_the_same_answer_read_again_gives_the_same_proof(store: JournalStore) -> None:
    """A run that was suspended re-enters from the top and reads its answers again."""
    assert 1 == len({check(store, code()) for _ in range(10)})


def test_a_code_used_in_another_answer_is_refused(store: JournalStore) -> None:
    check(store, code(), "form 1")
    with pytest.raises(Refused, match="used before") as caught:
        check(store, code(), "form 2")
    assert "next code" in caught.value.remedy


@pytest.mark.parametrize("seconds", [-30, 30])
def test_the_step_before_and_after_counts(store: JournalStore, seconds: int) -> None:
    step = int(AT.timestamp()) // 30 + seconds // 30
    assert f"totp:{step}" == check(store, code(at=AT + timedelta(seconds=seconds)))


@pytest.mark.parametrize("seconds", [-3600, -60, 60, 3600])
def test_a_code_outside_the_window_is_refused(store: JournalStore, seconds: int) -> None:
    with pytest.raises(Refused, match="not right"):
        check(store, code(at=AT + timedelta(seconds=seconds)))


def test_the_code_of_another_person_is_refused(store: JournalStore) -> None:
    with pytest.raises(Refused, match="not right"):
        check(store, code(BOB))


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "12345",
        "1234567",
        "abcdef",
        "\uff11\uff12\uff13\uff14\uff15\uff16",
        "{{7*7}}",
        "-12345",
        "12345\0",
    ],
)
def test_what_is_no_code_is_refused(store: JournalStore, typed: str) -> None:
    with pytest.raises(Refused, match="not a one-time code"):
        check(store, typed)


def test_a_person_without_a_secret_is_sent_to_the_ssh_key(store: JournalStore) -> None:
    with pytest.raises(Refused, match="no one-time code in the plan") as caught:
        check(store, code(), person=Person(name="Ann"))
    assert "reinstate approve" in caught.value.remedy


@pytest.mark.parametrize("reference", ["env:BAD", "env:SHORT"])
def test_a_secret_that_is_no_good_is_named_but_not_shown(store: JournalStore, reference: str) -> None:
    """G9."""
    with pytest.raises(PreconditionFailed, match=r"people\.ann\.totp") as caught:
        check(store, "123456", person=Person(name="Ann", totp=reference))
    assert SECRETS[reference] not in str(caught.value)
    assert caught.value.__suppress_context__


def test_no_message_shows_code_or_secret(store: JournalStore, tmp_path: Path) -> None:
    """G9: neither in what is said nor in what is stored."""
    check(store, code())
    for typed in (code(), wrong(1)):
        with pytest.raises(Refused) as caught:
            check(store, typed, "form 2")
        assert typed not in str(caught.value)
        assert SECRETS["env:ANN"] not in str(caught.value)
    files = [file for file in (tmp_path / "store").rglob("*") if file.is_file() and "keys" not in file.parts]
    kept = b"".join(file.read_bytes() for file in files)
    assert [] == [text for text in (code(), wrong(1), SECRETS["env:ANN"]) if text.encode() in kept]


def test_five_wrong_codes_refuse_even_a_right_one_for_15_minutes(store: JournalStore) -> None:
    for number in range(5):
        with pytest.raises(Refused, match=f"{4 - number} more wrong ones"):
            check(store, wrong(number), f"form {number}")
    with pytest.raises(Refused, match="within 15 minutes"):
        check(store, code(), "form 5")
    later = AT + timedelta(minutes=14)
    with pytest.raises(Refused, match="within 15 minutes"):
        check(store, code(at=later), "form 6", later)
    later = AT + timedelta(minutes=15, seconds=1)
    assert check(store, code(at=later), "form 7", later)


def test_wrong_codes_of_one_person_do_not_stop_another(store: JournalStore) -> None:
    for number in range(5):
        with pytest.raises(Refused):
            check(store, wrong(number), f"form {number}")
    assert check(store, code(BOB), who="bob", person=BOB)


def test_the_same_wrong_answer_read_again_counts_once(store: JournalStore) -> None:
    for _ in range(20):
        with pytest.raises(Refused, match="4 more wrong ones"):
            check(store, wrong(0))
    assert check(store, code(), "form 2")


def test_right_codes_do_not_use_up_the_attempts(store: JournalStore) -> None:
    for number in range(12):
        at = AT + timedelta(seconds=30 * number)
        assert check(store, code(at=at), f"form {number}", at)
    for number in range(5):
        with pytest.raises(Refused, match=f"{4 - number} more wrong ones"):
            check(store, wrong(number), f"wrong {number}", AT + timedelta(minutes=7))


def test_attempts_count_across_the_border_of_two_windows(store: JournalStore) -> None:
    border = datetime.fromtimestamp((int(AT.timestamp()) // 900 + 1) * 900, UTC)
    for number in range(3):
        with pytest.raises(Refused, match="not right"):
            check(store, wrong(number), f"form {number}", border - timedelta(seconds=20))
    for number in range(3, 5):
        with pytest.raises(Refused, match="not right"):
            check(store, wrong(number), f"form {number}", border + timedelta(seconds=20))
    with pytest.raises(Refused, match="within 15 minutes"):
        check(store, code(at=border + timedelta(seconds=20)), "right", border + timedelta(seconds=20))


def test_an_altered_count_is_damaged(store: JournalStore) -> None:
    with pytest.raises(Refused):
        check(store, wrong(0))
    window = int(AT.timestamp()) // 900
    store.put(f"people/ann/attempts/{window}-0.json", b"{}")
    with pytest.raises(Damaged):
        check(store, code(), "form 2")


def _guess(root: Path, name: int) -> None:
    store = DirectoryJournal(root)
    for number in range(5):
        try:
            check(store, wrong(name * 5 + number), f"form {name}/{number}")
        except Refused as refusal:
            store.put(f"{'tried' if 'not right' in refusal.what else 'limited'}/{name}-{number}", b"")


def test_guesses_from_many_processes_at_once_gain_nothing(store: JournalStore, tmp_path: Path) -> None:
    """An attempt is counted before it is looked at."""
    workers = [FORK.Process(target=_guess, args=(tmp_path / "store", name)) for name in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert 5 == len(list((tmp_path / "store/documents/tried").iterdir()))
    assert 25 == len(list((tmp_path / "store/documents/limited").iterdir()))
