"""Several runs that differ in their seed -> one table with the mean over them and its spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

from mmunlearner.errors import ConfigError
from mmunlearner.evaluate.scores import Score
from mmunlearner.report.results import Model, Results, load
from mmunlearner.report.summary import named
from mmunlearner.report.table import Table, latex, markdown, table
from mmunlearner.report.words import listed


def compare_runs(run_dirs: Sequence[Path | str]) -> Table:
    """One table of at least two runs of the same benchmark and goal: mean over the runs ± their standard deviation.

    Raises:
        ConfigError: fewer than two runs, or runs of different benchmarks, goals or columns.
        DataError: a run has no results.
    """
    if len(run_dirs) < 2:
        raise ConfigError(f"compare: {len(run_dirs)} run given; name at least two run directories")
    runs = [load(each).results for each in run_dirs]
    return table(pool(runs, [str(each) for each in run_dirs]), errors=f"standard deviation over {len(runs)} runs")


def pool(runs: Sequence[Results], names: Sequence[str]) -> Results:
    """One set of results whose scores are means over the runs, with their standard deviation as the error."""
    first = runs[0]
    for other, name in zip(runs[1:], names[1:], strict=True):
        for what, ours, theirs in (
            ("benchmark", first.benchmark, other.benchmark),
            ("goal", first.goal, other.goal),
            ("columns", listed([c.name for c in first.columns]), listed([c.name for c in other.columns])),
        ):
            if ours != theirs:
                raise ConfigError(
                    f"compare: {what} of {name} is {theirs!r}, of {names[0]} {ours!r}; compare like with like"
                )
    models = [named(run) for run in runs]
    order = dict.fromkeys(name for each in models for name in each)
    return replace(
        first,
        models=tuple(_pooled(name, [each[name] for each in models if name in each], len(runs)) for name in order),
        gate=None,
        gallery=(),
        seed=None,
    )


def _pooled(name: str, models: Sequence[Model], runs: int) -> Model:
    """A model of one name over the runs; the chosen variant of a family may be another in each."""
    first = models[0]
    variants = Counter(model.title for model in models)
    title = first.title
    if name != first.name:
        title = f"{name}, as chosen ({', '.join(f'{title} {n}×' for title, n in variants.items())})"
    elif len(models) < runs:
        title = f"{title} ({len(models)} of {runs} runs)"
    columns = dict.fromkeys(column for model in models for column in model.scores)
    return replace(
        first,
        name=name,
        title=title,
        chosen=name != first.name,
        free=first.free if len({model.free for model in models}) == 1 else "as the chosen variant",
        scores={column: _mean_scores([m.scores[column] for m in models if column in m.scores]) for column in columns},
        oracle_gap={},
        validation={},
        seconds={step: fmean(m.seconds[step] for m in models if step in m.seconds) for step in first.seconds},
    )


def _mean_scores(scores: Sequence[Mapping[str, Score]]) -> dict[str, Score]:
    metrics = dict.fromkeys(metric for each in scores for metric in each)
    return {metric: _spread([each[metric].value for each in scores if metric in each]) for metric in metrics}


def _spread(values: Sequence[float]) -> Score:
    return Score(fmean(values), stdev(values) if len(values) > 1 else 0.0, len(values))


def compare_markdown(run_dirs: Sequence[Path | str]) -> str:
    """The table of several runs as Markdown, with its legend."""
    shown = compare_runs(run_dirs)
    return f"{markdown(shown)}\n{shown.caption} In brackets: distance to the oracle in points.\n"


def compare_latex(run_dirs: Sequence[Path | str]) -> str:
    """The same as a LaTeX table."""
    return latex(compare_runs(run_dirs), label="tab:seeds")
