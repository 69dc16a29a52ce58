"""What the commands print: plain tables. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmunlearner.catalogue import Entry
from mmunlearner.doctor import Check
from mmunlearner.files import read_json

VERDICTS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("WRONG", "bold red")}


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str | Text]], *, numbers: bool = False) -> None:
    """Print rows under their heads; with `numbers`, all columns but the first are set to the right."""
    shown = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for place, head in enumerate(heads):
        shown.add_column(head, justify="right" if numbers and place else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    Console().print(shown)


def catalogue(groups: dict[str, list[Entry]]) -> None:
    for title, entries in groups.items():
        table(title, ("name", "options", "what it is"), [(e.name, e.options or "-", e.what) for e in entries])
        print()


def checks(found: Iterable[Check]) -> None:
    rows = [(check.name, check.found, Text(*VERDICTS[check.verdict]), check.remedy) for check in found]
    table("", ("", "found", "", "remedy"), rows)


def report(page: Path) -> None:
    """A run's table, and where its report is."""
    from mmunlearner.report import load, print_table

    print_table(load(page.parent).results)
    print(f"report: {page}")


def mask(file: Path) -> None:
    """Selected fractions by part and by layer, from the statistics beside a mask."""
    statistics = read_json(file.with_suffix(".json"))
    heads = ("selected of candidates", "fraction", "selected", "candidates")
    parts = [_selected(part, counts) for part, counts in statistics["parts_density"].items()]
    layers = [_selected(layer["name"], layer) for layer in statistics["layers"]]
    table("", heads, [*layers, *parts], numbers=True)
    print(f"mask: {file} ({statistics['density']:.1%} of {', '.join(statistics['parts'])})")


def _selected(name: str, counts: dict[str, int]) -> tuple[str, ...]:
    selected, candidates = counts["selected"], counts["candidates"]
    return name, f"{selected / max(candidates, 1):.1%}", f"{selected:,}", f"{candidates:,}"


def moved(model: Path) -> None:
    """What an unlearned model's training changed."""
    made = read_json(model / "train.json")
    change = made["moved"]
    print(f"model: {model} ({made['steps']} steps, {made['seconds']:.1f} s)")
    print(f"weights moved: {change['inside']:,} inside the mask, {change['outside']:,} outside, of {change['total']:,}")
    print(f"weights moved by the forget term outside the mask: {change['forget_outside']:,}")


def scores(folder: Path) -> None:
    """All metrics of an evaluation folder, scored again from its answers."""
    from mmunlearner.evaluate import rescore

    columns = rescore(folder).columns
    metrics = list(dict.fromkeys(metric for found in columns.values() for metric in found))
    rows = [
        (name, *(_score(found.get(metric)) for metric in metrics), str(max(score.n for score in found.values())))
        for name, found in columns.items()
    ]
    table("per cent, ± standard error clustered by entity", ("", *metrics, "n"), rows, numbers=True)
    print(f"scores: {folder / 'scores.json'}")


def _score(score: object) -> str:
    value, error = getattr(score, "value", None), getattr(score, "stderr", None)
    return (
        "" if value is None else f"{100 * value:.1f} ± {100 * error:.1f}" if error is not None else f"{100 * value:.1f}"
    )
