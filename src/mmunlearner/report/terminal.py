"""The results on a terminal: the table in as few pieces as its width allows, and the verdict below it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmunlearner.report.results import Results
from mmunlearner.report.table import VISIBLE, Cell, table, titles_by_freedom
from mmunlearner.report.table import Table as ScoreTable
from mmunlearner.report.template import DASH
from mmunlearner.report.verdict import answers, headline

STYLES = {"met": "green", "missed": "red", "unclear": "yellow", "note": ""}


def print_report(results: Results, console: Console | None = None) -> None:
    """Print the table, its legend, the weights that each model leaves free outside the mask, and the verdict last."""
    console = console or Console()
    results_table = table(results)
    for part in tables(results_table, width=console.width):
        console.print(part)
        console.print()
    console.print(Text(results_table.caption, "dim"))
    for free, titles in titles_by_freedom(results).items():
        console.print(Text.assemble((f"{', '.join(titles)}: ", "bold"), (f"may move without a mask: {free}", "dim")))
    # The end of the output is what a reader of a terminal sees first.
    summary = headline(results)
    console.print(Text.assemble("\n", (summary.title, "bold"), f"\n{summary.text}"))
    for answer in answers(results):
        console.print(
            Text.assemble((f"{answer.question} ", "bold"), (answer.word, STYLES[answer.verdict]), f": {answer.text}")
        )


def tables(results_table: ScoreTable, *, width: int = 80) -> list[Table]:
    """Make tables that fit `width` characters: as few as can hold all columns without a break within a word or score.

    Where more than one is needed, all have about as many columns.
    """
    part = results_table.of_form("terminal")
    names = [f"{row.model.title} {row.tag}" for row in part.rows]
    narrowest = max((len(word) for name in names for word in name.split()), default=0)
    whole, by_words = ([_width(part, i, unbroken) for i in range(len(part.columns))] for unbroken in (True, False))
    # Titles wrap only where all columns do not fit beside each other otherwise; 1 is the space between two columns.
    widths = whole if narrowest + sum(whole) + len(whole) <= width else by_words
    slices = even_slices([w + 1 for w in widths], max(width - narrowest, 0))
    room = width - max((sum(widths[part_slice]) + len(widths[part_slice]) for part_slice in slices), default=0)
    # Names wrap between words where columns need the room; every table has the same place for them.
    name_width = max(min(room, max(map(len, names), default=0)), min(narrowest, width // 2))
    numbers = range(len(widths))
    return [_table(part.take(numbers[columns]), name_width, widths[columns]) for columns in slices]


def even_slices(widths: Sequence[int], room: int) -> list[slice]:
    """Cut columns into as few tables as the room allows, each with at least one, of as equal numbers as possible."""
    for tables in range(1, len(widths) + 1):
        bounds = [round(i * len(widths) / tables) for i in range(tables + 1)]
        slices = [slice(start, stop) for start, stop in pairwise(bounds)]
        if tables == len(widths) or all(sum(widths[part]) <= room for part in slices):
            return slices
    return []


def _width(part: ScoreTable, number: int, unbroken: bool) -> int:
    """Return the characters that a column needs for its scores, its aim and its title or the longest word of it."""
    column, cells = part.columns[number], [row.cells[number] for row in part.rows]
    scores = max((len(cell.text) for cell in cells if cell), default=0)
    errors = max((len(f" ±{cell.error}") for cell in cells if cell and cell.error), default=0)
    return max([scores + errors, len(column.mark), *map(len, [column.title] if unbroken else column.title.split())])


def _table(part: ScoreTable, name_width: int, widths: Sequence[int]) -> Table:
    rich_table = Table(box=SIMPLE_HEAD, header_style="bold", show_edge=False, padding=0)
    rich_table.add_column("", min_width=name_width, max_width=name_width)
    for column, width in zip(part.columns, widths, strict=True):
        title = Text.assemble(column.title, "\n", (column.mark, "dim not bold"))
        justify = "right" if column.number else "left"
        rich_table.add_column(title, justify=justify, vertical="bottom", min_width=width, max_width=width)
    # Errors are padded, so that scores stand below each other although the cell is aligned on the right.
    padding = [
        max((len(cell.error) for row in part.rows if (cell := row.cells[i])), default=0)
        for i in range(len(part.columns))
    ]
    for _, rows in part.groups:
        for row in rows:
            style = "bold" if row.model.chosen else "" if row.model.unlearned else "italic"
            name = Text.assemble((row.model.title, style), (f" {row.tag}" if row.tag else "", "dim"))
            rich_table.add_row(name, *map(_cell, row.cells, padding))
        rich_table.add_section()
    if part.visible:
        rich_table.add_row(VISIBLE, *part.visible, style="dim")
    return rich_table


def _cell(cell: Cell | None, padding: int) -> Text:
    if cell is None:
        return Text(DASH, "dim")
    error = f" ±{cell.error:<{padding}}" if cell.error else ""
    return Text.assemble((cell.text, "bold green" if cell.best else ""), (error, "dim"))
