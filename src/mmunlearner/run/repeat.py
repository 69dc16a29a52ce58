"""A recipe repeated for folds and seeds, and one report over the items of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

from mmunlearner import report
from mmunlearner.config import RunConfig
from mmunlearner.core.files import write_json
from mmunlearner.core.progress import waiting
from mmunlearner.core.recipes import build, plain
from mmunlearner.data.load import find_format
from mmunlearner.errors import ConfigError, MMUnlearnerError
from mmunlearner.run.checks import check, examine
from mmunlearner.run.collect import collect, manifest
from mmunlearner.run.run_dir import RunDir, open_run, record_config

FOLD = "{fold}"
"""Stands in `model.oracle` for the fold's name."""


def repetitions(config: RunConfig) -> list[RunConfig]:
    """Return a recipe for each fold and seed, to be run in OUT/NAME/FOLD-SEED; none without folds and seeds.

    Raises:
        ConfigError: a fold or seed is named twice or cannot be a folder's name, or all folds would have one oracle.
    """
    for option, values in (("folds", config.folds), ("seeds", config.seeds)):
        if len(set(values)) < len(values):
            raise ConfigError(f"{option} {', '.join(map(str, values))}: one is named twice; name each once")
    if len(config.folds) > 1 and config.model.oracle and FOLD not in config.model.oracle:
        raise ConfigError(
            f"model.oracle {config.model.oracle}: each fold has an oracle of its own; write {FOLD} for the fold's name"
        )
    if not config.folds and not config.seeds:
        return []
    home = Path(config.out) / config.name
    # The embedded benchmark is written once, beside the folds.
    root = config.data.root or (str(home / "data") if find_format(config.data.format).embedded else "")
    recipes = []
    for fold, seed in product(config.folds or (config.data.fold,), config.seeds or (config.seed,)):
        parts = ([fold] if config.folds else []) + ([f"seed{seed}"] if config.seeds else [])
        recipe = replace(
            config,
            name="-".join(parts),
            out=str(home),
            seed=seed,
            data=replace(config.data, root=root, fold=fold),
            model=replace(config.model, oracle=config.model.oracle.replace(FOLD, fold)),
            folds=(),
            seeds=(),
        )
        recipes.append(build(RunConfig, plain(recipe)))
    return recipes


def run_repetitions(config: RunConfig, run: Callable[[RunConfig], Path]) -> Path:
    """Run the recipe for each fold and seed, then write the report over all of them to OUT/NAME; return its path.

    What is complete is skipped, as in a single run.

    Raises:
        MMUnlearnerError: as `run` does; a mistake in any repetition is found before the first begins.
    """
    recipes = repetitions(config)
    parts = [RunDir(Path(recipe.out) / recipe.name, recipe) for recipe in recipes]
    with open_run(config) as whole:
        with waiting("reading and checking the data and the models of every fold"):
            for recipe, part in zip(recipes, parts, strict=True):
                try:
                    check(recipe)
                    examine(part)
                except MMUnlearnerError as error:
                    raise type(error)(f"{recipe.name}: {error}") from None
        record_config(whole)
        for recipe in recipes:
            run(recipe)
        with waiting("writing the report over all folds and seeds"):
            collect(whole, parts)
            page = report.write(whole.path)
        write_json(whole.path / "manifest.json", manifest(whole))
        return page
