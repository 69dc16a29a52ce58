"""What can be seen to be wrong with a recipe before anything long begins."""

from __future__ import annotations

from mmunlearner.config import RunConfig
from mmunlearner.errors import ConfigError
from mmunlearner.methods import METHODS, resolve
from mmunlearner.run.tuning import with_settings
from mmunlearner.unlearn import train_config


def check_methods(config: RunConfig) -> None:
    """Refuse settings of methods that cannot be.

    Raises:
        ConfigError: a method, one of its options or of its trials' does not exist, or training cannot stop by it.
    """
    for name, method in config.methods.items():
        try:
            train_config(config.train, method)
            for settings in method.trials or ({},):
                tried = with_settings(method, settings)
                resolve(tried.method, METHODS).bind(tried.options)
        except ConfigError as error:
            raise ConfigError(f"methods.{name}: {error}") from None
    if config.finetune.stop_every:
        raise ConfigError(
            f"finetune.stop_every is {config.finetune.stop_every}: fine-tuning forgets nothing; set it to 0"
        )
