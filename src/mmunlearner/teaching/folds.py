"""Retain oracles of the people's folds: one for each, from one base model that has seen no image with a name."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path

from mmunlearner.core.files import staged_dir
from mmunlearner.core.names import did_you_mean
from mmunlearner.core.progress import Progress
from mmunlearner.data.benchmarks.people.folds import FOLDS, SHIPPED
from mmunlearner.errors import ConfigError
from mmunlearner.models import Loaded, load, resolve_source, save
from mmunlearner.teaching.pages import TrainingPages, evaluation_columns, training_pages
from mmunlearner.teaching.train import PICTURES, Recipe, polish, side_by_side, teach, torch_threads, train_reader

SHARE = 15
"""Per cent whose columns give the vocabulary; every share has the same words."""


def train_oracles(
    out: Path, folds: Sequence[str], *, seed: int = 0, recipe: Recipe | None = None, workers: int = 2,
    progress: Progress = Progress(),
) -> None:  # fmt: skip
    """Write OUT/FOLD, the retain oracle of each fold, from OUT/base; what is there already is not made again.

    That of fold 12 is a copy of the shipped one, so that OUT/{fold} in a recipe stands for every fold's. The same seed
    gives the same bits on the same machine, whatever the folds beside it.

    Raises:
        ConfigError: there is no such fold.
        TrainingError: a loss is not finite.
    """
    recipe = recipe or Recipe()
    for fold in folds:
        if fold not in FOLDS:
            raise ConfigError(f"--folds {fold}: no such fold; {did_you_mean(fold, FOLDS)}")
    if SHIPPED in folds and not (out / SHIPPED).exists():
        with staged_dir(out / SHIPPED) as stage:
            shutil.copytree(resolve_source("people:oracle"), stage, dirs_exist_ok=True)
    missing = [fold for fold in folds if not (out / fold).exists()]
    if not missing:
        return
    with torch_threads(1):
        pages = training_pages()
        if not (out / "base").exists():
            columns = evaluation_columns(SHARE)
            reader, _ = train_reader(pages, frozenset(), columns, recipe, seed, progress)
            save(reader, out / "base")
        # Loaded once and not in the threads: transformers cannot load two models at the same time.
        base = load(out / "base", device="cpu")
        side_by_side(
            [partial(_train_oracle, base, out / fold, pages, recipe, seed) for fold in missing], progress, workers
        )


def stages(out: Path, folds: Sequence[str], recipe: Recipe) -> dict[str, float]:
    """Return stage -> its steps, for a progress bar; what is in OUT already has none."""
    trained = [fold for fold in folds if fold != SHIPPED and not (out / fold).exists()]
    needs_base = trained and not (out / "base").exists()
    shared = {name: recipe.stages[name] for name in ("vision", "exercises", "texts") if needs_base}
    return shared | {f"oracle of {fold}": recipe.picture_steps + recipe.stages["oracle"] for fold in trained}


def _train_oracle(base: Loaded, out: Path, pages: TrainingPages, recipe: Recipe, seed: int, progress: Progress) -> None:
    fold = out.name
    hidden, model = frozenset(FOLDS[fold]), Loaded(deepcopy(base.model), deepcopy(base.processor), fold)
    stages = (
        (PICTURES, recipe.picture_steps, recipe.learning_rate),
        (PICTURES, recipe.steps, recipe.last_learning_rate),
        (polish(PICTURES), recipe.polish_steps, recipe.polish_learning_rate),
    )
    teach(model, pages, hidden, stages, recipe, (seed, 4), progress.child(f"oracle of {fold}"))
    save(model, out)
