"""The table of results: once as rows, then as Markdown, LaTeX, HTML and for the terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from mmunlearner.evaluate.scores import Score, unpaired_difference
from mmunlearner.report.goals import Target, best, shortfall, target
from mmunlearner.report.results import HEADLINE, Column, Model, Results, Role
from mmunlearner.report.template import render
from mmunlearner.report.words import duration, percent, points, with_error

GROUPS: dict[Role, str] = {
    "vanilla": "References",
    "oracle": "References",
    "baseline": "Baselines",
    "method": "Methods",
    "control": "Controls",
}


@dataclass(frozen=True)
class Cell:
    """One model's score in one column."""

    score: Score
    gap: Score | None
    """Score minus the oracle's."""
    shortfall: float
    """Distance from where the score should end; 0 for the references, which set the aim."""
    best: bool


@dataclass(frozen=True)
class Row:
    model: Model
    cells: tuple[Cell | None, ...]

    @property
    def group(self) -> str:
        return GROUPS[self.model.role]

    @property
    def tag(self) -> str:
        """What sets the row apart: a control, or the variant that the validation half chose."""
        return "control" if self.model.role == "control" else "chosen" if self.model.chosen else ""

    @property
    def name(self) -> str:
        return f"{self.model.title} ({self.tag})" if self.tag else self.model.title

    @property
    def seconds(self) -> float | None:
        """Time to make the model once: its mask and its training, without trials and evaluation."""
        return sum(s for step, s in self.model.seconds.items() if step not in ("tune", "evaluate")) or None


@dataclass(frozen=True)
class Table:
    columns: tuple[Column, ...]
    targets: tuple[Target, ...]
    rows: tuple[Row, ...]
    """References first, then baselines, methods, controls."""
    errors: str = "standard error clustered by entity"

    @property
    def groups(self) -> list[tuple[str, list[Row]]]:
        return [(name, list(rows)) for name, rows in groupby(self.rows, key=lambda row: row.group)]

    @property
    def headed(self) -> list[tuple[Column, Target]]:
        return list(zip(self.columns, self.targets, strict=True))

    @property
    def legend(self) -> dict[str, str]:
        """The marks of the good direction and what they say."""
        return {aim.mark: f"should {aim.words}" for aim in self.targets}

    @property
    def caption(self) -> str:
        marks = "; ".join(f"{mark}: {words}" for mark, words in self.legend.items())
        bold = "Bold: closest to that among all models that unlearned."
        return f"Accuracy in per cent ± {self.errors}. {marks}. {bold}"


def table(results: Results, *, metric: str = HEADLINE, errors: str = Table.errors) -> Table:
    """Rows and columns of a metric; a column that no model has a score in is left out."""
    columns = tuple(
        column for column in results.columns if any(model.score(column.name, metric) for model in results.models)
    )
    order = list(dict.fromkeys(GROUPS.values()))
    models = sorted(results.models, key=lambda model: order.index(GROUPS[model.role]))
    rows = tuple(Row(model, tuple(_cell(results, model, column, metric) for column in columns)) for model in models)
    return Table(columns, tuple(target(results, column) for column in columns), rows, errors)


def _cell(results: Results, model: Model, column: Column, metric: str) -> Cell | None:
    score = model.score(column.name, metric)
    if score is None:
        return None
    if metric != HEADLINE:
        return Cell(score, None, 0.0, False)
    short = shortfall(score.value, target(results, column)) if model.unlearned else 0.0
    return Cell(score, gap(results, model, column), short, model.name in best(results, column))


def gap(results: Results, model: Model, column: Column) -> Score | None:
    """Score minus the oracle's: as the run measured it on paired items, else from the two scores."""
    oracle = results.oracle
    if oracle is None or model is oracle:
        return None
    if measured := model.oracle_gap.get(column.name):
        return measured
    ours, theirs = model.score(column.name), oracle.score(column.name)
    return unpaired_difference(ours, theirs) if ours and theirs else None


# --- Markdown -------------------------------------------------------------------------------------------------------


def markdown(shown: Table) -> str:
    """A pipe table; references in italics, distance to the oracle in brackets."""
    heads = ["Model", *(f"{c.title} {t.mark}" for c, t in shown.headed), "Free outside the mask", "Time"]
    lines = [heads, ["---", *["---:"] * len(shown.columns), "---", "---:"]]
    lines += [_markdown_row(row) for row in shown.rows]
    return (
        "\n".join(f"| {' | '.join(line)} |" for line in [[escape_markdown(heads) for heads in lines[0]], *lines[1:]])
        + "\n"
    )


def _markdown_row(row: Row) -> list[str]:
    name = escape_markdown(row.name) if row.model.unlearned else f"*{escape_markdown(row.name)}*"
    time = "" if row.seconds is None else duration(row.seconds)
    return [name, *map(_markdown_cell, row.cells), escape_markdown(row.model.free) or "–", time or "–"]


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    text = f"**{with_error(cell.score)}**" if cell.best else with_error(cell.score)
    return f"{text} ({points(cell.gap.value)})" if cell.gap else text


def escape_markdown(text: str, *, code: bool = False) -> str:
    """Text on one line of Markdown, also in a table: no markup of its own, but `code` may keep its backticks."""
    return re.sub(r"([|*_<\[\]\\])" if code else r"([|*_`<\[\]\\])", r"\\\1", " ".join(text.split()))


# --- LaTeX ----------------------------------------------------------------------------------------------------------

_LATEX = {char: f"\\{char}" for char in "#$%&_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "→": r"$\to$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "−": "$-$",
    "±": r"$\pm$",
    "–": "--",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def tex_escape(text: str) -> str:
    """Text with LaTeX's special characters made harmless."""
    return "".join(_LATEX.get(char, char) for char in " ".join(text.split()))


def latex(shown: Table, *, caption: str = "", label: str = "tab:unlearning") -> str:
    """A `table*` with booktabs rules (needs `booktabs` and, to fit the width, `graphicx`)."""
    heads = " & ".join(["Model", *(tex_escape(column.title) for column in shown.columns), "Free outside the mask"])
    marks = " & ".join(["", *(tex_escape(aim.mark) for aim in shown.targets), ""])
    body = "\n\\midrule\n".join("\n".join(_latex_row(row) for row in rows) for _, rows in shown.groups)
    return (
        "% \\usepackage{booktabs,graphicx}\n\\begin{table*}\n\\centering\n"
        f"\\caption{{{tex_escape(caption or shown.caption)}}}\n\\label{{{label}}}\n"
        "\\resizebox{\\textwidth}{!}{%\n"
        f"\\begin{{tabular}}{{l{'r' * len(shown.columns)}l}}\n\\toprule\n{heads} \\\\\n{marks} \\\\\n\\midrule\n"
        f"{body}\n\\bottomrule\n\\end{{tabular}}}}\n\\end{{table*}}\n"
    )


def _latex_row(row: Row) -> str:
    return " & ".join([tex_escape(row.name), *map(_latex_cell, row.cells), tex_escape(row.model.free) or "--"]) + r" \\"


def _latex_cell(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    value, error = percent(cell.score.value), percent(cell.score.stderr)
    shown = rf"\textbf{{{value}}}" if cell.best else value
    return rf"{shown} {{\scriptsize$\pm${error}}}"


# --- terminal -------------------------------------------------------------------------------------------------------


_SCORE_WIDTH = len("100.0 ±10.0")
_NAME_WIDTH = 30


def terminal(shown: Table, *, width: int = 80) -> list[RichTable]:
    """Tables for a terminal of so many characters: as few as hold all columns without breaking a score."""
    needs = [max([_SCORE_WIDTH, *map(len, column.title.split())]) + 2 for column in shown.columns]
    made, start = [], 0
    while start < len(needs):
        stop = start + 1
        while stop < len(needs) and _NAME_WIDTH + sum(needs[start : stop + 1]) <= width:
            stop += 1
        made.append(_terminal_part(shown, range(start, stop)))
        start = stop
    return made


def _terminal_part(shown: Table, which: range) -> RichTable:
    made = RichTable(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1))
    made.add_column("", max_width=_NAME_WIDTH)
    for i in which:
        head = Text.assemble(shown.columns[i].title, "\n", (shown.targets[i].mark, "dim not bold"))
        made.add_column(head, justify="right", vertical="bottom", min_width=_SCORE_WIDTH)
    for _, rows in shown.groups:
        for row in rows:
            made.add_row(_terminal_name(row), *(_terminal_cell(row.cells[i]) for i in which))
        made.add_section()
    return made


def _terminal_name(row: Row) -> Text:
    style = "bold" if row.model.chosen else "" if row.model.unlearned else "italic"
    return Text.assemble((row.model.title, style), (f" {row.tag}" if row.tag else "", "dim"))


def _terminal_cell(cell: Cell | None) -> Text:
    if cell is None:
        return Text("–", "dim")
    value = (percent(cell.score.value), "bold green" if cell.best else "")
    return Text.assemble(value, (f" ±{percent(cell.score.stderr):<4}", "dim"))


def print_table(results: Results, console: Console | None = None) -> None:
    """Print the table, its legend and what each model leaves free outside the mask."""
    console = console or Console()
    shown = table(results)
    for part in terminal(shown, width=console.width):
        console.print(part)
    console.print(Text(shown.caption, "dim"))
    for free, titles in by_freedom(results).items():
        console.print(Text.assemble((f"{', '.join(titles)}: ", "bold"), (f"free outside the mask: {free}", "dim")))


def by_freedom(results: Results) -> dict[str, list[str]]:
    """What is free outside the mask -> titles of the models of which that is true."""
    made: dict[str, list[str]] = {}
    for model in results.unlearned:
        if model.free:
            made.setdefault(model.free, []).append(model.title)
    return made


# --- HTML -----------------------------------------------------------------------------------------------------------


def html(shown: Table) -> Markup:
    """The table of the page; every text in it is escaped."""
    return render("table.html.j2", table=shown)
