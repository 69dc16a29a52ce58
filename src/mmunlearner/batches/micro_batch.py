"""Questions in forward passes of bounded size, for a step that does not fit into memory at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mmunlearner.batches.batch import Batch, share_prefixes
from mmunlearner.batches.encoder import Encoder
from mmunlearner.batches.padding import compatible_rows
from mmunlearner.batches.prefix import can_share
from mmunlearner.batches.rows import Row, shared_prompt_length

T = TypeVar("T")
Group = list[int]
"""Numbers of the rows that make one sequence."""


@dataclass(frozen=True)
class MicroBatch:
    """Some questions of a step, for one forward and backward pass."""

    numbers: tuple[int, ...]
    """Numbers of the step's questions that are in it, ascending."""
    batch: Batch


def micro_batches(rows: Sequence[Row], owners: Sequence[str], encoder: Encoder, tokens: int) -> Iterator[MicroBatch]:
    """Yield all rows, in micro-batches of at most `tokens` tokens, padding included; 0: in one.

    Rows of the same images share a sequence, as do texts of one owner while they fit. Sequences of similar length go
    together; a sequence that is too long has a pass of its own.
    """
    if not tokens:
        yield MicroBatch(tuple(range(len(rows))), share_prefixes(rows, encoder))
        return
    batches = [
        groups
        for compatible in compatible_rows(rows)
        for groups in bucket_by_length(_sequences(compatible, rows, owners, encoder, tokens), tokens)
    ]
    # Images come last: where texts touch no weight that trains, it is the last pass that has a gradient.
    for groups in sorted(batches, key=lambda groups: any(rows[i].images for group in groups for i in group)):
        numbers = sorted(i for group in groups for i in group)
        local = {number: i for i, number in enumerate(numbers)}
        own_groups = [[local[i] for i in group] for group in groups]
        yield MicroBatch(tuple(numbers), share_prefixes([rows[i] for i in numbers], encoder, own_groups))


def _sequences(
    numbers: Sequence[int], rows: Sequence[Row], owners: Sequence[str], encoder: Encoder, tokens: int
) -> list[tuple[int, Group]]:
    """Return (length, group) of each sequence that these compatible rows make."""
    if not can_share([rows[i] for i in numbers], encoder):
        return [(len(rows[i].input_ids), [i]) for i in numbers]
    groups: list[Group] = []
    open_groups: dict[tuple[str, ...], Group] = {}
    for i in numbers:
        subject = rows[i].subject(owners[i])
        group = open_groups.get(subject)
        # Texts can be split, images cannot: the image would be computed twice.
        if group is None or (not rows[i].images and _length([rows[j] for j in (*group, i)]) > tokens):
            open_groups[subject] = group = []
            groups.append(group)
        group.append(i)
    return [(_length([rows[i] for i in group]), group) for group in groups]


def _length(rows: Sequence[Row]) -> int:
    """Return the tokens of the sequence that these rows share."""
    start = shared_prompt_length(rows)
    return start + sum(len(row.input_ids) - start for row in rows)


def bucket_by_length(sequences: Iterable[tuple[int, T]], tokens: int) -> Iterator[list[T]]:
    """Yield sequences (length, sequence) of similar length together, in buckets of at most `tokens` tokens, padding
    included, and of at least one sequence.
    """
    bucket: list[T] = []
    for length, sequence in sorted(sequences, key=lambda sized: sized[0]):
        # In ascending order: this one, the longest so far, is what the others are padded to.
        if bucket and length * (len(bucket) + 1) > tokens:
            yield bucket
            bucket = []
        bucket.append(sequence)
    if bucket:
        yield bucket
