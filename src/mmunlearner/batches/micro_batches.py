"""Questions in passes of bounded size: what one step asks, where it does not fit into memory at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mmunlearner.batches.batch import Batch, pack
from mmunlearner.batches.encoder import Encoder
from mmunlearner.batches.padding import alike
from mmunlearner.batches.prefix import may_share
from mmunlearner.batches.rows import Row, common_prefix

T = TypeVar("T")
Group = list[int]
"""Numbers of the rows that make one sequence."""


@dataclass(frozen=True)
class Piece:
    """Some of the questions, to be run by themselves."""

    numbers: tuple[int, ...]
    """Which."""
    batch: Batch


def fill(rows: Sequence[Row], owners: Sequence[str], encoder: Encoder, tokens: int) -> Iterator[Piece]:
    """All rows, in passes of at most `tokens` tokens, padding included; 0: in one.

    Rows of the same images share a sequence, as do texts of one owner while they fit. Sequences of like length go
    together; one that is too long alone has a pass of its own. Passes with images come last: where texts touch no
    weight that trains, it is the last pass that has a gradient.
    """
    if not tokens:
        yield Piece(tuple(range(len(rows))), pack(rows, encoder))
        return
    passes = [some for kind in alike(rows) for some in within(_sequences(kind, rows, owners, encoder, tokens), tokens)]
    for groups in sorted(passes, key=lambda groups: any(rows[i].images for group in groups for i in group)):
        numbers = sorted(i for group in groups for i in group)
        place = {number: i for i, number in enumerate(numbers)}
        own = [[place[i] for i in group] for group in groups]
        yield Piece(tuple(numbers), pack([rows[i] for i in numbers], encoder, own))


def _sequences(
    kind: Sequence[int], rows: Sequence[Row], owners: Sequence[str], encoder: Encoder, tokens: int
) -> list[tuple[int, Group]]:
    """Rows of one kind in sequences, each with its length."""
    if not may_share([rows[i] for i in kind], encoder):
        return [(len(rows[i].input_ids), [i]) for i in kind]
    groups: list[Group] = []
    open_groups: dict[tuple[tuple[str, ...], str], Group] = {}
    for i in kind:
        row = rows[i]
        key = (row.group, "" if row.images else owners[i])
        group = open_groups.get(key)
        if group is None or (not row.images and _length([rows[j] for j in (*group, i)]) > tokens):
            open_groups[key] = group = []
            groups.append(group)
        group.append(i)
    return [(_length([rows[i] for i in group]), group) for group in groups]


def _length(rows: Sequence[Row]) -> int:
    """Tokens of the sequence that these rows share."""
    start = common_prefix(rows)
    return start + sum(len(row.input_ids) - start for row in rows)


def within(sized: Iterable[tuple[int, T]], tokens: int) -> Iterator[list[T]]:
    """Sequences (length, sequence) of like length together, in batches of at most so many tokens, padding included, and
    at least one sequence.
    """
    some: list[T] = []
    for length, sequence in sorted(sized, key=lambda each: each[0]):
        if some and length * (len(some) + 1) > tokens:
            yield some
            some = []
        some.append(sequence)
    if some:
        yield some
