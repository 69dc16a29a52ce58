"""The run directory: the files that the steps of a run read and write, and so the interface between them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mmunlearner import data
from mmunlearner.config import MaskConfig, MethodConfig, RunConfig
from mmunlearner.core.files import discard, write_text
from mmunlearner.core.lock import locked
from mmunlearner.core.names import did_you_mean
from mmunlearner.core.recipes import content, load_config, plain, to_yaml
from mmunlearner.data import Splits
from mmunlearner.data.image_checks import check_images
from mmunlearner.data.load import find_format
from mmunlearner.errors import ConfigError

REFERENCES = ("vanilla", "oracle")
PREPARED = {"config.yaml", "data", "data.json"}  # content of a run directory before the first step


@dataclass(frozen=True)
class RunDir:
    """A run's directory, its recipe and its data.

    A model's name is that of a method of the recipe, `vanilla`, `oracle`, or another name that a step gives its result.
    """

    path: Path
    config: RunConfig
    user_mask: Path | None = None
    """A mask file in place of those that the run would compute."""

    @property
    def root(self) -> str:
        """Folder of the data; the embedded benchmark makes its own within the run."""
        embedded = self.path / "data" if find_format(self.config.data.format).embedded else ""
        return self.config.data.root or str(embedded)

    @cached_property
    def splits(self) -> Splits:
        """The recipe's data, with the shots of its evaluation.

        Raises:
            DataError: the data cannot be read, there are no images to forget, or there are too few shots.
            ConfigError: a bound is of a column that the data do not have.
        """
        config = self.config
        splits = data.load(replace(config.data, root=self.root), seed=config.seed)
        if config.methods and config.goal == "visual":
            check_images(splits, config.data.root or config.data.format)
        for column in config.bounds:
            if column not in splits.evaluation:
                suggestion = did_you_mean(column, sorted(splits.evaluation))
                raise ConfigError(f"bounds.{column}: the data have no such column; {suggestion}")
        return replace(splits, evaluation=data.with_shots(splits.evaluation, config.evaluate.shots, seed=config.seed))

    def source(self, name: str) -> str:
        """Return the directory or hub id of a model; empty for a reference that the run does not have."""
        if name in REFERENCES:
            reference: str = getattr(self.config.model, name)
            if reference or not self.config.model.base:  # without a base none is trained
                return reference
        return str(self.model(name))

    @property
    def references(self) -> list[str]:
        """The reference models that the run has: `vanilla`, and `oracle` where there is one."""
        return [name for name in REFERENCES if self.source(name)]

    @property
    def masks(self) -> dict[str, MaskConfig]:
        """The masks that the methods ask for, by name."""
        masks = (method.mask for method in self.config.methods.values())
        return {} if self.user_mask else {mask_name(mask): mask for mask in masks if mask is not None}

    def model(self, name: str) -> Path:
        return self.path / "models" / name

    def trained(self, name: str) -> Path:
        """Return the file that training writes last: it exists if the model is complete."""
        return self.model(name) / "train.json"

    def mask(self, name: str) -> Path:
        return self.path / "masks" / f"{name}.safetensors"

    @property
    def all_squares(self) -> Path:
        """Folder of the squared gradients from which masks are computed; removed after the last mask."""
        return self.path / "masks" / "squares"

    def evaluation(self, name: str) -> Path:
        return self.path / "evaluation" / name

    def evaluated(self, name: str) -> Path:
        """Return the file that an evaluation writes last."""
        return self.evaluation(name) / "cost.json"

    def trial(self, name: str, number: int) -> Path:
        return self.path / "trials" / name / f"{number}.json"

    def best_trial(self, name: str) -> Path:
        """Return the directory of the best model of the trials so far."""
        return self.path / "trials" / name / "best"

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.jsonl"

    def work(self, name: str) -> Path:
        """Return the directory for checkpoints; it is removed at the end of the step."""
        return self.path / "work" / name

    def method(self, name: str) -> MethodConfig:
        return self.config.methods[name]


@contextmanager
def open_run(config: RunConfig, *, folder: Path | None = None, user_mask: Path | None = None) -> Iterator[RunDir]:
    """Yield a run's directory (OUT/NAME, or `folder`), which no other process writes to within the block.

    An error in the block leaves no directory behind that is new and in which no step has begun.

    Raises:
        ConfigError: the directory holds something else, or another process is at work in it.
    """
    path = folder or Path(config.out) / config.name
    created = [parent for parent in (path, *path.parents) if not parent.exists()]
    if not created and not (path / "config.yaml").exists() and _visible(path):
        raise ConfigError(f"{path}: is not empty and holds no run; choose another name")
    try:
        with locked(path):
            yield RunDir(path, config, user_mask)
    except Exception:  # not an interrupt: the same command resumes
        if path in created and path.exists() and not _has_begun(path):
            discard(path)
        for parent in created:
            with suppress(OSError):  # it is not empty, or was not made
                parent.rmdir()
        raise


def record_config(run: RunDir) -> None:
    """Record the configuration of a run in its directory.

    Raises:
        ConfigError: the directory holds results of another configuration.
    """
    recorded = run.path / "config.yaml"
    if _has_begun(run.path):
        before, now = content(load_config(recorded)), content(run.config)
        if names := [name for name in {**before, **now} if before.get(name) != now.get(name)]:
            difference = f"{names[0]}: {before.get(names[0])} there, {now.get(names[0])} here"
            raise ConfigError(
                f"{run.path}: holds a run of another configuration ({difference}); choose another name, or compute all "
                "anew with --restart"
            )
    else:
        # Before the first step, a wrong recipe and wrong data can be corrected under the same name.
        (run.path / "data.json").unlink(missing_ok=True)
    # Workers read it: an option that changes no result may have another value than before.
    if not recorded.exists() or recorded.read_bytes() != to_yaml(run.config).encode():
        write_text(recorded, to_yaml(run.config))


def empty(run: RunDir) -> None:
    """Remove what a run has written to its directory, except the embedded benchmark's data."""
    # The results first: a kill in between leaves the record of what the rest was computed from.
    for name in sorted(_visible(run.path) - {"data"}, key=lambda name: name in PREPARED):
        discard(run.path / name) if (run.path / name).is_dir() else (run.path / name).unlink()


def _visible(path: Path) -> set[str]:
    """Return the names in a folder, without those of hidden files: the lock, and what a kill left unfinished."""
    return {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}


def _has_begun(path: Path) -> bool:
    return not _visible(path) <= PREPARED


def find_run(path: Path | str) -> RunDir:
    """Return the run of a directory.

    Raises:
        ConfigError: the directory holds no run.
    """
    path = Path(path)
    if not (path / "config.yaml").is_file():
        raise ConfigError(f"{path}: holds no run (no config.yaml); expected a folder that `mmunlearner run` wrote")
    return RunDir(path, load_config(path / "config.yaml"))


def mask_name(mask: MaskConfig) -> str:
    """Return the name of a mask's file: its parts, and the options that differ from the first version's defaults.

    Where the words do not express every option, it ends with a hash of all options: no two masks share a file.
    """
    # The defaults of the first version, so that its files are found under their names.
    default = MaskConfig(beta=1.0, density=0.0)
    beta, density = f"{mask.beta:g}", f"{mask.density:g}"
    words = list(mask.parts) + [f"beta{beta}"] * (mask.beta != default.beta) + ["random"] * mask.random
    words += [f"density{density}"] * (mask.density != default.density) + ["layers"] * mask.per_layer
    unit = f"batch{mask.batch}" if mask.unit == "batch" else mask.unit
    words += [unit] * (mask.unit != default.unit) + [f"limit{mask.limit}"] * (mask.limit != default.limit)
    # An option that was added to MaskConfig but not here has its default in `named`, which then differs from `mask`. So
    # has a beta or density with more digits than `:g` writes. `batch` matters with `unit: batch` alone.
    named = MaskConfig(
        parts=mask.parts, beta=float(beta), density=float(density), unit=mask.unit, batch=mask.batch,
        limit=mask.limit, random=mask.random, per_layer=mask.per_layer,
    )  # fmt: skip
    if named != mask:
        words.append(hashlib.sha256(json.dumps(plain(mask), sort_keys=True).encode()).hexdigest()[:8])
    return "-".join(words)
