"""Adapters: what trains in place of a model's weights.

Each adapter is one module here: it wraps a model, computes the weights that the forward pass uses (where masks act),
and merges the result of training into an ordinary model.
"""

from collections.abc import Callable, Mapping

from mmunlearner.config import LoraConfig
from mmunlearner.core.names import did_you_mean, resolve_name
from mmunlearner.errors import ConfigError
from mmunlearner.unlearn.adapters.adapter import Adapted, Adapter, WholeWeights
from mmunlearner.unlearn.adapters.effective import EffectiveWeight
from mmunlearner.unlearn.adapters.lora import Lora
from mmunlearner.unlearn.adapters.sine import Sine

ADAPTERS: Mapping[str, Callable[[LoraConfig], Adapter | None]] = {
    "lora": lambda config: Lora(config) if config.rank else None,
    "sine": lambda config: Sine(),
}
"""Name -> the adapter, given the options `lora`; None: the weights themselves train."""


def make_adapter(lora: LoraConfig, name: str = "lora") -> Adapter | None:
    """Return the adapter of a recipe by name, or a user's own as `package.module:Name`, called without arguments.

    Raises:
        ConfigError: there is none of that name.
    """
    if name in ADAPTERS:
        return ADAPTERS[name](lora)
    if ":" not in name:
        raise ConfigError(f"model.adapter: unknown adapter {name}; {did_you_mean(name, ADAPTERS)}")
    return resolve_name(name, "adapter")()


__all__ = ["ADAPTERS", "Adapted", "Adapter", "EffectiveWeight", "Lora", "Sine", "WholeWeights", "make_adapter"]
