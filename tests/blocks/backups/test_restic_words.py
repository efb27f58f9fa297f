"""What restic says when its repository is away, and what only looks like it."""

from __future__ import annotations

import pytest

from blocks.backups.restic import _AWAY


@pytest.mark.parametrize(
    "said",
    [
        "Load(<data/a99c935502>, 1362552, 0) returned error, retrying after 552.330144ms: EOF",
        "open /srv/repo/data/50/503c9355023a27e2: no such file or directory",
        "Fatal: unable to load index 50412f: unexpected EOF",
        "Load(<data/0123>, 502, 503) returned error: ReadFull: EOF",
    ],
)
def test_hashes_lengths_and_places_are_no_http_errors(said: str) -> None:
    assert _AWAY.search(said) is None


@pytest.mark.parametrize(
    "said",
    [
        "dial tcp 127.0.0.1:1: connect: connection refused",
        "unexpected HTTP response (503): 503 Service Unavailable",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "We encountered an internal error, please try again.",
        "Please reduce your request rate.",
    ],
)
def test_server_that_is_away_is_known(said: str) -> None:
    assert _AWAY.search(said) is not None
