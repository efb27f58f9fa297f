"""Reading a plan from YAML text: every problem at once, each with its line and remedy. No tags, no anchors."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import re
from collections.abc import Iterator
from difflib import get_close_matches
from io import StringIO
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from model.assets import (
    DpkgAsset,
    FilesAsset,
    MariadbAsset,
    PipAsset,
    PostgresAsset,
    RpmAsset,
    ServiceAsset,
    SqliteAsset,
    SystemAsset,
)
from model.backup_sources import (
    BorgSource,
    DirectorySource,
    PgBackRestSource,
    ResticSource,
    S3Source,
    S3TreeSource,
    TreeSource,
)
from model.errors import BadPlan, Problem
from model.plan import Plan

MAX_BYTES = 1 << 20
"""A plan is written by people; one larger than 1 MiB is an accident or an attack."""

MAX_DEPTH = 32
"""A plan needs six levels."""

_UNPRINTABLE = re.compile("[^\t\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What YAML 1.2 does not allow in a text (5.1)."""

_VARIANTS: tuple[type[BaseModel], ...] = (
    DpkgAsset, RpmAsset, PipAsset, FilesAsset, PostgresAsset, MariadbAsset, SqliteAsset, ServiceAsset, SystemAsset,
    S3Source, DirectorySource, ResticSource, BorgSource, TreeSource, S3TreeSource, PgBackRestSource,
)  # fmt: skip
_TAGS = {variant.model_fields["kind"].annotation.__args__[0] for variant in _VARIANTS}  # type: ignore[union-attr]  # Literal


def plan_digest(text: str) -> str:
    """SHA-256 of the plan's text: what "which version was followed" means."""
    return hashlib.sha256(text.encode()).hexdigest()


@functools.lru_cache(maxsize=32)
def read_plan(text: str, where: str = "plan") -> Plan:
    """Read and check a plan; the same text is read once (0.1 s), as each task of a recovery opens it anew.

    Args:
        text: the YAML.
        where: file name for messages.

    Raises:
        BadPlan: with all problems found, each with a 1-based line.
    """
    root = _compose(text, where)
    problems: list[Problem] = []
    data = _plain(root, "", problems)
    if not problems:
        try:
            return Plan.model_validate(data)
        except ValidationError as error:
            problems = [problem for details in error.errors() for problem in _problems(root, details)]
    problems.sort(key=lambda problem: problem.line)
    raise BadPlan(
        f"the plan has {len(problems)} problem{'s' if len(problems) != 1 else ''}:\n  "
        + "\n  ".join(map(str, problems)),
        where=where,
        remedy="correct the lines named; `reinstate plan schema` prints what is allowed",
        problems=tuple(problems),
    )


def place(text: str, path: str) -> tuple[int, int]:
    """Where the value of a key stands in the text of a right plan: offsets of its begin and end.

    Args:
        text: the YAML.
        path: dotted path of the key, through mappings only.

    Raises:
        KeyError: the file does not have this key.
    """
    node = _compose(text, "plan")
    for part in path.split("."):
        assert isinstance(node, MappingNode)  # noqa: S101 - narrowing: the plan is right
        node = {str(key.value): value for key, value in node.value}[part]
    return node.start_mark.index, node.end_mark.index


def line_of(text: str, path: str) -> int:
    """The 1-based line of a key in the text of a right plan, or of what it would stand in; 1 for nothing of it.

    Args:
        text: the YAML.
        path: dotted path of the key.
    """
    parts = tuple(int(part) if part.isdigit() else part for part in path.split("."))
    trail = list(_walk(_compose(text, "plan"), parts))
    return trail[-1].start_mark.line + 1 if trail else 1


def _refuse(where: str, line: int, what: str, remedy: str) -> BadPlan:
    problem = Problem(line, "", what, remedy)
    return BadPlan(str(problem), where=where, remedy=remedy, problems=(problem,))


def _compose(text: str, where: str) -> Node:
    if len(text) > MAX_BYTES:
        raise _refuse(where, 1, "the plan is larger than 1 MiB", "split it: one plan per service")
    for number, line_text in enumerate(text.split("\n"), start=1):
        if wrong := _UNPRINTABLE.search(line_text):
            what = f"the character U+{ord(wrong[0]):04X} is not allowed"
            raise _refuse(where, number, what, "remove it; save the plan as UTF-8 text")
    try:
        depth = 0
        for event in YAML(typ="safe", pure=True).parse(StringIO(text)):
            line = event.start_mark.line + 1
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > MAX_DEPTH:  # the scanner's time grows with the square of the depth
                raise _refuse(where, line, "the plan is nested too deeply", "flatten it")
            if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
                raise _refuse(where, line, "anchors and aliases are not allowed", "write the value out")
            tagged = isinstance(event, ScalarEvent | CollectionStartEvent) and event.tag is not None
            if tagged and str(event.tag) not in {"None", "!"}:
                raise _refuse(where, line, f"the YAML tag {event.tag} is not allowed", "remove the tag")
        node = YAML(typ="safe", pure=True).compose(StringIO(text))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _refuse(
            where, line, f"not valid YAML: {error.problem}", "check indentation and quotes"
        ) from None
    except YAMLError as error:
        raise _refuse(where, 1, f"not valid YAML: {error}", "save the plan as UTF-8 text") from None
    if not isinstance(node, MappingNode):
        raise _refuse(where, 1, "the plan is empty or not a mapping", "start from `plans/sample.yaml`")
    return node


def _plain(node: Node, path: str, problems: list[Problem]) -> Any:  # noqa: ANN401 - plain YAML data
    if isinstance(node, MappingNode):
        seen: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                line = key_node.start_mark.line + 1
                problems.append(Problem(line, path, "a key is not a word", "write `key: value`"))
                continue
            key = str(key_node.value)
            here = f"{path}.{key}" if path else key
            if key in seen:
                line = key_node.start_mark.line + 1
                problems.append(Problem(line, here, f"the key {key!r} stands twice", "keep one of them"))
            seen[key] = _plain(value_node, here, problems)
        return seen
    if isinstance(node, SequenceNode):
        return [_plain(item, f"{path}.{number}", problems) for number, item in enumerate(node.value)]
    return _scalar(node)


def _scalar(node: Node) -> str | int | float | bool | None:
    assert isinstance(node, ScalarNode)  # noqa: S101 - narrowing: YAML has three node kinds
    text, kind = str(node.value), str(node.tag).rsplit(":", 1)[-1]
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in {"true", "yes", "on"}
    if kind in {"int", "float"}:
        # A number too long, or in a form we do not read, stays text: the field's own check says so.
        with contextlib.suppress(ValueError):
            return _number(text)
    return text


def _number(text: str) -> int | float:
    """A number as YAML 1.2 reads it (`1_000`, `0x1f`, `0o17`, `010` is ten); never infinite.

    Raises:
        ValueError: it is none, or is beyond what a float holds.
    """
    digits = text.lstrip("+-")
    if digits[:2].lower() in {"0x", "0o", "0b"}:
        return int(text, 0)
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(text) from None
        return number


def _without_tags(location: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """A pydantic location without what pydantic inserts: the discriminator after `assets.NAME`, `[key]` at the end."""
    if location[:1] in {("assets",), ("backups",)} and len(location) > 2 and location[2] in _TAGS:
        location = (*location[:2], *location[3:])
    return location[:-1] if location[-1:] == ("[key]",) else location


def _walk(root: Node, location: tuple[str | int, ...]) -> Iterator[Node]:
    """The nodes along a location as far as they exist: a mapping's key, a sequence's item."""
    node = root
    for part in location:
        if isinstance(node, MappingNode):
            pair = next((p for p in node.value if str(p[0].value) == str(part)), None)
            if pair is None:
                return
            node = pair[1]
            yield pair[0]
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            yield node
        else:
            return


def _problems(root: Node, details: Any) -> Iterator[Problem]:  # noqa: ANN401 - pydantic's ErrorDetails
    message = str(details["msg"]).removeprefix("Value error, ")
    if details["loc"] or ": " not in message:
        yield _problem(root, _without_tags(details["loc"]), message, details["type"])
        return
    for line in message.splitlines():  # the plan's own check of references: `path: sentence` each
        path, _, sentence = line.partition(": ")
        location = tuple(int(part) if part.isdigit() else part for part in path.split("."))
        yield _problem(root, location, sentence, details["type"])


def _problem(root: Node, location: tuple[str | int, ...], message: str, kind: str) -> Problem:
    trail = list(_walk(root, location))
    line = (trail[-1] if trail else root).start_mark.line + 1
    path = ".".join(map(str, location))
    key = str(location[-1]) if location else ""
    if kind == "extra_forbidden":
        close = get_close_matches(key, sorted({name for m in _models() for name in m.model_fields}), n=1)
        remedy = f"did you mean {close[0]!r}?" if close else "remove it"
        return Problem(line, path, f"unknown key {key!r}", remedy)
    if kind == "missing":
        return Problem(line, path, f"the key {key!r} is missing", "add it; see `reinstate plan schema`")
    if kind == "string_type":
        return Problem(line, path, "a text is needed here", "put the value in quotes")
    return Problem(line, path, message, "see `reinstate plan schema`")


def _models() -> Iterator[type[BaseModel]]:
    todo: list[type[BaseModel]] = [Plan]
    seen: set[type[BaseModel]] = set()
    while todo:
        model = todo.pop()
        if model in seen:
            continue
        seen.add(model)
        yield model
        for field in model.model_fields.values():
            todo += [kind for kind in _classes(field.annotation) if kind not in seen]


def _classes(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - a typing construct
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _classes(argument)
