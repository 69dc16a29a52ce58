"""One conversation in tokens, and what several begin with alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mmunlearner.data import ImageRef, image_keys

Fields = Mapping[str, Tensor]
"""What a model wants to know of each token beside its id: name -> [L, ...]. Token types, who sees which image..."""


@dataclass(frozen=True)
class Row:
    """One conversation in tokens: `input_ids[:answer_start]` asks, the rest answers and ends."""

    input_ids: tuple[int, ...]
    answer_start: int
    images: tuple[ImageRef, ...] = field(default=(), compare=False)
    fields: Fields = field(default_factory=dict, compare=False, repr=False)

    @property
    def group(self) -> tuple[str, ...]:
        """Keys of its images. Rows of one group see the same, so they can share their prefix; all texts form one."""
        return image_keys(self.images)


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common beginning."""
    low, high = 0, min(len(a), len(b))
    while low < high:  # by halves: slices compare faster than tokens
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low


def common_prefix(rows: Sequence[Row]) -> int:
    """How many leading tokens all rows share, at most up to the first answer."""
    length = min(row.answer_start for row in rows)
    for row in rows[1:]:
        length = min(length, common(rows[0].input_ids, row.input_ids))
    return length
