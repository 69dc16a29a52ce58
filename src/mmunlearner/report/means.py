"""Several runs that differ in their seed -> one table with the mean over them and its spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

from mmunlearner.errors import ConfigError
from mmunlearner.evaluate.scores import Score
from mmunlearner.report.results import Model, Results, load
from mmunlearner.report.table import markdown, table
from mmunlearner.report.template import enumerated


def means_markdown(run_dirs: Sequence[Path | str]) -> str:
    """Write one table of at least two runs, with its legend: mean over the runs ± their standard deviation.

    Raises:
        ConfigError: fewer than two runs, or runs of different benchmarks, goals or columns.
        DataError: a run has no results.
    """
    errors = f"standard deviation over {len(run_dirs)} runs"
    return markdown(table(pool(run_dirs), errors=errors))


def pool(run_dirs: Sequence[Path | str]) -> Results:
    """Return results whose scores are means over the runs, with their standard deviation as the error."""
    if len(run_dirs) < 2:
        raise ConfigError(f"report: {len(run_dirs)} run given; name at least two run directories")
    runs = [load(run_dir).results for run_dir in run_dirs]
    first = runs[0]
    for run, name in zip(runs[1:], run_dirs[1:], strict=True):
        for what, value, expected in (
            ("benchmark", run.benchmark, first.benchmark),
            ("goal", run.goal, first.goal),
            ("scoring", run.scoring, first.scoring),
            ("columns", enumerated([c.name for c in run.columns]), enumerated([c.name for c in first.columns])),
        ):
            if value != expected:
                raise ConfigError(
                    f"report: {what} of {name} is {value!r}, of {run_dirs[0]} {expected!r}; compare like with like"
                )
    # By name, so that a family's chosen variant has a row too, whichever it is in a run.
    models = [run.by_name for run in runs]
    names = dict.fromkeys(name for by_name in models for name in by_name)
    return replace(
        first,
        models=tuple(_pooled(name, [m[name] for m in models if name in m], len(runs)) for name in names),
        # These are of one run and have no mean.
        gate=None,
        gallery=(),
        seed=None,
    )


def _pooled(name: str, models: Sequence[Model], runs: int) -> Model:
    """Pool a model of one name over the runs; the chosen variant of a family may differ between them."""
    first = models[0]
    title = first.title
    if name != first.name:  # it stands under its family's name
        variants = Counter(model.title for model in models)
        title = f"{name}, as chosen ({', '.join(f'{title} {n}×' for title, n in variants.items())})"
    elif len(models) < runs:
        title = f"{title} ({len(models)} of {runs} runs)"
    measured = dict.fromkeys((c, m) for model in models for c, by_metric in model.scores.items() for m in by_metric)
    scores: dict[str, dict[str, Score]] = {}
    for column, metric in measured:
        values = [score.value for model in models if (score := model.score(column, metric))]
        # The spread over the runs takes the place of the standard error; a single run has none.
        spread = stdev(values) if len(values) > 1 else 0.0
        scores.setdefault(column, {})[metric] = Score(fmean(values), spread, len(values))
    return replace(
        first,
        name=name,
        title=title,
        chosen=name != first.name,
        free=first.free if len({model.free for model in models}) == 1 else "as the chosen variant",
        scores=scores,
        # Differences paired by item belong to one run. Without them, `criteria.difference` takes that of the means.
        oracle_gap={},
        differences={},
        scores_validation={},
        seconds={step: fmean(m.seconds[step] for m in models if step in m.seconds) for step in first.seconds},
    )
