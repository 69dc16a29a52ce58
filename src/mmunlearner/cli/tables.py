"""What the commands print: plain tables. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmunlearner.cli.catalogue import Entry
from mmunlearner.cli.doctor import Check
from mmunlearner.config import JudgeConfig
from mmunlearner.core.files import read_json
from mmunlearner.core.recipes import check

if TYPE_CHECKING:
    from mmunlearner.evaluate import ModelScores, Score
    from mmunlearner.run.costs import StepCost
    from mmunlearner.run.forecast import Forecast

VERDICTS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("WRONG", "bold red")}


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str | Text]], *, numbers: bool = False) -> None:
    """Print rows under their heads; with `numbers`, all columns but the first are numbers, and the first is folded."""
    shown = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for place, head in enumerate(heads):
        number = numbers and place > 0
        narrow = number if numbers else place == 0
        shown.add_column(head, justify="right" if number else "left", overflow="fold", no_wrap=narrow)
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


def trials(run: Path) -> None:
    """What was tried of each method and how far from the goal it ended on the validation half; the best is marked."""
    rows = []
    for path in sorted(run.glob("models/*/train.json")):
        tried = read_json(path).get("tuning", {}).get("trials", [])
        best = min((trial["objective"] for trial in tried), default=None)
        for trial in tried:
            settings = ", ".join(f"{name} {value:g}" for name, value in trial["settings"].items())
            chosen = "chosen" if trial["objective"] == best else ""
            rows.append((path.parent.name, settings, f"{trial['objective']:.3f}", chosen))
    table("distance to the goal on the validation half", ("", "settings", "distance", ""), rows)


def mask(file: Path) -> None:
    """Selected fractions by part and by layer, from the statistics beside a mask."""
    statistics = read_json(file.with_suffix(".json"))
    heads = ("selected of candidates", "fraction", "selected", "candidates")
    parts = [_selected(part, counts) for part, counts in statistics["parts_density"].items()]
    layers = [_selected(layer["name"].removesuffix(".weight"), layer) for layer in statistics["layers"]]
    table("", heads, [*layers, *parts], numbers=True)
    print(f"mask: {file} ({statistics['density']:.1%} of {', '.join(statistics['parts'])})")


def _selected(name: str, counts: dict[str, int]) -> tuple[str, ...]:
    selected, candidates = counts["selected"], counts["candidates"]
    return name, f"{selected / max(candidates, 1):.1%}", f"{selected:,}", f"{candidates:,}"


def moved(model: Path, *, masked: bool) -> None:
    """What an unlearned model's training changed."""
    made = read_json(model / "train.json")
    change = made["moved"]
    print(f"model: {model} ({made['steps']} steps, {made['seconds']:.1f} s)")
    if made.get("look"):
        from mmunlearner.report.template import stop_check

        print(f"training {stop_check(made['look'])}")
    if masked:
        print(f"weights moved: {change['inside']:,} inside the mask and {change['outside']:,} outside it")
        print(f"moved by the forget term outside the mask: {change['forget_outside']:,} of {change['total']:,} weights")
    else:
        print(f"weights moved: {change['inside']:,} of {change['total']:,}")


def scores(folder: Path, oracle: Path | None = None) -> None:
    """The main metrics of an evaluation folder, scored again from its answers; its distance to the oracle's."""
    from mmunlearner.evaluate import METRICS, rescore

    columns = rescore(folder).columns
    metrics = [metric.name for metric in METRICS.values() if metric.on_terminal]
    rows = [
        (name, *(_score(found.get(metric)) for metric in metrics), str(found["accuracy"].n))
        for name, found in columns.items()
    ]
    heads = ("", *(metric.replace("_", " ") for metric in metrics), "n")
    table("per cent, ± standard error clustered by entity", heads, rows, numbers=True)
    print(f"these and all other metrics: {folder / 'scores.json'}")
    if oracle is not None:
        _distances(folder, oracle)


def lmms(found: ModelScores, folder: Path) -> None:
    """Scores of lmms-eval's tasks, in each metric's own unit."""
    rows = [
        (task, metric, f"{score.value:.4g}", f"{score.stderr:.2g}" if score.stderr else "", str(score.n or ""))
        for task, scores in found.columns.items()
        for metric, score in scores.items()
    ]
    table("lmms-eval", ("task", "metric", "score", "± standard error", "n"), rows)
    print(f"these: {folder / 'lmms.json'}")


def judged(folder: Path, config: JudgeConfig) -> None:
    """Have an evaluation folder's answers judged, and say what came of it."""
    from mmunlearner.evaluate.judge import judge, unscored

    asked, without = judge(folder, check(config)), unscored(folder)
    print(f"judge {config.model}: {asked} answers judged now, {len(without)} replies without a number from 1 to 10")


def forecast(found: Forecast) -> None:
    """What a recipe would do."""
    from mmunlearner.report.template import duration

    counted = [
        (s.name, f"{s.questions:,}", f"{s.images:,}", f"{s.entities:,}", "" if s.tokens is None else f"{s.tokens:.0f}")
        for s in found.sets
        if s.questions
    ]
    if counted:
        table(f"{found.name}: data", ("", "questions", "images", "entities", "tokens each"), counted, numbers=True)
        print(f"{found.overlap}\n")
    for part, count in found.weights.items():
        print(f"{part}: {count / 1e6:,.1f} million weights")
    heads = ("", "steps", "tokens", "memory", "time")
    table(f"{found.name}: work", heads, [_step_cost(step, found.speed) for step in found.steps])
    if found.seconds is not None:
        print(f"time: about {duration(found.seconds)} at {found.speed_source}.")
        print("A run does not reach that speed, and generating answers comes on top. Memory is that of the device,")
        print("without the allocator's own. A mask's steps are gradients, an evaluation's are questions.")
    for reason in found.unknown:
        print(f"not counted: {reason}")


def _step_cost(step: StepCost, speed: float) -> tuple[str, ...]:
    from mmunlearner.report.template import duration, memory

    tokens = "" if step.tokens is None else f"{step.tokens:,.0f}"
    needed = "" if step.memory is None else memory(step.memory.on_device)
    seconds = "" if step.operations is None else duration(step.operations / speed)
    return step.name, "" if step.steps is None else f"{step.steps:,}", tokens, needed, seconds


def _distances(folder: Path, oracle: Path) -> None:
    """Forget quality of each forget column and task, and the harmonic means of CLEAR."""
    from mmunlearner.evaluate import read_columns
    from mmunlearner.evaluate.clear import forget_quality, harmonic_means

    ours, theirs = read_columns(folder), read_columns(oracle)
    if not (harmonic_means(ours) and harmonic_means(theirs)):
        print("no distance to the oracle: it takes candidate answers weighed on both sides (evaluate.candidates)")
        return
    rows = [
        (f"{column}, {task.replace('_', ' ')}", f"{found.ks_p:.2g}", f"{found.ks:.3f}", f"{1 - found.js:.3f}")
        for (column, task), found in forget_quality(ours, theirs).items()
    ]
    table("forget quality: truth ratios against the oracle's", ("", "KS p", "KS", "1 - JS"), rows, numbers=True)
    means = ((f"{value:.3f}" for value in found.values()) for found in (harmonic_means(ours), harmonic_means(theirs)))
    heads = ("harmonic means (CLEAR)", *harmonic_means(ours))
    table("", heads, [(name, *values) for name, values in zip(("this", "oracle"), means, strict=True)], numbers=True)


def _score(score: Score | None) -> str:
    return f"{100 * score.value:.1f} ± {100 * score.stderr:.1f}" if score else ""
