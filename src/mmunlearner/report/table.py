"""The table of results: built once from records of columns, then written as Markdown, LaTeX, HTML and for a terminal.

A column is one record, `TableColumn`. The scores on the run's evaluation sets come first, then `MODEL_COLUMNS`. A new
record in `MODEL_COLUMNS` appears in each form of the table that its `forms` names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, TypeVar

from markupsafe import Markup

from mmunlearner.evaluate.rules import RULES
from mmunlearner.evaluate.scores import POWER
from mmunlearner.report.criteria import Target, best, gap, shortfall, target, visible
from mmunlearner.report.results import HEADLINE, Column, Model, Results, Role
from mmunlearner.report.template import (
    DASH,
    duration,
    escape_latex,
    escape_markdown,
    least,
    percent,
    pipe_table,
    points,
    render,
)

GROUPS: dict[Role, str] = {
    "vanilla": "References",
    "oracle": "References",
    "baseline": "Baselines",
    "method": "Methods",
    "control": "Controls",
}
GAPS = {"oracle": "the oracle", "vanilla": "vanilla"}
"""Kinds of aims that a model sets -> that model, to which gaps are measured."""
VISIBLE = "Smallest visible difference"
"""Name of the last row."""
Form = Literal["markdown", "latex", "html", "terminal"]
FORMS: tuple[Form, ...] = ("markdown", "latex", "html", "terminal")
T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """One model's entry in one column."""

    text: str
    error: str = ""
    """Standard error; empty: none."""
    gap: str = ""
    """Distance in points, signed, to the model that sets the column's aim; empty: none."""
    best: bool = False
    shortfall: float | None = None
    """Distance of the score from its aim (a fraction), by which the page tints the cell; None: no tint."""


@dataclass(frozen=True)
class TableColumn:
    """A column: its head, and the cell of a model."""

    title: str
    cell: Callable[[Model], Cell | None]
    """None: a dash."""
    number: bool = True
    """True: aligned on the right; words are aligned on the left."""
    aim: Target | None = None
    """Aim of the scores; its mark stands in the head."""
    note: str = ""
    """Tooltip of the head on the page."""
    forms: Collection[Form] = FORMS
    """Forms of the table that have room for it."""

    @property
    def mark(self) -> str:
        return self.aim.mark if self.aim else ""


def model_column(
    title: str,
    value: Callable[[Model], T | None],
    text_of: Callable[[T], str] = str,
    *,
    number: bool = False,
    forms: Collection[Form] = FORMS,
) -> TableColumn:
    """Return a column with one fact on each model; a dash if `value` is None or empty."""

    def cell(model: Model) -> Cell | None:
        content = value(model)
        return None if content is None or content == "" else Cell(text_of(content))

    return TableColumn(title, cell, number=number, forms=forms)


def seconds_to_make(model: Model) -> float | None:
    """Return the seconds of the model's mask and training, without trials and evaluation."""
    # Trials are a matter of how long one searches, and evaluation is the same for all models.
    return sum(s for step, s in model.seconds.items() if step not in ("tune", "evaluate")) or None


MODEL_COLUMNS = (
    # The weights that are free outside the mask decide more than the mask does, so they stand beside the scores. A
    # terminal has no room for them: `print_table` names them below the table.
    model_column("May move without a mask", lambda model: model.free, forms=("markdown", "latex", "html")),
    # The page has a section on cost.
    model_column("Time", seconds_to_make, duration, number=True, forms=("markdown",)),
)
"""Columns beside the scores. A new one is one more record."""


@dataclass(frozen=True)
class Row:
    model: Model
    cells: tuple[Cell | None, ...]

    @property
    def group(self) -> str:
        return GROUPS[self.model.role]

    @property
    def tag(self) -> str:
        """`control`, or `chosen` for the variant that the validation half chose."""
        return "control" if self.model.role == "control" else "chosen" if self.model.chosen else ""

    @property
    def name(self) -> str:
        return f"{self.model.title} ({self.tag})" if self.tag else self.model.title


@dataclass(frozen=True)
class Table:
    columns: tuple[TableColumn, ...]
    rows: tuple[Row, ...]
    """References first, then baselines, methods, controls."""
    errors: str = "standard error clustered by entity"
    rules: str = ""
    """The sentence that names the rules of scoring."""
    main: str = ""
    """Title of the main model, which the last row is about."""
    visible: tuple[str, ...] = ()
    """The last row: for each column the smallest difference of the main model that is seen, in points; or a dash."""

    def of_form(self, form: Form) -> Table:
        """Return the table with the columns of one form only."""
        chosen = [i for i, column in enumerate(self.columns) if form in column.forms]
        return self.take(chosen)

    def take(self, chosen: Collection[int]) -> Table:
        """Return the table with some of its columns, by their numbers."""
        rows = tuple(Row(row.model, tuple(row.cells[i] for i in chosen)) for row in self.rows)
        last = tuple(self.visible[i] for i in chosen) if self.visible else ()
        return replace(self, columns=tuple(self.columns[i] for i in chosen), rows=rows, visible=last)

    @property
    def groups(self) -> list[tuple[str, list[Row]]]:
        return [(name, list(rows)) for name, rows in groupby(self.rows, key=lambda row: row.group)]

    @property
    def align(self) -> str:
        """Alignment of all columns, the models' names included, in LaTeX's letters."""
        return "l" + "".join("r" if column.number else "l" for column in self.columns)

    @property
    def legend(self) -> dict[str, str]:
        """Mark of a good direction -> its meaning."""
        return {column.aim.mark: f"should {column.aim.words}" for column in self.columns if column.aim}

    @property
    def caption(self) -> str:
        marks = "; ".join(f"{mark}: {words}" for mark, words in self.legend.items())
        bold = "Bold: closest to that among all models that unlearned."
        sentences = [f"Accuracy in per cent ± {self.errors}. {marks}. {bold}", self.rules, self.power]
        return " ".join(filter(None, sentences))

    @property
    def power(self) -> str:
        """The sentence that explains the last row; empty without one."""
        if not self.visible:
            return ""
        return (
            f"{VISIBLE}: so many points must {self.main} truly differ from the oracle or from vanilla, whichever sets "
            f"the aim, to be seen in {100 * POWER:.0f} % of such runs (two-sided test at 5 %); {DASH}: no answer "
            "differs, which tells nothing of noise."
        )

    @property
    def distance(self) -> str:
        """Meaning of the gaps: `distance in points to the oracle (→ oracle) or to vanilla (= vanilla)`; empty: none."""
        if not any(cell and cell.gap for row in self.rows for cell in row.cells):
            return ""
        aims = {column.aim.kind: column.aim.mark for column in self.columns if column.aim}
        references = [f"to {name} ({aims[kind]})" for kind, name in GAPS.items() if kind in aims]
        return f"distance in points {' or '.join(references)}"


def table(results: Results, *, metric: str = HEADLINE, errors: str = Table.errors) -> Table:
    """Build the table of a metric; an evaluation set without any score is left out."""
    scored = [c for c in results.columns if any(model.score(c.name, metric) for model in results.models)]
    columns = (*(score_column(results, column, metric) for column in scored), *MODEL_COLUMNS)
    order = list(dict.fromkeys(GROUPS.values()))
    models = sorted(results.models, key=lambda model: order.index(GROUPS[model.role]))
    rows = tuple(Row(m, tuple(column.cell(m) for column in columns)) for m in models)
    sizes = [visible(results, results.main, c) for c in scored] if results.main and metric == HEADLINE else []
    last = [DASH if size is None else least(size) for size in sizes] + [""] * len(MODEL_COLUMNS)
    main = results.main.title if results.main else ""
    return Table(columns, rows, errors, rules_in_words(results), main, tuple(last) if any(sizes) else ())


def rules_in_words(results: Results) -> str:
    """Return the sentence that names the rules of scoring; empty where they are unknown."""
    if results.scoring is None:
        return ""
    return f"Answers are scored by {RULES[results.scoring].title} (evaluate.scoring: {results.scoring})."


def score_column(results: Results, column: Column, metric: str) -> TableColumn:
    """Return the column of an evaluation set; gap, tint and best are for the accuracy only."""
    # Aims are accuracies: the distance of another metric from them has no meaning.
    aim = target(results, column)
    winners = best(results, column) if metric == HEADLINE else frozenset()

    def cell(model: Model) -> Cell | None:
        score = model.score(column.name, metric)
        if score is None:
            return None
        distance = gap(results, model, column) if metric == HEADLINE else None
        # The references set the aim, so they have no distance from it.
        off = shortfall(score.value, aim) if metric == HEADLINE and model.unlearned else 0.0
        return Cell(
            percent(score.value),
            percent(score.stderr),
            points(distance.value) if distance else "",
            model.name in winners,
            off,
        )

    chance = "" if column.chance is None else f", chance {percent(column.chance)} %"
    return TableColumn(column.title, cell, aim=aim, note=f"{column.n} questions{chance}")


# --- Markdown -------------------------------------------------------------------------------------------------------


def markdown(results_table: Table) -> str:
    """Write a pipe table with its legend; references in italics, distances in brackets."""
    part = results_table.of_form("markdown")
    heads = ["Model", *(f"{column.title} {column.mark}".rstrip() for column in part.columns)]
    names = [
        escape_markdown(row.name) if row.model.unlearned else f"*{escape_markdown(row.name)}*" for row in part.rows
    ]
    rows = [[name, *map(_markdown_cell, row.cells)] for name, row in zip(names, part.rows, strict=True)]
    rows += [[VISIBLE, *part.visible]] if part.visible else []
    brackets = f" In brackets: {results_table.distance}." if results_table.distance else ""
    legend = f"{escape_markdown(results_table.caption)}{brackets}\n"
    return f"{pipe_table(part.align, list(map(escape_markdown, heads)), rows)}\n{legend}"


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return DASH
    text = escape_markdown(cell.text) + (f" ± {cell.error}" if cell.error else "")
    return (f"**{text}**" if cell.best else text) + (f" ({cell.gap})" if cell.gap else "")


# --- LaTeX ----------------------------------------------------------------------------------------------------------


def latex(results_table: Table, *, label: str = "tab:unlearning") -> str:
    """Write a `table*` with booktabs rules (needs `booktabs` and, to fit the width, `graphicx`)."""
    part = results_table.of_form("latex")
    # The mark of the direction has a line of its own under the title, which keeps columns narrow.
    heads = " & ".join(["Model", *(escape_latex(column.title) for column in part.columns)])
    marks = " & ".join(["", *(escape_latex(column.mark) for column in part.columns)])
    groups = [
        "\n".join(" & ".join([escape_latex(row.name), *map(_latex_cell, row.cells)]) + r" \\" for row in rows)
        for _, rows in part.groups
    ]
    if part.visible:
        groups.append(" & ".join([VISIBLE, *map(escape_latex, part.visible)]) + r" \\")
    body = "\n\\midrule\n".join(groups)
    # Shrunk to the page's width: how many columns a run has is not known here.
    return (
        "% \\usepackage{booktabs,graphicx}\n\\begin{table*}\n\\centering\n"
        f"\\caption{{{escape_latex(part.caption)}}}\n\\label{{{label}}}\n"
        "\\resizebox{\\textwidth}{!}{%\n"
        f"\\begin{{tabular}}{{{part.align}}}\n\\toprule\n{heads} \\\\\n{marks} \\\\\n\\midrule\n"
        f"{body}\n\\bottomrule\n\\end{{tabular}}}}\n\\end{{table*}}\n"
    )


def _latex_cell(cell: Cell | None) -> str:
    if cell is None:
        return escape_latex(DASH)
    text = rf"\textbf{{{escape_latex(cell.text)}}}" if cell.best else escape_latex(cell.text)
    return rf"{text} {{\scriptsize$\pm${cell.error}}}" if cell.error else text


# --- HTML -----------------------------------------------------------------------------------------------------------


def html(results_table: Table) -> Markup:
    """Write the table of the page; every text in it is escaped."""
    return render("table.html.j2", table=results_table.of_form("html"), visible=VISIBLE)


def titles_by_freedom(results: Results) -> dict[str, list[str]]:
    """Return the weights that are free outside the mask -> titles of the models with this freedom."""
    titles: dict[str, list[str]] = {}
    for model in results.unlearned:
        if model.free:
            titles.setdefault(model.free, []).append(model.title)
    return titles
