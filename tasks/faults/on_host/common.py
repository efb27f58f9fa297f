"""Runs on the host, as `python3 -I -S -c` of this text and one of `picker`, `planter`, `packages`.

Standard input: a request as JSON, `do` its operation. Standard output: the answer as JSON; `refused` where it will not.
Nothing but the standard library of Python 3.6.
"""

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing `typing` takes time
    from collections.abc import Callable, Mapping
    from typing import Any

    Request = dict[str, Any]
    Operations = Mapping[str, Callable[[Request], Request]]


class Refused(Exception):
    """What is asked is not done, and why."""


def below(path: str) -> "list[str]":
    """A path and all below it, what holds before what is held."""
    found = [path]
    if os.path.isdir(path) and not os.path.islink(path):
        for folder, names, others in os.walk(path):
            found += [os.path.join(folder, name) for name in sorted(names + others)]
    return found


def serve(operations: "Operations") -> None:
    """What the request says."""
    request = json.load(sys.stdin)
    try:
        answer = operations[request["do"]](request)
    except (Refused, OSError) as error:
        answer = {"refused": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
