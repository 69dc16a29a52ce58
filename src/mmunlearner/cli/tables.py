"""Tables that the commands print. They read files and compute nothing; no torch is loaded."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmunlearner.cli.catalogue import Entry
from mmunlearner.cli.doctor import Check
from mmunlearner.core.files import read_json

if TYPE_CHECKING:
    from mmunlearner.data import Example
    from mmunlearner.data.collection import Beginning
    from mmunlearner.evaluate import ModelScores, Reply, Score
    from mmunlearner.evaluate.against import Against
    from mmunlearner.run.forecast import Forecast

VERDICTS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("WRONG", "bold red")}


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, numbers: bool = False) -> None:
    """Print rows under the columns' names; with `numbers`, all columns but the first are numbers.

    On a narrow terminal texts wrap. Columns of numbers are put below each other instead, in several tables: a number
    or a name cut in two would be misread.
    """
    # `Text`, because rich reads a bare string for markup: `[...]` would vanish.
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    console = Console()
    pieces = _pieces(columns, cells, console.width) if numbers else [list(range(len(columns)))]
    for piece in pieces:
        rich_table = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
        for index in piece:
            is_number = numbers and index > 0
            rich_table.add_column(
                columns[index],
                justify="right" if is_number else "left",
                overflow="fold",
                no_wrap=not numbers and index == 0,
                min_width=_least_width(columns[index], [row[index] for row in cells]) if is_number else None,
            )
        for row in cells:
            rich_table.add_row(*(row[index] for index in piece))
        console.print(rich_table)


def _pieces(columns: Sequence[str], cells: Sequence[Sequence[Text]], width: int) -> list[list[int]]:
    """Return the numbers of the columns of each table: the first column in each, and as few tables as can be."""
    from mmunlearner.report.terminal import even_slices

    # rich puts two spaces between columns.
    needed = [2 + _least_width(name, [row[i] for row in cells]) for i, name in enumerate(columns)]
    slices = even_slices(needed[1:], width - min(needed[0], width // 2)) or [slice(0)]
    return [[0, *range(1, len(columns))[part]] for part in slices]


def _least_width(name: str, cells: Sequence[Text]) -> int:
    """Return the characters that a column needs: its longest cell whole, and its name broken between words."""
    return max([*map(len, name.split()), *(cell.cell_len for cell in cells)], default=0)


def catalogue(groups: Mapping[str, Sequence[Entry]]) -> None:
    """Print the catalogue."""
    for title, entries in groups.items():
        if any(entry.options for entry in entries):
            rows = [(entry.name, entry.options or "-", entry.description) for entry in entries]
            table(title, ("name", "options", "what it is"), rows)
        else:
            table(title, ("name", "what it is"), [(entry.name, entry.description) for entry in entries])
        print()


def checks(results: Iterable[Check]) -> None:
    """Print the doctor's checks."""
    rows = [(check.name, check.value, Text(*VERDICTS[check.verdict]), check.remedy) for check in results]
    table("", ("", "found", "", "remedy"), rows)


def report(page: Path) -> None:
    """Print a run's table and verdict, and the path of its report."""
    from mmunlearner.report import load, print_report

    print_report(load(page.parent).results)
    print(f"report: {page}")


def beginning(begun: Beginning) -> None:
    """Print what a collection became: questions by set and column, notes, and the next commands."""
    rows = [
        (name, f"{len(items)}", f"{len({e.entity for e in items})}", f"{len({k for e in items for k in e.image_keys})}")
        for name, items in begun.splits.sets.items()
        if items
    ]
    table("", ("set or column", "questions", "entities", "pictures"), rows, numbers=True)
    for note in begun.notes:
        print(f"note: {note}")
    print(f"written: {', '.join(str(begun.recipe.with_name(name)) for name in ('questions.jsonl', 'wording.yaml'))}")
    print(f"recipe: {begun.recipe}")
    print(f"next: mmunlearner run {shlex.quote(str(begun.recipe))} --dry-run")


def trials(run: Path) -> None:
    """Print each method's trials and how they were judged; the chosen ones are marked."""
    from mmunlearner.report import trials as tried
    from mmunlearner.report.results import load

    results = load(run).results
    table(f"settings tried, judged {tried.judges(results)}", tried.heads(results), tried.rows(results))


def mask(file: Path) -> None:
    """Print the selected fractions by part and by layer, from the statistics beside a mask."""
    statistics = read_json(file.with_suffix(".json"))
    columns = ("selected of candidates", "fraction", "selected", "candidates")
    parts = [_selected(part, counts) for part, counts in statistics["parts_density"].items()]
    layers = [_selected(layer["name"].removesuffix(".weight"), layer) for layer in statistics["layers"]]
    table("", columns, [*layers, *parts], numbers=True)
    share = f"{statistics['forget_share']:.1%} of the forget set's saliency"
    print(f"mask: {file} ({statistics['density']:.1%} of {', '.join(statistics['parts'])}, with {share})")


def _selected(name: str, counts: dict[str, int]) -> tuple[str, ...]:
    selected, candidates = counts["selected"], counts["candidates"]
    return name, f"{selected / max(candidates, 1):.1%}", f"{selected:,}", f"{candidates:,}"


def weight_changes(model: Path, *, masked: bool) -> None:
    """Print how many weights the training of an unlearned model changed."""
    trained = read_json(model / "train.json")
    changes = trained["moved"]
    print(f"model: {model} ({trained['steps']} optimizer steps, {trained['seconds']:.1f} s)")
    if trained.get("look"):
        from mmunlearner.report.template import stop_check

        print(f"training {stop_check(trained['look'])}")
    if masked:
        print(f"weights moved: {changes['inside']:,} inside the mask and {changes['outside']:,} outside it")
        outside = f"{changes['forget_outside']:,} of {changes['total']:,} weights"
        print(f"moved by the forget term outside the mask: {outside}")
    else:
        print(f"weights moved: {changes['inside']:,} of {changes['total']:,}")


def scores(model: ModelScores, folder: Path, against: Against | None = None) -> None:
    """Print the main metrics of an evaluation, or its accuracy beside that of an earlier model."""
    from mmunlearner.evaluate import METRICS

    metrics = [metric.name for metric in METRICS.values() if metric.on_terminal]
    rows = []
    for name, column in model.columns.items():
        figures = [column.get(metric) for metric in metrics]  # a column has the metrics of its task only
        texts = [percent(score) if score else "" for score in figures]
        rows.append((name, *texts, str(column["accuracy"].n)))
    columns = ("", *(metric.replace("_", " ") for metric in metrics), "n")
    if against:
        rows = [
            (
                column,
                percent(model.columns[column]["accuracy"]),
                percent(against.scores.columns[column]["accuracy"]),
                f"{100 * gap.value:+.1f} ± {100 * gap.stderr:.1f}",
                str(gap.n),
            )
            for column, gap in against.differences.items()
        ]
        columns = ("accuracy", "this model", against.name, "difference", "n")
    table("per cent, ± standard error clustered by entity", columns, rows, numbers=True)
    if against:
        print(against.verdict)
    print(f"these and all other metrics: {folder / 'scores.json'}")


def percent(score: Score) -> str:
    """Write a score with its standard error, in per cent."""
    return f"{100 * score.value:.1f} ± {100 * score.stderr:.1f}"


def replies(inquiries: Sequence[Example], models: Sequence[str], answers: Sequence[Sequence[Reply]]) -> None:
    """Print the models' replies to each inquiry side by side: `answers[m][i]` is that of model m to inquiry i."""
    for inquiry, by_model in zip(inquiries, zip(*answers, strict=True), strict=True):
        print(f"{inquiry.image.path}: {inquiry.question}" if inquiry.image else inquiry.question)
        rows = [("answer", *(reply.answer or "(nothing)" for reply in by_model))]
        for option in by_model[0].options:
            rows.append((f"  {option}", *(likelihood(reply, option) for reply in by_model)))
        table("", ("", *models), rows)
        print()
    if any(reply.options for of_model in answers for reply in of_model):
        print("An option's figure is its likelihood as the whole answer; in brackets, its share among the options.")


def likelihood(reply: Reply, option: str) -> str:
    """Return an option's likelihood, and where there are several its share: `12.5 % (97.1 %)`."""
    percent = 100 * exp(reply.options[option])
    share = f" ({100 * reply.shares[option]:.1f} %)" if len(reply.options) > 1 else ""
    return (f"{percent:.2f} %" if percent >= 0.01 else "< 0.01 %") + share


def lmms(model: ModelScores, folder: Path) -> None:
    """Print the scores of lmms-eval's tasks, in each metric's own unit."""
    rows = [
        (task, metric, f"{score.value:.4g}", f"{score.stderr:.2g}" if score.stderr else "", str(score.n or ""))
        for task, scores in model.columns.items()
        for metric, score in scores.items()
    ]
    # Not in per cent: MME counts points, others give shares.
    table("lmms-eval", ("task", "metric", "score", "± standard error", "n"), rows)
    print(f"these: {folder / 'lmms.json'}")


def forecast(estimate: Forecast) -> None:
    """Print a recipe's data, and the tokens, memory and time of its steps."""
    from mmunlearner.report.template import duration, memory

    if estimate.before:
        forecast(estimate.before)
        print()
    rows = [
        (s.name, f"{s.questions:,}", f"{s.images:,}", f"{s.entities:,}", "" if s.tokens is None else f"{s.tokens:.0f}")
        for s in estimate.sets
        if s.questions
    ]
    if rows:
        table(f"{estimate.name}: data", ("", "questions", "images", "entities", "tokens each"), rows, numbers=True)
        print(f"{estimate.overlap}\n")
    for part, count in estimate.weights.items():
        print(f"{part}: {count:,} weights")
    rows = [
        (
            step.name,
            # Empty cells are figures that could not be counted; the reasons stand below.
            "" if step.steps is None else f"{step.steps:,}",
            "" if step.tokens is None else f"{step.tokens:,.0f}",
            # On a CPU the copy of the vanilla weights is in the same memory.
            "" if step.memory is None else memory(step.memory.total if estimate.on_host else step.memory.on_device),
            "" if step.operations is None else duration(step.operations / estimate.speed),
        )
        for step in estimate.steps
    ]
    table(f"{estimate.name}: work", ("", "steps", "tokens", "memory", "time"), rows, numbers=True)
    if estimate.seconds is not None:
        print(f"time: about {duration(estimate.seconds)} at {estimate.speed_source}.")
        print("A run takes longer: it does not reach that speed, and the time to write answers is not counted. Memory")
        where = "the process, without its libraries (0.6 GiB)" if estimate.on_host else "the device"
        print(f"is that of {where}, without the allocator's own. Steps are: of `finetune` and")
        print("`unlearn` those of the optimizer, with all trials; of `measure` gradients; of `masks` masks; of")
        print("`evaluate` questions.")
    for reason in estimate.unknown:
        print(f"not counted: {reason}")


def distances(model: Path, oracle: Path) -> None:
    """Print the forget quality of each forget column and task, and the harmonic means of CLEAR."""
    from mmunlearner.evaluate import read_columns
    from mmunlearner.evaluate.clear import forget_quality, harmonic_means

    lines, reference = read_columns(model), read_columns(oracle)
    means = {"this": harmonic_means(lines), "oracle": harmonic_means(reference)}
    if not all(means.values()):
        print("no distance to the oracle: both evaluations need the likelihoods of candidates (evaluate.candidates)")
        return
    rows = [
        (f"{column}, {task.replace('_', ' ')}", f"{quality.ks_p:.2g}", f"{quality.ks:.3f}", f"{1 - quality.js:.3f}")
        for (column, task), quality in forget_quality(lines, reference).items()
    ]
    table("forget quality: truth ratios against the oracle's", ("", "KS p", "KS", "1 - JS"), rows, numbers=True)
    rows = [(name, *(f"{value:.3f}" for value in values.values())) for name, values in means.items()]
    table("", ("harmonic means (CLEAR)", *means["this"]), rows, numbers=True)
