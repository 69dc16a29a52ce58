"""Cache of all encodings, shared by encoders that encode alike: the models of a run get the same questions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from torch import Tensor

from mmunlearner.batches.rows import Fields, Row
from mmunlearner.models import Loaded, longest_row

_PIXEL_BYTES = 2**30
"""Largest size of the cached pixels."""


class Tokens(NamedTuple):
    """A text in tokens."""

    ids: tuple[int, ...]
    fields: Fields


@dataclass
class EncodingCache:
    """Texts, tokens, pixels and rows by what they were made of."""

    pixels: dict[tuple[str, ...], dict[str, Tensor]] = field(default_factory=dict)
    """By all images of a row together: a processor may cut several images in another way than each alone."""
    prefixes: dict[tuple[tuple[str, ...], str], Tokens] = field(default_factory=dict)
    """Images and the text up to a special token -> its tokens; fields are those of one token more."""
    rows: dict[tuple[str, str, tuple[str, ...]], Row] = field(default_factory=dict)
    texts: dict[tuple[str, str | None, int], str] = field(default_factory=dict)
    tokens: dict[tuple[str, bool], tuple[int, ...]] = field(default_factory=dict)

    def add_pixels(self, images: tuple[str, ...], pixels: dict[str, Tensor]) -> None:
        """Add the pixels of these images, and drop the oldest where they would fill the memory."""
        self.pixels[images] = pixels
        # By the newest's size: images of a model are mostly of one size.
        size = sum(tensor.nbytes for tensor in pixels.values())
        while len(self.pixels) > 1 and len(self.pixels) * size > _PIXEL_BYTES:
            del self.pixels[next(iter(self.pixels))]


@lru_cache(maxsize=2)  # a run has one or two processors; a third would be another run's
def shared_cache(fingerprint: str) -> EncodingCache:
    """Return the cache of all encoders with this fingerprint."""
    return EncodingCache()


def fingerprint(loaded: Loaded, ends: frozenset[int]) -> str:
    """Return a hash that is equal for processors that encode alike, for models that take the same inputs."""
    processor: Any = loaded.processor
    backend = getattr(processor.tokenizer, "backend_tokenizer", None)
    vocabulary = backend.to_str() if backend is not None else sorted(processor.tokenizer.get_vocab().items())
    kinds = type(processor), type(loaded.model), longest_row(loaded)
    return hashlib.sha256(
        repr((kinds, processor.to_dict(), processor.chat_template, vocabulary, sorted(ends))).encode()
    ).hexdigest()
