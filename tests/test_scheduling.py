"""What `make test` keeps in one process."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.scheduling import ALONE, INSTALLATION, together

ROOT = Path(__file__).parents[1]


def test_files_that_use_the_running_installation_are_all_named() -> None:
    """Two processes would start one `reinstate up` each."""
    using = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"^(def \w+\(|\s+)installation: Installation", path.read_text(), re.MULTILINE)
    }
    assert {*INSTALLATION, *ALONE} == using


@pytest.mark.parametrize(
    ("nodeid", "expected"),
    [
        ("tests/model/test_signoff.py::test_a[x::y]", "tests/model/test_signoff.py"),
        ("tests/e2e/test_kill.py::test_b", "installation"),
        ("tests/corpus/test_corpus.py::test_c[dpkg:shared:x-y]", "tests/corpus/test_corpus.py[dpkg:shared"),
        ("tests/corpus/test_corpus.py::test_d[dpkg:shared]", "tests/corpus/test_corpus.py[dpkg:shared"),
        ("tests/corpus/test_corpus.py::test_e", "tests/corpus/test_corpus.py"),
    ],
)
def test_test_goes_with_what_it_shares(nodeid: str, expected: str) -> None:
    assert expected == together(nodeid)
