"""Fenced code blocks of Markdown files, and the console sessions in them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAFE = re.compile(
    r"reinstate (plan (check|show|schema)\b.*|incidents( --json)?|journal verify \S+|.*--help)\Z|echo \$\?\Z"
)
"""Commands that need no host, no server and no network."""


@dataclass(frozen=True)
class Block:
    """A fenced block: language, content, and where it begins."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """Name in test reports."""
        return f"{self.page.name}:{self.line}"


@dataclass
class Call:
    """A command of a console session and the output it shows."""

    command: str
    shown: list[str] = field(default_factory=list)


def blocks(*languages: str) -> list[Block]:
    """All blocks in these languages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += [
            Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2])
            for match in _FENCE.finditer(text)
            if match[1] in languages
        ]
    return found


def calls(block: Block) -> list[Call]:
    """The commands of a console block, in order."""
    found: list[Call] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Call(line[2:]))
        else:
            found[-1].shown.append(line)
    return found


def offline(block: Block) -> bool:
    """Whether every command of a console block may be executed here."""
    return all(SAFE.match(call.command) for call in calls(block))
