"""Where a run keeps what: the run directory is the interface between its steps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmunlearner.config import MaskConfig, MethodConfig, RunConfig
from mmunlearner.core.files import write_text
from mmunlearner.core.recipes import check, config_hash, load_config, plain, to_yaml
from mmunlearner.data.load import find_format
from mmunlearner.errors import ConfigError
from mmunlearner.methods import METHODS

REFERENCES = ("vanilla", "oracle")
PREPARED = {"config.yaml", "data", "data.json"}
"""What a run's folder holds before its first step."""


@dataclass(frozen=True)
class RunDir:
    """A run's folder; names are those of the recipe's methods, or `vanilla` and `oracle`."""

    path: Path
    config: RunConfig

    @property
    def root(self) -> str:
        """Folder of the data; the embedded benchmark makes its own within the run."""
        made = self.path / "data" if find_format(self.config.data.format).embedded else ""
        return self.config.data.root or str(made)

    def model(self, name: str) -> Path:
        return self.path / "models" / name

    def trained(self, name: str) -> Path:
        """What a training step leaves last: its existence means that the model is complete."""
        return self.model(name) / "train.json"

    def mask(self, name: str) -> Path:
        return self.path / "masks" / f"{name}.safetensors"

    @property
    def all_squares(self) -> Path:
        """What masks are cut from; gone when all masks are there."""
        return self.path / "masks" / "squares"

    def squares(self, name: str) -> Path:
        """Those of one pass."""
        return self.all_squares / f"{name}.safetensors"

    def evaluation(self, name: str) -> Path:
        return self.path / "evaluation" / name

    def trial(self, name: str, number: int) -> Path:
        return self.path / "trials" / name / f"{number}.json"

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.jsonl"

    def work(self, name: str) -> Path:
        """Checkpoints of a step under way; gone when it is done."""
        return self.path / "work" / name

    def method(self, name: str) -> MethodConfig:
        return self.config.methods[name]

    def needs_mask(self, name: str) -> bool:
        """Whether a method's mask is still to be made."""
        wanted = self.method(name).mask
        return wanted is not None and not self.mask(mask_name(wanted)).exists()

    def work_units(self, name: str) -> int:
        """Optimizer steps that making this model takes, trials included; the last training is a trial's own."""
        method = self.method(name)
        settings = {**plain(self.config.train), **method.train}
        known = METHODS.get(method.method)
        both = known is None or (known.forget is not None and known.retain is not None)
        steps = int(settings["steps"]) * (int(settings["retain_per_forget"]) if both else 1)
        return steps * max(1, len(method.trials))


def open_run(config: RunConfig) -> RunDir:
    """Make the run's folder, or go on in it if it holds this very configuration.

    Raises:
        ConfigError: an option is wrong, or the folder holds a run of another configuration.
    """
    config = check(config)
    reserved = [name for name in config.methods if name in REFERENCES]
    if reserved:
        raise ConfigError(f"methods.{reserved[0]}: this name is taken by a reference model; choose another")
    path = Path(config.out) / config.name
    recorded = path / "config.yaml"
    if recorded.exists():
        there = load_config(recorded)
        if config_hash(there) == config_hash(config):
            return RunDir(path, config)
        if not _only_prepared(path):
            raise ConfigError(
                f"{path}: holds a run of another configuration ({_first_difference(plain(there), plain(config))}); "
                "choose another name, or remove the folder"
            )
        (path / "data.json").unlink(missing_ok=True)
    elif path.exists() and any(path.iterdir()):
        raise ConfigError(f"{path}: is not empty and holds no run; choose another name")
    write_text(recorded, to_yaml(config))
    return RunDir(path, config)


def _only_prepared(path: Path) -> bool:
    """Whether no step has begun: a recipe that was wrong can be put right under the same name."""
    return {entry.name for entry in path.iterdir()} <= PREPARED


def find_run(path: Path | str) -> RunDir:
    """A run by its folder.

    Raises:
        ConfigError: there is no run.
    """
    path = Path(path)
    if not (path / "config.yaml").is_file():
        raise ConfigError(f"{path}: holds no run (no config.yaml)")
    return RunDir(path, load_config(path / "config.yaml"))


def mask_name(mask: MaskConfig) -> str:
    """Return the name of a mask's file: its parts, and the options that differ from the defaults.

    Options that the words do not tell in full end it with a hash of all, so that no two masks share a file.
    """
    default, beta, density = MaskConfig(), f"{mask.beta:g}", f"{mask.density:g}"
    words = list(mask.parts) + [f"beta{beta}"] * (mask.beta != default.beta) + ["random"] * mask.random
    words += [f"density{density}"] * (mask.density != default.density)
    unit = f"batch{mask.batch}" if mask.unit == "batch" else mask.unit
    words += [unit] * (mask.unit != default.unit) + [f"limit{mask.limit}"] * (mask.limit != default.limit)
    # An option that is added to MaskConfig and forgotten here has its default in `told`, and so does not go unnoticed.
    # `batch` is told where it matters, which is with `unit: batch` alone.
    told = MaskConfig(
        parts=mask.parts, beta=float(beta), density=float(density), unit=mask.unit, batch=mask.batch,
        limit=mask.limit, random=mask.random,
    )  # fmt: skip
    if told != mask:
        words.append(hashlib.sha256(json.dumps(plain(mask), sort_keys=True).encode()).hexdigest()[:8])
    return "-".join(words)


def _first_difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    flat_there, flat_here = dict(_flat(there)), dict(_flat(here))
    names = [
        n for n in {**flat_there, **flat_here} if n not in ("name", "out") and flat_there.get(n) != flat_here.get(n)
    ]
    return f"{names[0]}: {flat_there.get(names[0])} there, {flat_here.get(names[0])} here" if names else "unknown"


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item
