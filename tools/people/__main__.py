"""`python -m tools.people --out FOLDER`: remake the two models that the package ships, in minutes on two cores."""

from pathlib import Path

from cyclopts import App

from mmunlearner.core.progress import ProgressBar
from mmunlearner.core.time_left import Stage
from mmunlearner.data.benchmarks.people.folds import FOLDS
from tools.people.folds import stages, train_oracles
from tools.people.train import Recipe, main

app = App(name="python -m tools.people")


@app.default
def remake(*, out: Path, seed: int = 0, forget: int = 15) -> None:
    """Remake the two models that the package ships, in minutes on two cores.

    Args:
        out: Folder for `vanilla`, which knows everybody, and `oracle`, which never saw the people to forget.
        seed: Seed of the training; the shipped models have 0.
        forget: Per cent of the people whose images the oracle does not see: 5, 10 or 15.
    """
    main(out, seed=seed, forget=forget)
    print(f"models: {out / 'vanilla'} and {out / 'oracle'}")


@app.command
def folds(*, out: Path, folds: str = ",".join(fold for fold in FOLDS if fold != "12"), seed: int = 0) -> None:
    """Make the retain oracles of the people's folds, side by side on two cores; the same command resumes.

    Args:
        out: Folder for a model directory per fold, and `base`, from which they all start.
        folds: Their names, between commas; the shipped oracle is that of fold 12.
        seed: Seed of the training.
    """
    names = [name.strip() for name in folds.split(",") if name.strip()]
    # Seconds of a step on a quiet core, about; two oracles are made at a time.
    with ProgressBar([Stage({stage: 0.4 * steps for stage, steps in stages(names, Recipe()).items()}, 2)]) as bar:
        train_oracles(out, names, seed=seed, progress=bar)
    print(f"oracles: {', '.join(str(out / name) for name in names)}")


if __name__ == "__main__":
    app()
