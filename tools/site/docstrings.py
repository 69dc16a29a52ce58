"""Docstrings of this package -> reStructuredText: they are plain sentences with `code` and indented layouts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_CODE = re.compile(r"(`[^`]+`)")
# What reStructuredText would take for emphasis, a substitution, an escape or a link.
_MARKUP = re.compile(r"([*|\\]|(?<=\w)_(?!\w))")


def translate(_app: object, what: str, _name: str, value: object, _options: object, lines: list[str]) -> None:
    """Turn the lines of a docstring into reStructuredText, in place: Sphinx calls this for each."""
    from sphinx.ext.napoleon import Config, GoogleDocstring  # here: the tests need no Sphinx

    lines[:] = restructured(lines)
    # A value has no sections, and its docstring no form `type: text`, which napoleon would read.
    if what not in ("attribute", "data", "property"):
        lines[:] = GoogleDocstring(lines, Config(napoleon_use_rtype=False), what=what, obj=value).lines()


def restructured(lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines with `code` as a literal, other signs escaped, and a block that is set in as it stands."""
    margin, block, after_blank = 0, None, False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line.strip():
            if block is not None and indent < block:
                block = None
            # Lines of a section such as `Raises:` are set in too, but follow their heading at once.
            if block is None and after_blank and indent > margin:
                yield from (" " * margin + "::", "")
                block = indent
            if block is None:
                margin = indent
        after_blank = not line.strip()
        yield line if block is not None else _escaped(line)


def _escaped(line: str) -> str:
    parts = _CODE.split(line)
    return "".join(f"``{part[1:-1]}``" if index % 2 else _MARKUP.sub(r"\\\1", part) for index, part in enumerate(parts))
