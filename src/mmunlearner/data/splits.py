"""What any benchmark's splits go through: overlap of training and evaluation, halves to tune and to test on, hashes."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mmunlearner.data.example import Example, Splits
from mmunlearner.data.hub import local_folder
from mmunlearner.errors import DataError


class Overlap(NamedTuple):
    """Evaluation items whose very question is trained on, by id."""

    text: tuple[str, ...]
    """Text-only items that `Splits.text` asks too: knowledge protected by rote."""
    image: tuple[str, ...]
    """Items that `forget` or `retain` asks of the same image."""

    def __str__(self) -> str:
        parts = [(self.text, "text questions", "text"), (self.image, "image questions", "forget or retain")]
        found = [
            f"{len(ids)} of the evaluated {what} are in the {where} set ({ids[0]}, ...)"
            for ids, what, where in parts
            if ids
        ]
        return "; ".join(found) or "no evaluated question is trained on"


def overlap(splits: Splits) -> Overlap:
    """Which evaluation items (by wording, in any case, and by image) unlearning trains on or protects."""
    texts = {_asked(e) for e in splits.text}
    images = {_asked(e) for e in (*splits.forget, *splits.retain)}
    items = [e for column in splits.evaluation.values() for e in column]
    return Overlap(
        tuple(e.id for e in items if not e.images and _asked(e) in texts),
        tuple(e.id for e in items if e.images and _asked(e) in images),
    )


def _asked(example: Example) -> tuple[str, tuple[str, ...]]:
    return " ".join(example.question.casefold().split()), example.image_keys


def validation(splits: Splits) -> tuple[Splits, Splits]:
    """The splits twice: with half of the evaluated entities to tune on, and with the other half to test on.

    Forget, retain and neighbour entities are halved each, an entity with all of its columns; `general` item by item.
    The training sets stay whole. Which half an entity is in depends on its name alone.

    Raises:
        DataError: a group has one entity only.
    """
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for column, items in splits.evaluation.items():
        groups[_group(column)] |= {unit(column, e) for e in items}
    chosen = {group: _half(units, group) for group, units in groups.items()}

    def keep(inside: bool) -> Splits:
        halves = {
            column: tuple(e for e in items if (unit(column, e) in chosen[_group(column)]) == inside)
            for column, items in splits.evaluation.items()
        }
        return replace(splits, evaluation=halves)

    return keep(True), keep(False)


def _group(column: str) -> str:
    return column.split("_", maxsplit=1)[0]


def unit(column: str, example: Example) -> str:
    """What stands for itself in a column: an entity with all its questions; an item, where they are about no entity."""
    return example.id if column == "general" else example.entity


def _half(units: Iterable[str], group: str) -> frozenset[str]:
    ordered = sorted(units, key=lambda unit: hashlib.sha256(unit.encode()).digest())
    if len(ordered) < 2:
        raise DataError(
            f"{group}: {', '.join(ordered) or 'nobody'} cannot be halved to tune and to test; leave out trials and "
            "train.stop_every"
        )
    return frozenset(ordered[: len(ordered) // 2])


def checked(splits: Splits, source: str) -> Splits:
    """The same splits, if they can be used.

    Raises:
        DataError: a set is empty, two items of a column have one id, or an entity is in forget and retain.
    """
    for name in ("forget", "retain"):
        if not getattr(splits, name):
            raise DataError(f"{source}: the {name} set is empty: no training question about an image in it")
    for column, items in splits.evaluation.items():
        if not items:
            raise DataError(f"{source}: the evaluation column {column} is empty")
        if twice := [id_ for id_, count in Counter(e.id for e in items).items() if count > 1]:
            raise DataError(f"{source}: two items of the column {column} have the id {twice[0]}")
    check_apart({e.entity for e in splits.forget}, {e.entity for e in splits.retain}, source)
    return splits


def check_apart(forget: Iterable[str], retain: Iterable[str], source: str) -> None:
    """Nobody can be forgotten and kept.

    Raises:
        DataError: somebody is to be.
    """
    if both := sorted(set(forget) & set(retain)):
        more = f" and {len(both) - 1} more" if len(both) > 1 else ""
        raise DataError(f"{source}: {both[0]}{more} is both in the forget set and in the retain set; it must be in one")


def data_hashes(root: Path | str) -> dict[str, str]:
    """File (relative, with `/`) -> sha256, of every file below a folder or a hub id's; hidden ones are left out.

    Raises:
        DataError: there is no such folder.
    """
    root = local_folder(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    files = sorted(path for path in root.rglob("*") if path.is_file())
    names = {path.relative_to(root).as_posix(): path for path in files}
    return {name: _sha256(path) for name, path in names.items() if not any(p.startswith(".") for p in name.split("/"))}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
