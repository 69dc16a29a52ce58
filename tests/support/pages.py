"""Pages of the documentation: their code blocks, the marks of those that cannot be run, and their code spans."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?:<!-- not run: (.+?) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    line: int
    language: str
    code: str
    reason: str
    """Why it is not run: the comment `<!-- not run: REASON -->` before it; empty: it is run."""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def pages(repository: Path) -> list[Path]:
    """Return the pages of the documentation."""
    return [*sorted(repository.glob("*.md")), *sorted(repository.glob("docs/*.md"))]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match[2], match[3], match[1] or "")
        for match in _FENCE.finditer(text)
    ]


def spans(page: Path) -> list[str]:
    """Return the code spans of a page's prose."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"`([^`\n]+)`", prose)
