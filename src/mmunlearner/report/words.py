"""Numbers as a reader wants them: per cent, points, seconds, bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmunlearner.evaluate.scores import Score

MINUS = "−"


def percent(value: float, digits: int = 1) -> str:
    """0.972 -> 97.2"""
    return f"{100 * value:.{digits}f}".replace("-", MINUS)


def points(value: float, digits: int = 1) -> str:
    """A difference of fractions in points, signed: -0.031 -> −3.1, 0 -> 0.0"""
    text = f"{100 * value:+.{digits}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", MINUS)


def with_error(score: Score) -> str:
    """0.972, 0.008 -> 97.2 ± 0.8"""
    return f"{percent(score.value)} ± {percent(score.stderr)}"


def difference(score: Score) -> str:
    """-0.031, 0.012 -> −3.1 ± 1.2"""
    return f"{points(score.value)} ± {percent(score.stderr)}"


def duration(seconds: float) -> str:
    """8.24 -> 8.2 s, 95 -> 1 min 35 s, 7300 -> 2 h 2 min"""
    if seconds < 60:
        return f"{seconds:.1f} s" if round(seconds, 1) < 60 else "1 min 0 s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def memory(size: float) -> str:
    """Bytes with a decimal unit: 512_000_000 -> 512 MB"""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if size >= 99.5 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def count(number: int) -> str:
    """1070000 -> 1,070,000"""
    return f"{number:,}"


def listed(names: Sequence[str]) -> str:
    """a, b and c"""
    return ", ".join(names) if len(names) < 2 else f"{', '.join(names[:-1])} and {names[-1]}"


def plural(number: int, noun: str) -> str:
    """1, column -> 1 column; 3, column -> 3 columns"""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def ended(look: Mapping[str, Any]) -> str:
    """What the last look at the forgotten did: `stopped at step 24 of 60: on the validation half, forget VQA ...`"""
    seen = [
        f"{name} {percent(value)} % ({look['source']} {percent(look['level'][name])} %)"
        for name, value in look["accuracy"].items()
    ]
    if look["reached"]:
        return f"stopped at step {look['step']} of {look['of']}: on the validation half, {listed(seen)}"
    return f"not stopped in {look['of']} steps: at step {look['step']}, on the validation half, {listed(seen)}"


def tidy(text: str) -> str:
    """Spaces at which a line must not break, between a number and what belongs to it."""
    return text.replace(" %", "\u00a0%").replace(" ± ", "\u00a0±\u00a0").replace(" points", "\u00a0points")
