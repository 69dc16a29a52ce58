"""Checks of a recipe before anything long begins: the one place, for runs, forecasts and single commands."""

from __future__ import annotations

from mmunlearner.config import RunConfig
from mmunlearner.core import recipes
from mmunlearner.errors import ConfigError
from mmunlearner.methods import METHODS, resolve
from mmunlearner.models.quantization import check_quantization, require_bitsandbytes
from mmunlearner.run.run_dir import REFERENCES
from mmunlearner.run.tuning import with_settings
from mmunlearner.unlearn import train_config


def check(config: RunConfig, *, installed: bool = True) -> RunConfig:
    """Return the same recipe with every type and range checked; with `installed`, that it can run here, too.

    Raises:
        ConfigError: an option is of a wrong type or out of range, there is no model to unlearn, a method, one of its
            options or of its trials' does not exist, or options do not go together.
        ModelError: bitsandbytes is needed and not installed.
    """
    config = recipes.check(config)
    if not config.model.vanilla and not config.model.base:
        raise ConfigError(
            "model.vanilla: no model to unlearn; name a directory or a hub id, or a model.base to train"
        )  # fmt: skip
    for name, method in config.methods.items():
        if name in REFERENCES:
            raise ConfigError(f"methods.{name}: this name is taken by a reference model; choose another")
        try:
            train_config(config.train, method)
            for settings in method.trials or ({},):
                trial = with_settings(method, settings)
                resolve(trial.method, METHODS).bind(trial.options)
        except ConfigError as error:
            raise ConfigError(f"methods.{name}: {error}") from None
    if config.finetune.stop_every:
        raise ConfigError(
            f"finetune.stop_every is {config.finetune.stop_every}: fine-tuning forgets nothing; set it to 0"
        )
    check_quantization(config)
    if installed:
        require_bitsandbytes(config.model.quantize)
    return config
