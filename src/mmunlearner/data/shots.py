"""Few-shot evaluation: solved questions about others are shown before each question is asked.

Shots are about people who are retained, so that nothing that is to be forgotten is given away, and ask for the same
task in the same modality; before a general question, other general questions are shown. They are shown in words alone:
a row has the images of its question alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from mmunlearner.data.example import Example
from mmunlearner.data.splits import unit
from mmunlearner.errors import DataError

Columns = Mapping[str, tuple[Example, ...]]
GENERAL = "general"


def with_shots(columns: Columns, count: int, *, seed: int = 0) -> Columns:
    """The columns with `count` shots before each question; the same shots for the same seed, count and item.

    Nothing about an item's own entity is shown before it, so that no answer of its is given away.

    Raises:
        DataError: there are fewer questions about others than are to be shown.
    """
    if not count:
        return columns
    pools: defaultdict[tuple[str, str], list[Example]] = defaultdict(list)
    for column, items in columns.items():
        if column == GENERAL or column.startswith("retain_"):
            for item in items:
                pools[_kind(column, item)].append(item)
    return {
        column: tuple(
            replace(item, shots=_drawn(column, item, pools[_kind(column, item)], count, seed)) for item in items
        )
        for column, items in columns.items()
    }


def _kind(column: str, item: Example) -> tuple[str, str]:
    return GENERAL if column == GENERAL else item.modality, item.task


def _drawn(column: str, item: Example, pool: Sequence[Example], count: int, seed: int) -> tuple[Example, ...]:
    own = unit(column, item)
    others = [other for other in pool if unit(column, other) != own]
    if len(others) < count:
        raise DataError(
            f"{column}: {item.id}: there are {len(others)} retained questions of its kind ({item.task}) about others; "
            f"evaluate.shots {count} cannot be shown"
        )
    return tuple(Random(f"{seed} {item.id}").sample(others, count))
