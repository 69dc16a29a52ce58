"""The commands of the embedded benchmark: its data, and the models that know it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App
from pydantic import Field

from mmunlearner.cli.options import LOADING
from mmunlearner.core.progress import ProgressBar, waiting
from mmunlearner.core.time_left import Stage

people = App(name="people", help="The embedded benchmark: invented people, drawn and described.")
Seed = Annotated[int, Field(ge=0)]


@people.command
def write(*, out: Path) -> None:
    """Write the benchmark in MLLMU-Bench's layout: parquet splits, and the general set as rows.

    Args:
        out: Folder for the data; a folder that has them completely is left as it is.
    """
    from mmunlearner.data.benchmarks.people import prepare

    with waiting("drawing the people"):
        folder = prepare(out)
    print(f"data: {folder}")


@people.command
def models(*, out: Path, seed: Seed = 0, forget: Literal[5, 10, 15] = 15) -> None:
    """Remake the two models that the package ships, in minutes on two cores: the same bits on the same machine.

    Args:
        out: Folder for `vanilla`, which knows everybody, and `oracle`, which never saw the people to forget.
        seed: Seed of the training; the shipped models have 0.
        forget: Per cent of the people whose images the oracle does not see.
    """
    from mmunlearner.cli import tables as show

    with waiting(LOADING):
        from mmunlearner.teaching.train import Recipe, train_vanilla_and_oracle
    # Seconds of a step, about: the bar corrects them.
    with ProgressBar([Stage({name: 0.1 * steps for name, steps in Recipe().stages.items()})]) as bar:
        accuracies = train_vanilla_and_oracle(out, seed=seed, forget=forget, progress=bar)
    columns = next(iter(accuracies.values()))
    rows = [(column, *(f"{100 * scores[column]:.1f}" for scores in accuracies.values())) for column in columns]
    show.table("exact answers, per cent", ("column", *accuracies), rows, numbers=True)
    print(f"models: {out / 'vanilla'} and {out / 'oracle'}")


@people.command
def folds(*, out: Path, folds: str = "", seed: Seed = 0) -> None:
    """Make the retain oracles of the people's folds, side by side on two cores; the same command resumes.

    A recipe names all of them as OUT/{fold}. That of fold 12 is a copy of the shipped one.

    Args:
        out: Folder for a model directory per fold, and `base`, from which they all start.
        folds: Their names, between commas; empty: all.
        seed: Seed of the training.
    """
    with waiting(LOADING):
        from mmunlearner.data.benchmarks.people.folds import FOLDS
        from mmunlearner.teaching.folds import stages, train_oracles
        from mmunlearner.teaching.train import Recipe
    names = [name.strip() for name in folds.split(",") if name.strip()] or list(FOLDS)
    # Seconds of a step on a quiet core, about; two oracles are made at a time.
    with ProgressBar([Stage({stage: 0.4 * steps for stage, steps in stages(names, Recipe()).items()}, 2)]) as bar:
        train_oracles(out, names, seed=seed, progress=bar)
    print(f"oracles: {', '.join(str(out / name) for name in names)}")
