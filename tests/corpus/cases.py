"""Cases of damage as data: what is done, what must be found, what cures it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator
from ruamel.yaml import YAML

from model.canonical import Value
from model.finding import Code

HERE = Path(__file__).parent


def _words(value: object) -> object:
    """`/usr/bin/x` and `[/usr/bin/x]` mean the same."""
    return [value] if isinstance(value, str) else value


Words = Annotated[tuple[str | int, ...], BeforeValidator(_words)]
Op = Annotated[dict[str, Words], Field(min_length=1, max_length=1)]


class Expected(Value):
    """The finding that must name the damage."""

    code: Code
    subject: str


class Case(Value):
    """One damage.

    Attributes:
        name: unique within all families.
        kind: what was done: content, missing, mode, owner, type …
        place: to what: program, library, configuration, documentation …
        do: operations of `faults`, in order.
        expect: the finding; `also` further ones the same damage may cause, by subject.
        cure: kind of the action that cures it; `none` when it is honestly refused, then `remedy` is in the proposal.
        survive: paths the repair must leave as the damage left them (edited configuration).
        alone: needs a host of its own.
        host: cases with the same word share a host; those without share the family's.
        witness: paths that must be afterwards as before; default: every path that `do` names.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    kind: str
    place: str
    do: tuple[Op, ...] = Field(min_length=1)
    expect: Expected | None
    also: tuple[str, ...] = ()
    cure: str
    remedy: str = ""
    survive: tuple[str, ...] = ()
    alone: bool = False
    host: str = ""
    witness: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Case:
        if (self.cure == "none") != bool(self.remedy) and self.expect is not None:
            raise ValueError(f"{self.name}: `cure: none` and `remedy` belong together")
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths that its file operations name."""
        named = (str(words[0]) for op in self.do for verb, words in op.items() if verb not in ("run", "try"))
        return tuple(dict.fromkeys(named))

    @property
    def watched(self) -> tuple[str, ...]:
        """Paths that must be afterwards as they were before the damage."""
        paths = self.paths if self.witness is None else self.witness
        return tuple(path for path in paths if path not in self.survive)


def families() -> list[str]:
    """Names of the families that have cases."""
    return sorted(path.stem for path in HERE.glob("*.yaml"))


def load(family: str) -> list[Case]:
    """The cases of a family.

    Raises:
        ValueError: a case is wrong, or a name stands twice.
    """
    data = YAML(typ="safe", pure=True).load(HERE / f"{family}.yaml")
    cases = [Case.model_validate(item) for item in data]
    twice = [name for name, count in Counter(case.name for case in cases).items() if count > 1]
    if twice:
        raise ValueError(f"{family}: {', '.join(twice)} stand twice")
    return cases


def groups(cases: list[Case]) -> dict[str, list[Case]]:
    """Cases by the host they share; the name of the group is the word, the case's own name, or `shared`."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(case.name if case.alone else case.host or "shared", []).append(case)
    return found
