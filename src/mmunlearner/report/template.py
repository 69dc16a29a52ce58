"""Text of the report: formatted numbers, escaped Markdown and LaTeX, and jinja2 templates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mmunlearner.evaluate.scores import Difference, Score

MINUS = "−"
DASH = "–"
"""Shown instead of a missing value."""


# --- numbers --------------------------------------------------------------------------------------------------------


def percent(value: float, digits: int = 1) -> str:
    """0.972 -> 97.2"""
    return f"{100 * value:.{digits}f}".replace("-", MINUS)


def points(value: float, digits: int = 1) -> str:
    """Write a difference of fractions in points, signed: -0.031 -> −3.1, 0 -> 0.0"""
    text = f"{100 * value:+.{digits}f}"
    # A rounded zero has no sign: neither +0.0 nor −0.0.
    return (text[1:] if float(text) == 0 else text).replace("-", MINUS)


def least(value: float) -> str:
    """Write a smallest difference in points: 0.031 -> 3.1; more than there can be, 1.6 -> >100."""
    return percent(value) if value <= 1 else ">100"


def with_error(score: Score) -> str:
    """0.972, 0.008 -> 97.2 ± 0.8"""
    return f"{percent(score.value)} ± {percent(score.stderr)}"


def signed(score: Score | Difference) -> str:
    """-0.031, 0.012 -> −3.1 ± 1.2"""
    return f"{points(score.value)} ± {percent(score.stderr)}"


def duration(seconds: float) -> str:
    """8.24 -> 8.2 s, 95 -> 1 min 35 s, 7300 -> 2 h 2 min"""
    # 59.96 would be printed as 60.0 s.
    if seconds < 60:
        return f"{seconds:.1f} s" if round(seconds, 1) < 60 else "1 min 0 s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def memory(size: float) -> str:
    """Write bytes with a decimal unit: 512_000_000 -> 512 MB"""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:  # from there it would be printed as 1000
            return f"{size:.0f} {unit}" if size >= 99.5 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def count(number: int) -> str:
    """1070000 -> 1,070,000"""
    return f"{number:,}"


# --- sentences ------------------------------------------------------------------------------------------------------


def enumerated(names: Sequence[str]) -> str:
    """a, b and c"""
    return ", ".join(names) if len(names) < 2 else f"{', '.join(names[:-1])} and {names[-1]}"


def plural(number: int, noun: str) -> str:
    """1, column -> 1 column; 3, column -> 3 columns"""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def stop_check(look: Mapping[str, Any]) -> str:
    """Describe the last check of early stopping: `stopped at step 24 of 60: on the validation half, forget VQA ...`"""
    accuracies = [
        f"{name} {percent(value)} % ({look['source']} {percent(look['level'][name])} %)"
        for name, value in look["accuracy"].items()
    ]
    if look["reached"]:
        return f"stopped at step {look['step']} of {look['of']}: on the validation half, {enumerated(accuracies)}"
    return (
        f"not stopped in {look['of']} steps: at step {look['step']}, on the validation half, {enumerated(accuracies)}"
    )


def unbroken(text: str) -> str:
    """Replace the space between a number and its unit or error by one at which no line breaks."""
    return text.replace(" %", "\u00a0%").replace(" ± ", "\u00a0±\u00a0").replace(" points", "\u00a0points")


# --- Markdown and LaTeX ---------------------------------------------------------------------------------------------


def escape_markdown(text: str, *, code: bool = False) -> str:
    """Return the text on one line, with its Markdown characters escaped; with `code`, backticks keep their meaning."""
    # A line break would end the row of a table.
    return re.sub(r"([|*_<\[\]\\])" if code else r"([|*_`<\[\]\\])", r"\\\1", " ".join(text.split()))


def pipe_table(align: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table of escaped cells; `align` has `l` or `r` for each column, as in LaTeX."""
    lines = [heads, [{"l": "---", "r": "---:"}[side] for side in align], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


_LATEX = {char: f"\\{char}" for char in "#$%&_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "→": r"$\to$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    MINUS: "$-$",
    "±": r"$\pm$",
    DASH: "--",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def escape_latex(text: str) -> str:
    """Return the text with LaTeX's special characters escaped, and symbols such as → as commands."""
    # Character by character, so that the backslashes of one replacement are not escaped by the next.
    return "".join(_LATEX.get(char, char) for char in " ".join(text.split()))


# --- HTML -----------------------------------------------------------------------------------------------------------


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mmunlearner.report"),
        autoescape=True,  # values are text from outside, unless this package rendered them (Markup)
        undefined=StrictUndefined,  # a misspelt variable is an error, not an empty place on the page
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (percent, points, signed, duration, memory, count, unbroken, zip)
    # A template uses a filter by the name of its function.
    environment.filters |= {f.__name__: f for f in filters}
    return environment


def render(name: str, **values: object) -> Markup:
    """Return a template of this package as HTML, filled in with the values."""
    return Markup(_environment().get_template(name).render(**values))


def source(name: str) -> str:
    """Read a file beside the templates as it is."""
    return (files("mmunlearner.report") / "templates" / name).read_text(encoding="utf-8")
