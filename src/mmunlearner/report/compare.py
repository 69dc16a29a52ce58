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
from mmunlearner.report.table import markdown, table
from mmunlearner.report.template import enumerated


def compare_markdown(run_dirs: Sequence[Path | str]) -> str:
    """Write one table of at least two runs, with its legend: mean over the runs ± their standard deviation.

    Raises:
        ConfigError: fewer than two runs, or runs of different benchmarks, goals or columns.
        DataError: a run has no results.
    """
    errors = f"standard deviation over {len(run_dirs)} runs"
    results_table = table(pool(run_dirs), errors=errors)
    return f"{markdown(results_table)}\n{results_table.caption} In brackets: distance to the oracle in points.\n"


def pool(run_dirs: Sequence[Path | str]) -> Results:
    """Return results whose scores are means over the runs, with their standard deviation as the error."""
    if len(run_dirs) < 2:
        raise ConfigError(f"compare: {len(run_dirs)} run given; name at least two run directories")
    first, *others = runs = [load(run_dir).results for run_dir in run_dirs]
    for run, name in zip(others, run_dirs[1:], strict=True):
        for what, value, expected in (
            ("benchmark", run.benchmark, first.benchmark),
            ("goal", run.goal, first.goal),
            ("columns", enumerated([c.name for c in run.columns]), enumerated([c.name for c in first.columns])),
        ):
            if value != expected:
                raise ConfigError(
                    f"compare: {what} of {name} is {value!r}, of {run_dirs[0]} {expected!r}; compare like with like"
                )
    models = [run.by_name for run in runs]
    names = dict.fromkeys(name for by_name in models for name in by_name)
    return replace(
        first,
        models=tuple(_pooled(name, [m[name] for m in models if name in m], len(runs)) for name in names),
        gate=None,
        gallery=(),
        seed=None,
    )


def _pooled(name: str, models: Sequence[Model], runs: int) -> Model:
    """Pool a model of one name over the runs; the chosen variant of a family may be another in each."""
    first = models[0]
    title = first.title
    if name != first.name:
        variants = Counter(model.title for model in models)
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
        differences={},
        scores_validation={},
        seconds={step: fmean(m.seconds[step] for m in models if step in m.seconds) for step in first.seconds},
    )


def _mean_scores(scores: Sequence[Mapping[str, Score]]) -> dict[str, Score]:
    metrics = dict.fromkeys(metric for by_metric in scores for metric in by_metric)
    values = {metric: [by_metric[metric].value for by_metric in scores if metric in by_metric] for metric in metrics}
    return {metric: Score(fmean(v), stdev(v) if len(v) > 1 else 0.0, len(v)) for metric, v in values.items()}
