"""Checks of a recipe before any long work begins; runs, forecasts and single commands share them."""

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
    """Return the same recipe with every type and range checked; with `installed`, also that this machine can run it.

    Raises:
        ConfigError: an option has a wrong type or is out of range, there is no model to unlearn, a method or an option
            of a method or of its trials does not exist, or options exclude each other.
        ModelError: bitsandbytes is needed and not installed.
    """
    # A recipe built in Python has not passed the YAML reader: its types are checked here first.
    config = recipes.check(config)
    if not config.model.vanilla and not config.model.base:
        raise ConfigError(
            "model.vanilla: no model to unlearn; name a directory or a hub id, or a model.base to train"
        )  # fmt: skip
    for name, method in config.methods.items():
        if name in REFERENCES:  # both would write to models/NAME
            raise ConfigError(f"methods.{name}: this name is taken by a reference model; choose another")
        try:
            train_config(config.train, method)
            # Without trials the method's own options are checked, as those of one trial without settings.
            for settings in method.trials or ({},):
                trial = with_settings(method, settings)
                resolve(trial.method, METHODS).bind(trial.options)
        except ConfigError as error:
            # The rooms behind these checks do not know under which name the recipe lists the method.
            raise ConfigError(f"methods.{name}: {error}") from None
    if config.finetune.stop_every:
        raise ConfigError(
            f"finetune.stop_every is {config.finetune.stop_every}: fine-tuning forgets nothing; set it to 0"
        )
    check_quantization(config)
    if installed:
        require_bitsandbytes(config.model.quantize)
    return config
