"""Image features of a vision part that does not train: the same at every step, so that they can be cached.

They are taken from the model's own `get_image_features`: all families call it and treat its output alike. Each row's
images go through it alone, and the outputs are joined as it would have joined them.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmunlearner.batches import Batch, Encoder
from mmunlearner.data import ImageRef
from mmunlearner.models import input_device, parts

_log = logging.getLogger(__name__)
_TOWER_STATES = {"last_hidden_state", "hidden_states", "attentions"}
"""Outputs of the vision tower that nothing behind `get_image_features` reads."""
ImageKeys = tuple[str, ...]


def features_are_frozen(model: nn.Module) -> bool:
    """Return whether no weight that makes image features trains."""
    owned = parts(model)
    weights = dict(model.named_parameters())
    return not any(weights[name].requires_grad for part in ("vision", "projector") for name in owned[part])


@dataclass
class FeatureCache:
    """Features by the keys of a row's images, in host memory, up to a budget; those beyond it are computed each time.

    The first batch is computed both ways. Where they differ (dropout, features that depend on other rows' images), or
    where the model has no such method, it is left alone and the reason is logged.
    """

    encoder: Encoder
    images: Mapping[ImageKeys, tuple[ImageRef, ...]]
    """Images that rows may have."""
    budget: int
    """Most bytes."""
    size: int = field(default=0, init=False)
    """Bytes of the cached features."""
    _cached: dict[ImageKeys, dict[str, Any]] = field(default_factory=dict, init=False)
    _compared: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._owner: Any = self.encoder.loaded.model.base_model
        self._works = hasattr(self._owner, "get_image_features")
        if not self._works:
            self._give_up(f"{type(self._owner).__name__} has no get_image_features")

    @contextmanager
    def used_by(self, batch: Batch) -> Iterator[None]:
        """Let the model read the features of the batch's images from here, within the block."""
        with_images = [inputs for inputs in batch.passes if "pixel_values" in inputs.inputs]
        # With several passes, a call could not be matched with its images among the batch's.
        if not self._works or len(with_images) != 1:
            yield
            return
        original = self._owner.get_image_features
        self._owner.get_image_features = lambda *args, **kwargs: self._features(batch.images, original, args, kwargs)
        try:
            yield
        finally:
            del self._owner.get_image_features

    def _features(
        self,
        keys: Sequence[ImageKeys],
        original: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        if not self._works:
            return original(*args, **kwargs)
        # By name, so that one row's pixels and grids can take the place of the batch's.
        arguments = {**dict(zip(inspect.signature(original).parameters, args, strict=False)), **kwargs}
        rows = [self._row_features(key, original, arguments) for key in keys]
        kind = rows[0]["kind"]
        joined = {name: _join([row[name] for row in rows]) for name in rows[0] if name != "kind"}
        cached = kind(**_to_device(joined, input_device(self.encoder.loaded.model)))
        if not self._compared:
            self._compared = True
            computed = original(*args, **kwargs)
            if not equal_up_to_rounding(cached.pooler_output, computed.pooler_output):
                self._give_up("the features of an image are not the same each time")
                return computed
        return cached

    def _row_features(self, key: ImageKeys, original: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        """Return the fields of the model's output for one row's images, and its type as `kind`."""
        if key in self._cached:
            return self._cached[key]
        pixels = self.encoder.pixels(self.images[key])
        device = input_device(self.encoder.loaded.model)
        # By the shapes and grids of these images alone; other arguments (which layer, say) are the call's own.
        with torch.no_grad():
            output = original(
                **dict(arguments) | {name: values.to(device) for name, values in pixels.items() if name in arguments}
            )
        fields = {n: _to_device(v, torch.device("cpu")) for n, v in output.items() if n not in _TOWER_STATES}
        size = sum(tensor.nbytes for tensor in _tensors(fields))
        row = {**fields, "kind": type(output)}
        # Nothing is dropped for a new one: images are drawn in epochs, so that the oldest may be the next to come.
        if self.size + size <= self.budget:
            self._cached[key] = row
            self.size += size
        return row

    def _give_up(self, why: str) -> None:
        self._works = False
        self._cached.clear()
        _log.warning("%s: train.keep_features keeps nothing, since %s", self.encoder.loaded.source, why)


def _join(values: Sequence[Any]) -> Any:
    """Join single rows' values to a batch's: tensors with a row each, or lists of such by image, or by layer."""
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(list(values))
    if all(isinstance(item, Tensor) for item in first):
        return [item for value in values for item in value]
    return [_join(layer) for layer in zip(*values, strict=True)]


def _to_device(value: Any, device: torch.device) -> Any:
    """Return the same structure on another device, as lists and dicts."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {name: _to_device(item, device) for name, item in value.items()}
    return [_to_device(item, device) for item in value]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
        return
    for item in value.values() if isinstance(value, Mapping) else value:
        yield from _tensors(item)


def equal_up_to_rounding(cached: Any, computed: Any) -> bool:
    """Return whether two outputs, tensors or nested lists of them, agree within their number format's error."""
    a, b = (torch.cat([tensor.flatten() for tensor in _tensors(value)]).float() for value in (cached, computed))
    tolerance = 1e-4 if next(_tensors(computed)).dtype == torch.float32 else 3e-2
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance)
