"""Writes the reference pages from the program itself: `plan.md` from the models, `commands.md` from the commands.

`python -m docs.build_reference` writes them; a test fails while they are not up to date.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel
from typer.models import ArgumentInfo

from deployments.cli.app import app
from docs.reference_words import (
    COMMANDS_INTRO,
    EXIT_CODES,
    KEYS,
    PATTERNS,
    PLAN_INTRO,
    PLURALS,
    SECTIONS,
    VALUES,
)
from flows.gate import WaitingForSignOff
from model.assets import AssetBase
from model.errors import ReinstateError

HERE = Path(__file__).parent
MARK = "<!-- Written by docs/build_reference.py from the program: change it there, not here. -->"
REQUIREMENT = re.compile(r" \((?:G[0-9]+|R-[^)]*)\)")
ATTRIBUTE = re.compile(
    r"^    (?:    )?([a-z_0-9]+): (.+?)(?=^    (?:    )?[a-z_0-9]+: |\Z)", re.MULTILINE | re.DOTALL
)


def plan_page() -> str:
    """The reference of every key of a plan."""
    parts = [MARK, PLAN_INTRO]
    for title, model, before in SECTIONS:
        parts += [f"## {title}", before or _summary(model), _keys(model)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _summary(model: type[BaseModel]) -> str:
    """The text of a model's docstring above its attributes, without requirement numbers at its end."""
    return REQUIREMENT.sub("", " ".join((model.__doc__ or "").partition("Attributes:")[0].split()))


def _keys(model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    required = set(schema.get("required", ()))
    rows = [
        (
            f"`{name}`",
            VALUES.get(f"{model.__name__}.{name}") or _kind(field, definitions),
            _default(name, field, required),
            describe(model, name),
        )
        for name, field in schema["properties"].items()
        if model is AssetBase or name not in AssetBase.model_fields or not issubclass(model, AssetBase)
    ]
    return table(("key", "value", "default", "meaning"), rows)


def describe(model: type[BaseModel], name: str) -> str:
    """What a key means: from the model's docstring, else from our own words.

    Raises:
        KeyError: nobody says what it means.
    """
    for one in model.__mro__:
        if f"{one.__name__}.{name}" in KEYS:
            return KEYS[f"{one.__name__}.{name}"]
        _, _, attributes = (one.__doc__ or "").partition("Attributes:\n")
        found = {key: " ".join(text.split()) for key, text in ATTRIBUTE.findall(attributes)}
        if name in found:
            return found[name].rstrip(".")
    raise KeyError(f"{model.__name__}.{name}")


def _kind(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in field:
        target = definitions[field["$ref"].rsplit("/", 1)[-1]]
        return " or ".join(f"`{value}`" for value in target["enum"]) if "enum" in target else "a mapping"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        if {"number", "string"} == {one.get("type") for one in field["anyOf"]}:
            return "duration"
        return " or ".join(_kind(one, definitions) for one in field["anyOf"] if one.get("type") != "null")
    if "oneOf" in field:
        return "a mapping with `kind`"
    return _plain_kind(field, definitions)


def _plain_kind(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    match field.get("type"):
        case "array":
            item = _kind(field["items"], definitions)
            return f"list of {PLURALS.get(item, item)}"
        case "object":
            return "a mapping"
        case "number":
            return "duration"
        case "integer":
            least, most = field.get("minimum"), field.get("maximum")
            return "number" if least is None else f"number, {least} to {most}"
        case "boolean":
            return "`true` or `false`"
        case "string":
            return PATTERNS.get(field.get("pattern", ""), "text")
    return "text, number, list"


def _default(name: str, field: dict[str, Any], required: set[str]) -> str:
    if name in required:
        return "**required**"
    value = field.get("default")
    if value in (None, "", [], {}):
        return "–"
    if isinstance(value, dict):
        return "as below"
    if isinstance(value, list):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, float):
        return f"`{_duration(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


@dataclass(frozen=True)
class Word:
    """An argument or an option of a command."""

    name: str
    kind: str
    preset: str
    help: str
    argument: bool
    required: bool


@dataclass(frozen=True)
class Command:
    """A command of the command line."""

    path: str
    help: str
    words: tuple[Word, ...]

    @property
    def usage(self) -> str:
        """The one-line synopsis."""
        parts = [f"reinstate {self.path}"]
        for word in self.words:
            if word.argument:
                parts.append(word.name if word.required else f"[{word.name}]")
            elif word.required:
                parts.append(f"{word.name} …")
        return f"```text\n{' '.join(parts)} [OPTIONS]\n```"


def commands_page() -> str:
    """The reference of every command, and the exit codes."""
    parts = [MARK, COMMANDS_INTRO]
    for command in commands(app):
        parts += [f"## `reinstate {command.path}`", command.help, command.usage]
        rows = [(f"`{word.name}`", word.kind, word.preset, word.help) for word in command.words]
        if rows:
            parts.append(table(("argument or option", "value", "default", "meaning"), rows))
    parts += ["## Exit codes", table(("code", "name", "meaning"), exit_codes())]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def commands(group: typer.Typer, path: str = "") -> Iterator[Command]:
    """Every command below a group, read from the functions behind it."""
    for one in group.registered_commands:
        assert one.callback is not None  # noqa: S101 - narrowing: a command is always registered with its function
        name = one.name or one.callback.__name__.replace("_", "-")
        help_text = " ".join((inspect.getdoc(one.callback) or "").split())
        yield Command(f"{path} {name}".strip(), help_text, tuple(_words(one.callback)))
    for below in group.registered_groups:
        assert below.typer_instance is not None  # noqa: S101 - narrowing: a group is always added with its app
        yield from commands(below.typer_instance, f"{path} {below.name}".strip())


def _words(callback: Callable[..., Any]) -> Iterator[Word]:
    hints = get_type_hints(callback, include_extras=True)
    for name, parameter in inspect.signature(callback).parameters.items():
        annotation, info = get_args(hints[name])
        argument = isinstance(info, ArgumentInfo)
        required = parameter.default is inspect.Parameter.empty
        # Within Annotated the first name given to typer.Option stands in the place of the default.
        given = [word for word in (info.default, *(info.param_decls or ())) if str(word).startswith("-")]
        plain = name.upper() if argument else str(given[0]) if given else f"--{name.replace('_', '-')}"
        preset, meaning = _preset(parameter.default, required), (info.help or "").strip()
        yield Word(plain, _value(annotation), preset, meaning, argument, required)


def _value(annotation: Any) -> str:  # noqa: ANN401 - a typing construct
    if isinstance(annotation, UnionType):
        annotation = next(one for one in get_args(annotation) if one is not type(None))
    if get_origin(annotation) is list:
        return f"{_value(get_args(annotation)[0])}, may be given again"
    if issubclass(annotation, Enum):
        return " or ".join(f"`{one.value}`" for one in annotation)
    return {bool: "flag", int: "number", Path: "path"}.get(annotation, "text")


def _preset(value: object, required: bool) -> str:
    if required:
        return "**required**"
    return "–" if value in (None, "", False) else f"`{value}`"


def exit_codes() -> list[tuple[str, str, str]]:
    """Exit codes of all commands, in order of number."""
    todo: list[type[ReinstateError]] = [ReinstateError]
    rows = [*EXIT_CODES]
    seen = {number for number, _, _ in EXIT_CODES}
    while todo:
        error = todo.pop(0)
        todo += [one for one in error.__subclasses__() if one.__module__ == "model.errors"]
        if error.exit_code not in seen:
            seen.add(error.exit_code)
            rows.append(
                (error.exit_code, error.code, " ".join((error.__doc__ or "").split("\n\n")[0].split()))
            )
    waiting = (WaitingForSignOff.__doc__ or "").strip()
    rows.append((WaitingForSignOff.exit_code, WaitingForSignOff.code, waiting))
    return [(str(number), f"`{name}`" if name else "", text) for number, name, text in sorted(rows)]


def table(head: tuple[str, ...], rows: list[Any]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(
        lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    )


PAGES = {"plan.md": plan_page, "commands.md": commands_page}


def main() -> None:
    """Write the pages."""
    for name, make in PAGES.items():
        (HERE / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
