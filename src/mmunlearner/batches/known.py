"""What has been encoded so far, for all encoders that encode alike."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from torch import Tensor

from mmunlearner.batches.rows import Fields, Row
from mmunlearner.models import Loaded

_PIXEL_BYTES = 2**30


class Tokens(NamedTuple):
    """A piece of text in tokens."""

    ids: tuple[int, ...]
    fields: Fields


@dataclass
class Known:
    """What encoders have encoded so far."""

    pixels: dict[tuple[str, ...], dict[str, Tensor]] = field(default_factory=dict)
    """By what is shown together: a processor may cut several images otherwise than each alone."""
    heads: dict[tuple[tuple[str, ...], str], Tokens] = field(default_factory=dict)
    """Images and the text up to a place in it -> its tokens; fields are those of one token more."""
    rows: dict[tuple[str, str, tuple[str, ...]], Row] = field(default_factory=dict)
    texts: dict[tuple[str, str | None, int], str] = field(default_factory=dict)
    tokens: dict[tuple[str, bool], tuple[int, ...]] = field(default_factory=dict)

    def keep(self, shown: tuple[str, ...], pixels: dict[str, Tensor]) -> None:
        """Keep the pixels of what is shown, and let go of the oldest where they would fill the memory."""
        self.pixels[shown] = pixels
        each = sum(tensor.nbytes for tensor in pixels.values())
        while len(self.pixels) > 1 and len(self.pixels) * each > _PIXEL_BYTES:
            del self.pixels[next(iter(self.pixels))]


@lru_cache(maxsize=2)
def known_to(fingerprint: str) -> Known:
    return Known()


def fingerprint(loaded: Loaded, ends: frozenset[int]) -> str:
    """Equal for processors that encode alike, for models that take the same."""
    processor: Any = loaded.processor
    backend = getattr(processor.tokenizer, "backend_tokenizer", None)
    vocabulary = backend.to_str() if backend is not None else sorted(processor.tokenizer.get_vocab().items())
    kinds = type(processor), type(loaded.model), longest_row(loaded)
    return hashlib.sha256(
        repr((kinds, processor.to_dict(), processor.chat_template, vocabulary, sorted(ends))).encode()
    ).hexdigest()


def longest_row(loaded: Loaded) -> int | None:
    """The longest row that the model takes; None if its config does not say."""
    return getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
