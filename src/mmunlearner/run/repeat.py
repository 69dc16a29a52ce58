"""A recipe repeated for folds and seeds, and one report over the items of all of them.

With choosing folds, the methods' settings are chosen there first, and only what was chosen runs on the other folds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from mmunlearner import report
from mmunlearner.config import RunConfig
from mmunlearner.core.files import write_json
from mmunlearner.core.progress import waiting
from mmunlearner.core.recipes import build, plain
from mmunlearner.core.records import read_record
from mmunlearner.data.load import find_format
from mmunlearner.errors import ConfigError, MMUnlearnerError
from mmunlearner.report.records import Trial
from mmunlearner.run.checks import check, examine
from mmunlearner.run.choice import Choice, chosen_settings, marked, pooled
from mmunlearner.run.collect import collect, manifest
from mmunlearner.run.run_dir import RunDir, open_run, record_config
from mmunlearner.run.tuning import with_settings

_log = logging.getLogger(__name__)
FOLD = "{fold}"
"""Stands in `model.oracle` for the fold's name."""
CHOOSING = "choosing"
"""Folder of the choosing folds' runs."""


def repetitions(config: RunConfig, choice: Choice | None = None) -> list[RunConfig]:
    """Return a recipe for each fold and seed, to be run in OUT/NAME/FOLD-SEED; none without folds and seeds.

    With choosing folds no method is tuned any more: each has the settings of its choice.

    Raises:
        ConfigError: a fold or seed is named twice or cannot be a folder's name, or all folds would have one oracle.
    """
    _check_folds(config)
    if not config.folds and not config.seeds:
        return []
    if config.choosing_folds:
        methods = {}
        for name, method in config.methods.items():
            methods[name] = with_settings(method, chosen_settings(choice or {}, name))
        config = replace(config, methods=methods, choosing_folds=())
    recipes = []
    for fold, seed in product(config.folds or (config.data.fold,), config.seeds or (config.seed,)):
        parts = ([fold] if config.folds else []) + ([f"seed{seed}"] if config.seeds else [])
        recipes.append(_part(config, "-".join(parts), fold, seed))
    return recipes


def choosing_runs(config: RunConfig) -> list[RunConfig]:
    """Return a recipe for each choosing fold, of the methods that have trials, to be run in OUT/NAME/choosing/FOLD.

    Raises:
        ConfigError: as `repetitions`; no method has trials.
    """
    _check_folds(config)
    if not config.choosing_folds:
        return []
    methods = {name: method for name, method in config.methods.items() if method.trials}
    if not methods:
        raise ConfigError("choosing_folds: no method has trials; give methods.NAME.trials, or leave them out")
    tuned = replace(config, methods=methods)
    # One seed: people differ more than seeds do, so that another fold tells more than another seed.
    seed = (config.seeds or (config.seed,))[0]
    return [_part(tuned, fold, fold, seed, folder=CHOOSING) for fold in config.choosing_folds]


def choose(config: RunConfig, runs: Sequence[RunDir]) -> Choice:
    """Return the methods' trials over all choosing folds, one of each marked as chosen."""
    choice = {}
    for name, method in config.methods.items():
        trials = [
            pooled({run.config.data.fold: read_record(run.trial(name, number), Trial) for run in runs})
            for number in range(len(method.trials))
        ]
        if trials:
            choice[name] = marked(trials, config.choosing_rule)
    return choice


def run_repetitions(config: RunConfig, run: Callable[[RunConfig], Path]) -> Path:
    """Run the recipe for each fold and seed, then write the report over all of them to OUT/NAME; return its path.

    What is complete is skipped, as in a single run.

    Raises:
        MMUnlearnerError: as `run` does; a mistake in any repetition is found before the first begins.
    """
    choosing, recipes = choosing_runs(config), repetitions(config)
    if both := sorted({*config.choosing_folds} & {*config.folds}):
        _log.warning("fold %s chooses settings and is reported: its scores flatter what it chose", ", ".join(both))
    with open_run(config) as whole:
        with waiting("reading and checking the data and the models of every fold"):
            for recipe in (*choosing, *recipes):
                try:
                    check(recipe)
                    examine(_directory(recipe))
                except MMUnlearnerError as error:
                    raise type(error)(f"{recipe.name}: {error}") from None
        record_config(whole)
        for recipe in choosing:
            run(recipe)
        choice = choose(config, [_directory(recipe) for recipe in choosing])
        if choice:
            write_json(whole.path / "choice.json", choice)
            recipes = repetitions(config, choice)
        for recipe in recipes:
            run(recipe)
        with waiting("writing the report over all folds and seeds"):
            collect(whole, [_directory(recipe) for recipe in recipes], choice)
            page = report.write(whole.path)
        write_json(whole.path / "manifest.json", manifest(whole))
        return page


def _check_folds(config: RunConfig) -> None:
    options = {"folds": config.folds, "choosing_folds": config.choosing_folds, "seeds": config.seeds}
    for option, values in options.items():
        if len(set(values)) < len(values):
            raise ConfigError(f"{option} {', '.join(map(str, values))}: one is named twice; name each once")
    if len({*config.folds, *config.choosing_folds}) > 1 and config.model.oracle and FOLD not in config.model.oracle:
        raise ConfigError(
            f"model.oracle {config.model.oracle}: each fold has an oracle of its own; write {FOLD} for the fold's name"
        )


def _part(config: RunConfig, name: str, fold: str, seed: int, folder: str = "") -> RunConfig:
    """Return the recipe of one fold and seed."""
    home = Path(config.out) / config.name
    # The embedded benchmark is written once, beside the folds.
    root = config.data.root or (str(home / "data") if find_format(config.data.format).embedded else "")
    part = replace(
        config,
        name=name,
        out=str(home / folder),
        seed=seed,
        data=replace(config.data, root=root, fold=fold),
        model=replace(config.model, oracle=config.model.oracle.replace(FOLD, fold)),
        folds=(),
        choosing_folds=(fold,) if folder else (),
        seeds=(),
    )
    return build(RunConfig, plain(part))


def _directory(recipe: RunConfig) -> RunDir:
    return RunDir(Path(recipe.out) / recipe.name, recipe)
