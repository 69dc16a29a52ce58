"""The benchmarks by name: a format is a function `load(root, *, forget=, forget_entities=, seed=) -> Splits`.

A loader takes those of the keyword arguments that it has a use for. Any `package.module:function` of that form works.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmunlearner.config import DataConfig
from mmunlearner.core.names import did_you_mean, resolve_name
from mmunlearner.data.example import Splits
from mmunlearner.data.hub import local_folder
from mmunlearner.data.splits import checked
from mmunlearner.errors import ConfigError, DataError

Loader = Callable[..., Splits]

FORMATS: Mapping[str, str] = {
    "people": "mmunlearner.data.load:load_people",
    "mllmu": "mmunlearner.data.benchmarks.mllmu:load",
    "umu": "mmunlearner.data.benchmarks.umu:load",
    "clear": "mmunlearner.data.benchmarks.clear:load",
    "fiubench": "mmunlearner.data.benchmarks.fiubench:load",
    "conversations": "mmunlearner.data.benchmarks.conversations:load_conversations",
    "chat": "mmunlearner.data.benchmarks.conversations:load_chat",
    "rows": "mmunlearner.data.benchmarks.rows:load",
    "flags": "mmunlearner.data.benchmarks.flags:load",
}
"""Name -> its loader."""

MARKS: Mapping[str, tuple[str, ...]] = {
    "mllmu": ("ft_Data",),
    "clear": ("full+tofu",),
    "fiubench": ("full.json", "split.json"),
    "rows": ("questions.jsonl",),
    "flags": ("facts.json", "waving"),
}
"""Format -> what its folder holds and no other format's does."""

GENERAL = "general"
"""Folder within a benchmark's own that holds its general-ability set, in the rows format."""


def load(config: DataConfig, *, seed: int = 0) -> Splits:
    """Read the benchmark that a configuration names, and the general-ability set that it names or that comes along.

    Raises:
        ConfigError: there is no such format, or the format has no use for an option.
        DataError: the data are missing, wrong or empty.
    """
    loader = find_loader(config.format)
    if config.format in FORMATS and not config.root and config.format != "people":
        raise ConfigError(f"data.root: format {config.format} needs a folder: --data.root FOLDER")
    options = _options(loader, config, seed)
    root = local_folder(config.root) if config.format in FORMATS and config.root else config.root
    try:
        splits = loader(root, **options)
    except DataError as error:
        raise DataError(f"{error}{_hint(root, config.format)}") from None
    return checked(_with_general(splits, root, config.general), config.root or config.format)


def _hint(root: Path | str, name: str) -> str:
    """What the folder looks like, where that is another format's."""
    like = [other for other, marks in MARKS.items() if root and all((Path(root) / mark).exists() for mark in marks)]
    return f". The folder looks like {like[0]}: use --data.format {like[0]}" if like and name not in like else ""


def find_loader(name: str) -> Loader:
    """The loader of a format's name, or `package.module:function`.

    Raises:
        ConfigError: there is none.
    """
    if name not in FORMATS and ":" not in name:
        raise ConfigError(
            f"data.format: {name}: no such format; {did_you_mean(name, FORMATS)}, or give package.module:function"
        )
    return resolve_name(FORMATS.get(name, name), "data.format:")


def load_people(root: Path | str, *, forget: int = 15) -> Splits:
    """The embedded benchmark, made in `root` if it is not there yet."""
    from mmunlearner.data.benchmarks import mllmu
    from mmunlearner.data.benchmarks.people import prepare

    return mllmu.load(prepare(root), forget=forget)


def _options(loader: Loader, config: DataConfig, seed: int) -> dict[str, Any]:
    """The keyword arguments that a loader has a use for.

    Raises:
        ConfigError: the configuration names entities to forget, and the loader takes no names.
    """
    taken = inspect.signature(loader).parameters
    if config.forget_entities and "forget_entities" not in taken:
        remedy = "choose a share with data.forget" if "forget" in taken else "leave it out"
        raise ConfigError(f"data.forget_entities: format {config.format} takes no names; {remedy}")
    known = {"forget": config.forget, "forget_entities": config.forget_entities, "seed": seed}
    return {name: value for name, value in known.items() if name in taken}


def _with_general(splits: Splits, root: Path | str, named: str) -> Splits:
    from mmunlearner.data.benchmarks import rows

    own = Path(root) / GENERAL
    if not named and not (own / rows.FILE).is_file():
        return splits
    folder = local_folder(named) if named else own
    return replace(splits, evaluation={**splits.evaluation, GENERAL: rows.load_general(folder)})
