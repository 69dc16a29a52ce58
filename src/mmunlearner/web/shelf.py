"""Loaded models, as many as fit in memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil
import torch

from mmunlearner.models import Loaded, input_device

ROOM = 1.5
"""Free memory that another model needs, in sizes of the largest loaded one: its weights, and what answering takes."""


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a device, in bytes."""
    if device.type == "cpu":
        return psutil.virtual_memory().available
    return torch.accelerator.get_memory_info(device)[0]


def weight_bytes(loaded: Loaded) -> int:
    """Return the size of a model's weights in bytes."""
    return sum(weight.nbytes for weight in loaded.model.parameters())


@dataclass
class Shelf:
    """Models by name: one that is asked for is loaded, and those that were not used for longest make room for it."""

    load: Callable[[str], Loaded]
    free: Callable[[torch.device], int] = free_bytes
    models: dict[str, Loaded] = field(default_factory=dict)
    """Models in memory, the one that was used last at the end."""

    def take(self, name: str) -> Loaded:
        """Return a model, from memory or loaded now.

        Raises:
            ModelError: it cannot be loaded.
        """
        if name not in self.models:
            self._make_room()
        loaded = self.models.pop(name, None) or self.load(name)
        self.models[name] = loaded
        return loaded

    def _make_room(self) -> None:
        # The models of a run are of one size, so that those in memory tell that of the next.
        while self.models:
            largest = max(weight_bytes(loaded) for loaded in self.models.values())
            if self.free(input_device(next(iter(self.models.values())).model)) >= ROOM * largest:
                return
            self.models.pop(next(iter(self.models)))
            gc.collect()
            if torch.accelerator.is_available():
                torch.accelerator.empty_cache()  # else the memory stays torch's, and does not count as free
