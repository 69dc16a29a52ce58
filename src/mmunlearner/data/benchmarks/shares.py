"""Benchmarks whose folders are named by shares: forget_5 with retain_95, Test_Set, Retain_Set; a row is a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mmunlearner.data.example import Example, Splits
from mmunlearner.data.schema import Cell
from mmunlearner.data.splits import check_apart
from mmunlearner.data.tables import Checked, has_table, read_table
from mmunlearner.errors import DataError


class Split(NamedTuple):
    """The rows of one split."""

    name: str
    rows: Sequence[Checked]

    @property
    def people(self) -> dict[str, Any]:
        """ID -> the person's last row."""
        return {row["ID"]: row for _, row in self.rows}

    def places(self) -> list[str]:
        """What begins the ids of each row's examples; several rows (views) of one person are numbered."""
        seen = Counter[str]()
        names = []
        for _, row in self.rows:
            seen[row["ID"]] += 1
            names.append(f"{self.name}/{row['ID']}" + (f".{seen[row['ID']]}" if seen[row["ID"]] > 1 else ""))
        return names


@dataclass(frozen=True)
class Dialect:
    """What a benchmark has of its own."""

    layout: Callable[[str], type]
    """Split's name -> the layout of its rows."""
    asked: Callable[[Any, str, Cell], list[Example]]
    """(row, beginning of ids, cell) -> evaluation items."""
    trained: Callable[[Path, Split], list[Example]]
    """(folder, people) -> training questions about their images."""
    texts: Callable[[Any, str], list[Example]]
    """(row, beginning of ids) -> texts that protect what is true of the person."""
    hints: Mapping[str, str]
    """Column of another layout -> what it tells."""

    def read(self, root: Path, split: str) -> Split:
        """A split's rows, of which there must be some.

        Raises:
            DataError: it is missing, empty or not in the layout.
        """
        if not root.is_dir():
            raise DataError(f"{root}: no such folder; expected the one that holds {split} and the other splits")
        if not has_table(root / split):
            there = ", ".join(sorted(path.name for path in root.iterdir() if has_table(path)))
            raise DataError(f"{root}: no split {split}; there are {there or 'none'} (other shares: --data.forget)")
        rows = list(read_table(root / split, self.layout(split), hints=self.hints))
        if not rows:
            raise DataError(f"{root / split}: an empty split; expected a row for each person")
        return Split(split, rows)


def load_shares(root: Path, forget: int, dialect: Dialect) -> Splits:
    """Read the benchmark for a forget set of `forget` per cent; without Test_Set or Retain_Set, without their columns.

    Raises:
        DataError: a split is missing, empty or not in the layout; or somebody is both to be forgotten and kept.
    """
    people = {
        "forget": dialect.read(root, f"forget_{forget}"),
        "retain": dialect.read(root, f"retain_{100 - forget}"),
    }
    check_apart(people["forget"].people, people["retain"].people, str(root))
    everybody = [split.people.values() for split in people.values()]
    evaluation = _evaluation(root, people, dialect)  # first, as it checks the rows
    return Splits(
        forget=_training(root, people["forget"], dialect),
        retain=_training(root, people["retain"], dialect),
        text=tuple(text for rows in everybody for row in rows for text in dialect.texts(row, f"text/{row['ID']}")),
        evaluation=evaluation,
    )


def _training(root: Path, people: Split, dialect: Dialect) -> tuple[Example, ...]:
    examples = dialect.trained(root, people)
    if without := sorted(set(people.people) - {e.entity for e in examples}):
        raise DataError(f"{root}: no training question about {without[0]}, who is in {people.name}")
    return tuple(examples)


def _evaluation(root: Path, people: Mapping[str, Split], dialect: Dialect) -> dict[str, tuple[Example, ...]]:
    columns: dict[str, tuple[Example, ...]] = {}
    for group, split in people.items():
        columns |= _columns(split, group, "", dialect)
    if has_table(root / "Test_Set"):
        test = dialect.read(root, "Test_Set")
        for group, split in people.items():
            own = [checked for checked in test.rows if checked.row["ID"] in split.people]
            columns |= _columns(Split(test.name, own), group, "_test", dialect)
    if has_table(root / "Retain_Set"):
        columns |= _columns(dialect.read(root, "Retain_Set"), "neighbour", "", dialect)
    if empty := [name for name, items in columns.items() if not items]:
        raise DataError(f"{root}: nothing to evaluate in {empty[0]}: its split asks no such questions of these people")
    return columns


def _columns(split: Split, group: str, suffix: str, dialect: Dialect) -> dict[str, tuple[Example, ...]]:
    """A split's questions by modality: GROUP_vqa and GROUP_qa."""
    places = zip(split.rows, split.places(), strict=True)
    items = [item for (cell, row), place in places for item in dialect.asked(row, place, cell)]
    return {f"{group}_{kind}{suffix}": tuple(e for e in items if e.modality == kind) for kind in ("vqa", "qa")}
