"""Checks and subsets of any benchmark's splits: overlap of training and evaluation, halves, samples."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple
from zlib import crc32

from mmunlearner.data.example import Example, Splits
from mmunlearner.errors import DataError

GENERAL = "general"
"""Column of general ability, whose items are about no entity."""


class Overlap(NamedTuple):
    """Ids of evaluation items whose question, word for word, is trained on."""

    text: tuple[str, ...]
    """Text-only items that are in `Splits.text` too: their answers are trained, so they do not test knowledge."""
    image: tuple[str, ...]
    """Items that are in `forget` or `retain` too, about the same images."""

    def __str__(self) -> str:
        parts = [(self.text, "text questions", "text"), (self.image, "image questions", "forget or retain")]
        sentences = [
            f"{len(ids)} of the evaluated {kind} are in the {name} set ({ids[0]}, ...)"
            for ids, kind, name in parts
            if ids
        ]
        return "; ".join(sentences) or "no evaluated question is trained on"


def overlap(splits: Splits) -> Overlap:
    """Find the evaluation items that unlearning trains on or protects, by wording and images."""

    def question(example: Example) -> tuple[str, tuple[str, ...]]:
        # Case and spaces may differ between files that hold the same question.
        return " ".join(example.question.casefold().split()), example.image_keys

    texts = {question(example) for example in splits.text}
    trained = {question(example) for example in (*splits.forget, *splits.retain)}
    items = [item for column in splits.evaluation.values() for item in column]
    return Overlap(
        tuple(item.id for item in items if not item.images and question(item) in texts),
        tuple(item.id for item in items if item.images and question(item) in trained),
    )


def validation(splits: Splits) -> tuple[Splits, Splits]:
    """Return two copies of the splits: one half of the evaluated entities is for tuning, the other for testing.

    The forget, retain and neighbour entities are each divided into halves, `general` item by item. The training sets
    are the same in both copies.

    Raises:
        DataError: a group has only one entity.
    """
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for column, items in splits.evaluation.items():
        groups[_group(column)] |= {cluster(column, item) for item in items}
    tuning: dict[str, frozenset[str]] = {}
    for group, clusters in groups.items():
        if len(clusters) < 2:
            raise DataError(
                f"{group}: {', '.join(clusters) or 'nobody'} cannot be halved to tune and to test; leave out trials "
                "and train.stop_every"
            )
        # Ordered by a hash: halves of the alphabet could differ in kind. No seed, so that every run on these entities
        # has the same halves.
        ordered = sorted(clusters, key=lambda name: hashlib.sha256(name.encode()).digest())
        tuning[group] = frozenset(ordered[: len(ordered) // 2])

    # By entity and not by item: an entity's texts in one half would tell of its images in the other.
    def half(*, tune: bool) -> Splits:
        columns = {
            column: tuple(item for item in items if (cluster(column, item) in tuning[_group(column)]) == tune)
            for column, items in splits.evaluation.items()
        }
        return replace(splits, evaluation=columns)

    return half(tune=True), half(tune=False)


def _group(column: str) -> str:
    """`forget_vqa_test` -> `forget`."""
    return column.split("_", maxsplit=1)[0]


def cluster(column: str, example: Example) -> str:
    """Return the name of an item's independent unit: its entity, or in the general column the item itself."""
    return example.id if column == GENERAL else example.entity


def sample_by_entity(examples: Sequence[Example], limit: int) -> list[Example]:
    """Return at most `limit` items (0: all), taken from the entities in turn; they keep the order of the input.

    An entity's items are taken in the order of a hash of their ids, so that no kind of question is left out.
    """
    if not limit or len(examples) <= limit:
        return list(examples)
    by_hash = sorted(range(len(examples)), key=lambda i: crc32(examples[i].id.encode()))
    count_of = Counter[str]()
    # Sorted by turn, each entity gives its first item before any entity gives its second.
    turns: list[tuple[int, int]] = []  # (number of items of the same entity before this one, index)
    for i in by_hash:
        turns.append((count_of[examples[i].entity], i))
        count_of[examples[i].entity] += 1
    return [examples[i] for i in sorted(i for _, i in sorted(turns)[:limit])]


def check_splits(splits: Splits, source: str) -> Splits:
    """Return the splits unchanged after checking that a run can use them.

    Raises:
        DataError: a set is empty, two items of a column have the same id, or an entity is in forget and in retain.
    """
    for name in ("forget", "retain"):
        if not getattr(splits, name):
            raise DataError(f"{source}: the {name} set is empty: no training question about an image in it")
    for column, items in splits.evaluation.items():
        if not items:
            raise DataError(f"{source}: the evaluation column {column} is empty")
        if repeated := [id_ for id_, count in Counter(item.id for item in items).items() if count > 1]:
            raise DataError(f"{source}: two items of the column {column} have the id {repeated[0]}")
    check_disjoint({e.entity for e in splits.forget}, {e.entity for e in splits.retain}, source)
    return splits


def check_disjoint(forget: Iterable[str], retain: Iterable[str], source: str) -> None:
    """Check that no entity is in the forget set and in the retain set.

    Raises:
        DataError: an entity is in both.
    """
    if both := sorted(set(forget) & set(retain)):
        more = f" and {len(both) - 1} more" if len(both) > 1 else ""
        raise DataError(f"{source}: {both[0]}{more} is both in the forget set and in the retain set; it must be in one")
