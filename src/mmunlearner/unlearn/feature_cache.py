"""Image features of a vision tower that does not train: the same at every step, so that they can be kept.

The cut is at the model's own `get_image_features`, which all families call and whose outcome they treat alike: each
row's images are shown to it by themselves, and what it makes of them is put together as it would have put it.
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
_STATES = {"last_hidden_state", "hidden_states", "attentions"}
"""Of the tower itself: nothing behind it asks for them."""


def frozen(model: nn.Module) -> bool:
    """Whether nothing trains of what makes an image's features."""
    owned = parts(model)
    weights = dict(model.named_parameters())
    return not any(weights[name].requires_grad for part in ("vision", "projector") for name in owned[part])


@dataclass
class Kept:
    """Features by a row's images, with the host, up to a budget; those beyond it are computed each time.

    The first batch is computed both ways. Where they differ (dropout, features that depend on what other rows show), or
    where there is no such method, the model is left alone and the reason is logged.
    """

    encoder: Encoder
    images: Mapping[tuple[str, ...], tuple[ImageRef, ...]]
    """Those that rows may show, by their keys."""
    budget: int
    """Bytes."""
    size: int = field(default=0, init=False)
    """Bytes of what is kept."""
    _known: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict, init=False)
    _tried: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._owner: Any = self.encoder.loaded.model.base_model
        self._works = hasattr(self._owner, "get_image_features")
        if not self._works:
            self._give_up(f"{type(self._owner).__name__} has no get_image_features")

    @contextmanager
    def showing(self, batch: Batch) -> Iterator[None]:
        """Within, the model takes the features of the batch's images from here."""
        pictured = [each for each in batch.passes if "pixel_values" in each.inputs]
        if not self._works or len(pictured) != 1:
            yield
            return
        original = self._owner.get_image_features
        self._owner.get_image_features = lambda *given, **named: self._features(batch.images, original, given, named)
        try:
            yield
        finally:
            del self._owner.get_image_features

    def _features(
        self,
        keys: Sequence[tuple[str, ...]],
        original: Callable[..., Any],
        given: Sequence[Any],
        named: Mapping[str, Any],
    ) -> Any:
        if not self._works:
            return original(*given, **named)
        asked = {**dict(zip(inspect.signature(original).parameters, given, strict=False)), **named}
        found = [self._of(key, original, asked) for key in keys]
        kind = found[0]["kind"]
        joined = {name: _joined([each[name] for each in found]) for name in found[0] if name != "kind"}
        ours = kind(**_on(joined, input_device(self.encoder.loaded.model)))
        if not self._tried:
            self._tried = True
            theirs = original(*given, **named)
            if not _same(ours.pooler_output, theirs.pooler_output):
                self._give_up("the features of an image are not the same each time")
                return theirs
        return ours

    def _of(self, key: tuple[str, ...], original: Callable[..., Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        """What the model makes of one row's images: its fields, and their type."""
        if key in self._known:
            return self._known[key]
        pixels = self.encoder.pixels(self.images[key])
        device = input_device(self.encoder.loaded.model)
        with torch.no_grad():
            made = original(
                **dict(asked) | {name: values.to(device) for name, values in pixels.items() if name in asked}
            )
        one = {name: _on(value, torch.device("cpu")) for name, value in made.items() if name not in _STATES}
        size = sum(tensor.nbytes for tensor in _tensors(one))
        if self.size + size <= self.budget:
            self._known[key] = {**one, "kind": type(made)}
            self.size += size
        return {**one, "kind": type(made)}

    def _give_up(self, why: str) -> None:
        self._works = False
        self._known.clear()
        _log.warning("%s: train.keep_features keeps nothing, since %s", self.encoder.loaded.source, why)


def _joined(values: Sequence[Any]) -> Any:
    """Single rows' values -> those of a batch: tensors of a row each, or lists of such by image, or by layer."""
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(list(values))
    if all(isinstance(item, Tensor) for item in first):
        return [item for value in values for item in value]
    return [_joined(layer) for layer in zip(*values, strict=True)]


def _on(value: Any, device: torch.device) -> Any:
    """The same structure on another device, as lists and dicts."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {name: _on(item, device) for name, item in value.items()}
    return [_on(item, device) for item in value]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
        return
    for item in value.values() if isinstance(value, Mapping) else value:
        yield from _tensors(item)


def _same(ours: Any, theirs: Any) -> bool:
    """Up to rounding."""
    one, other = (torch.cat([tensor.flatten() for tensor in _tensors(each)]).float() for each in (ours, theirs))
    tolerance = 1e-4 if next(_tensors(theirs)).dtype == torch.float32 else 3e-2
    return one.shape == other.shape and torch.allclose(one, other, rtol=tolerance, atol=tolerance)
