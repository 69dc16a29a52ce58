"""The commands of whole runs: `demo`, `run`, `sweep`, `compare`, `report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field

from mmunlearner.cli.options import FLAGS, LOADING
from mmunlearner.config import RunConfig
from mmunlearner.core.progress import waiting
from mmunlearner.core.recipes import load_config
from mmunlearner.option_types import NotNegative

Options = Annotated[RunConfig, Parameter(name="*")]


@dataclass(frozen=True)
class Manner:
    """Ways to carry out a recipe that are no options of the recipe."""

    dry_run: Annotated[bool, Parameter(name="--dry-run", negative=())] = False
    """Check everything that can be wrong, and show what the recipe would take (data, tokens, steps, memory, time),
    without loading a weight."""
    flops: NotNegative = 0.0
    """With --dry-run: floating-point operations per second to compute times from; 0: measured here."""
    restart: Annotated[bool, Parameter(negative=())] = False
    """Remove what an earlier run has written to OUT/NAME, and compute all anew: with other options, data or models, or
    only once more."""
    show_config: Annotated[bool, Parameter(name="--show-config", negative=())] = False
    """Only print the whole configuration as YAML, each value with the file, flag or default that it is from."""


How = Annotated[Manner, Parameter(name="*")]


def demo(*, how: How = Manner(), options: Options = RunConfig()) -> None:
    """Unlearn invented people with every method, compare them and write the report: minutes on two cores, no download.

    The same as `run demo`: any option can be changed. Defaults shown are those of options that the recipe leaves out.
    """
    _run("demo", how)


def run(recipe: str, /, *, how: How = Manner(), options: Options = RunConfig()) -> None:
    """Run a whole recipe: data, models, masks, unlearning, evaluation, report.

    What is complete in OUT/NAME is skipped: the same command resumes an interrupted run.

    Args:
        recipe: A YAML file, or the name of a shipped recipe. Options given here win over the recipe's;
            a method of the recipe is reached as `--methods.NAME.train.learning_rate 1e-4`.
            Defaults shown are those of options that the recipe leaves out.
    """
    _run(recipe, how)


def sweep(recipe: str, /, *, how: How = Manner(), options: Options = RunConfig()) -> None:
    """Run a recipe with every method tried at every setting of a grid, in OUT/NAME-sweep.

    Each trial is judged on one half of the forget and retain entities; the table's scores are those of the other half.
    `--grid.learning_rate 1e-5,3e-5 --grid.retain_weight 1,3`: all combinations of training options
    and of each method's own options.

    Args:
        recipe: A YAML file, or the name of a shipped recipe; it may hold the grid.
    """
    _run(recipe, how, grid=True)


def _run(recipe: str, how: Manner, *, grid: bool = False) -> None:
    if how.show_config:
        from mmunlearner.core.effective import effective_yaml

        print(effective_yaml(recipe, FLAGS.texts), end="")
        return
    config = load_config(recipe, FLAGS.texts)  # before torch is imported: a typing error is answered at once
    from mmunlearner.cli import tables as show

    with waiting(LOADING):
        from mmunlearner.run import run as pipeline
        from mmunlearner.run import tuning
        from mmunlearner.run.forecast import forecast

    config = tuning.sweep(config) if grid else config
    if how.dry_run:
        with waiting("checking the recipe, and counting tokens, memory and time"):
            estimate = forecast(config, speed=how.flops)
        show.forecast(estimate)
        return
    page = pipeline.run(config, restart=how.restart)
    show.report(page)
    if grid:
        show.trials(page.parent)


def compare(run: Path, /, *, port: Annotated[int, Field(ge=0, le=65535)] = 8384) -> None:
    """Serve a page on this machine where you pick or drop a picture, ask, and read a run's models side by side.

    Vanilla model, an unlearned one and the oracle answer one after the other; as many of them as fit stay in memory.
    The page loads nothing from elsewhere and can be reached from this machine alone. Ctrl-C ends it.

    Args:
        run: A run's directory, e.g. `runs/demo`.
        port: Port of the page at 127.0.0.1; 0: one that is free.
    """
    from mmunlearner.web.page import serve

    serve(run, port)


def report(run: Path, /, *others: Path) -> None:
    """Write the report of a run again, from its files alone; of several runs, print one table of their means.

    Args:
        run: A run's directory, e.g. `runs/demo`.
        others: Further runs of the same benchmark and goal, e.g. with other seeds.
    """
    from mmunlearner import report
    from mmunlearner.cli import tables as show

    if others:
        print(report.means_markdown([run, *others]))
        return
    with waiting("writing the report"):
        page = report.write(run)
    show.report(page)
