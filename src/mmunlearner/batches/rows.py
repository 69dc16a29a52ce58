"""A row: one conversation in tokens; and the prefix that several rows have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mmunlearner.data import ImageRef, image_keys, subject_key

Fields = Mapping[str, Tensor]
"""Per-token inputs of a model besides the ids: name -> [L, ...]. Token types, cross-attention masks..."""


@dataclass(frozen=True)
class Row:
    """One conversation in tokens: `input_ids[:answer_start]` is the prompt, the rest the answer and its end token."""

    input_ids: tuple[int, ...]
    answer_start: int
    # Neither is compared: fields are tensors, and rows of other images are told apart by `group`.
    images: tuple[ImageRef, ...] = field(default=(), compare=False)
    fields: Fields = field(default_factory=dict, compare=False, repr=False)

    @property
    def group(self) -> tuple[str, ...]:
        """Keys of its images. Rows of one group see the same images and can share a prefix; all texts form one."""
        return image_keys(self.images)

    def subject(self, owner: str) -> tuple[str, ...]:
        """Return the key of the rows that it may share a sequence with: those of its images, or texts of one owner."""
        return subject_key(self.images, owner)

    @property
    def answer(self) -> tuple[int, ...]:
        """Tokens of the answer."""
        return self.input_ids[self.answer_start :]


def common_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Return the length of the longest common prefix of two token sequences."""
    low, high = 0, min(len(a), len(b))
    while low < high:  # by bisection: Python compares slices much faster than single tokens
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low


def shared_prompt_length(rows: Sequence[Row]) -> int:
    """Return how many leading tokens all rows have in common, at most up to where the first answer starts."""
    length = min(row.answer_start for row in rows)
    for row in rows[1:]:
        length = min(length, common_prefix_length(rows[0].input_ids, row.input_ids))
    return length
