"""Checks and subsets of any benchmark's splits: overlap of training and evaluation, halves, samples."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import combinations
from typing import NamedTuple
from zlib import crc32

from mmunlearner.core.names import did_you_mean
from mmunlearner.core.texts import appearance, is_blank, unwritable
from mmunlearner.data.example import TRAINING_SETS, Example, Splits
from mmunlearner.data.image_checks import check_mark, warn_of_shared_images
from mmunlearner.errors import DataError

BESIDE = ("neighbour", "stranger")
"""Groups of entities that the models know and that no unlearning set contains: a benchmark may have two kinds."""
GENERAL = "general"
"""Group of general ability, whose items are about no entity."""
GROUPS = ("forget", "retain", *BESIDE, GENERAL)
"""Groups of evaluation columns, in the order of the report's tables; a column is GROUP_vqa, GROUP_qa, ..."""


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


def set_hashes(splits: Splits) -> dict[str, str]:
    """Return set or column -> SHA-256 of its questions, in order: all that is asked, answered and shown."""
    return {name: _questions_hash(examples) for name, examples in splits.sets.items()}


def _questions_hash(examples: Iterable[Example]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        # Pictures by their bytes: a folder may be moved. Shots are drawn from the same questions.
        content = {field.name: getattr(example, field.name) for field in fields(example)}
        content |= {"images": example.image_keys, "shots": [shot.id for shot in example.shots]}
        digest.update(json.dumps(content).encode() + b"\n")
    return digest.hexdigest()


def group_of(column: str) -> str:
    """Return the group of a column or set: `forget_vqa_test` -> `forget`."""
    return column.split("_", maxsplit=1)[0]


def divide_general(columns: Mapping[str, tuple[Example, ...]]) -> dict[str, tuple[Example, ...]]:
    """Return the columns with `general` divided by modality, as all others are: general_vqa, general_qa."""
    divided: dict[str, tuple[Example, ...]] = {}
    for column, items in columns.items():
        if column == GENERAL and items:
            for modality in ("vqa", "qa"):
                if of_modality := tuple(item for item in items if item.modality == modality):
                    divided[f"{GENERAL}_{modality}"] = of_modality
        else:
            divided[column] = items
    return divided


def forget_others(splits: Splits, entities: Collection[str]) -> Splits:
    """Return the same data with other entities to forget: all others in the forget and retain sets are retained.

    Training questions and evaluation columns change sides by entity; texts and all other columns stay.

    Raises:
        DataError: an entity is in neither set, or none is left to retain.
    """
    known = {example.entity for example in (*splits.forget, *splits.retain)}
    for entity in entities:
        if entity not in known:
            raise DataError(f"{entity}: no such entity to forget; {did_you_mean(entity, sorted(known))}")
    if not known - set(entities):
        raise DataError(f"all {len(known)} entities are to be forgotten, so that none is left to retain")

    def divide(forget: Sequence[Example], retain: Sequence[Example]) -> Iterator[tuple[Example, ...]]:
        for wanted in (True, False):
            yield tuple(example for example in (*forget, *retain) if (example.entity in entities) == wanted)

    evaluation = dict(splits.evaluation)
    for column in splits.evaluation:
        if column.startswith("forget_") and (other := column.replace("forget_", "retain_", 1)) in evaluation:
            evaluation[column], evaluation[other] = divide(evaluation[column], evaluation[other])
    forget, retain = divide(splits.forget, splits.retain)
    return replace(splits, forget=forget, retain=retain, evaluation=evaluation)


def validation(splits: Splits) -> tuple[Splits, Splits]:
    """Return two copies of the splits: one half of the evaluated entities is for tuning, the other for testing.

    The entities of each group are divided into halves, general ability item by item. The training sets are the same in
    both copies.

    Raises:
        DataError: a group has only one entity.
    """
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for column, items in splits.evaluation.items():
        groups[group_of(column)] |= {cluster(column, item) for item in items}
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
            column: tuple(item for item in items if (cluster(column, item) in tuning[group_of(column)]) == tune)
            for column, items in splits.evaluation.items()
        }
        return replace(splits, evaluation=columns)

    return half(tune=True), half(tune=False)


def cluster(column: str, example: Example) -> str:
    """Return the name of an item's independent unit: its entity, or in a column of general ability the item itself."""
    return example.id if group_of(column) == GENERAL else example.entity


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
        DataError: a set is empty, two items of a column have the same id, an item lacks words, two entities have names
            that look the same, an entity is to be forgotten and kept, a question has the mark of an image, or a column
            has none of the questions that its name says.
    """
    for name in ("forget", "retain"):
        if not getattr(splits, name):
            raise DataError(f"{source}: the {name} set is empty: no training question about an image in it")
    for column, items in splits.evaluation.items():
        if not items:
            raise DataError(f"{source}: the evaluation column {column} is empty")
        if repeated := [id_ for id_, count in Counter(item.id for item in items).items() if count > 1]:
            raise DataError(f"{source}: two items of the column {column} have the id {repeated[0]}")
    sets = splits.sets
    for name, items in sets.items():
        for item in items:
            _check_words(item, f"{source}: {name}: {item.id}")
            check_mark(item, f"{source}: {name}: {item.id}")
    _check_names({name: items for name, items in sets.items() if group_of(name) != GENERAL}, source)
    _check_apart(sets, source)
    _check_kinds(splits.evaluation, source)
    warn_of_shared_images(splits, source)
    return splits


def _check_words(item: Example, where: str) -> None:
    """Raise an error if a text of an item shows nothing, or cannot be written to a file."""
    # Readers of tables have checked it and named row and column; this is for loaders of the user's own.
    texts = {"entity": item.entity, "question": item.question, "answer": item.answer}
    texts |= {f"choices[{k}]": choice for k, choice in enumerate(item.choices)}
    texts |= {f"perturbed[{k}]": answer for k, answer in enumerate(item.perturbed)}
    for field, text in texts.items():
        if unwritable(text) is not None or is_blank(text):
            raise DataError(f"{where}: {field} is no text that can be read: {text!a}")


def _check_kinds(columns: Mapping[str, Sequence[Example]], source: str) -> None:
    """Raise an error if no item of a column is of the kind that the column's name says."""
    for column, items in columns.items():
        kinds = [kind for kind in ("vqa", "qa") if kind in column.split("_")]
        if kinds and all(item.modality not in kinds for item in items):
            problem = "no question of it has an image" if kinds == ["vqa"] else "every question of it has an image"
            raise DataError(f"{source}: the column {column}: {problem} ({items[0].id}, ...)")


def _check_names(sets: Mapping[str, Sequence[Example]], source: str) -> None:
    """Raise an error if two entities have different names that look the same."""
    first_of: dict[str, Example] = {}
    entities = {item.entity: item for items in sets.values() for item in reversed(items)}  # each with its first item
    for name, item in entities.items():
        first = first_of.setdefault(appearance(name), item)
        if first.entity != name:
            raise DataError(
                f"{source}: the names {first.entity!a} ({first.id}) and {name!a} ({item.id}) look the same; "
                "write one entity in one way"
            )


def _check_apart(sets: Mapping[str, Sequence[Example]], source: str) -> None:
    """Raise an error if an entity is in two groups, or one to forget in the background; name both places."""
    first: defaultdict[str, dict[str, str]] = defaultdict(dict)  # side -> entity -> its first place
    for name, items in sets.items():
        side, place = group_of(name), f"the {name} set" if name in TRAINING_SETS else f"the column {name}"
        for item in items:
            # The oracle must not see whom it should not know; texts of the background show nobody.
            if side != "background" or item.images:
                first[side].setdefault(item.entity, f"{place} ({item.id})")
    # The text set is about everybody, and questions of general ability are about nobody.
    for one, other in (*combinations(GROUPS[:-1], 2), ("forget", "background")):
        if both := sorted(first[one].keys() & first[other].keys()):
            more = f" and {len(both) - 1} more" if len(both) > 1 else ""
            places = " and in ".join(first[side][both[0]] for side in (one, other))
            raise DataError(f"{source}: {both[0]}{more} is both in {places}; it must be in one")
