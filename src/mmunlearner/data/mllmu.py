"""MLLMU-Bench (Liu et al. 2024, arXiv 2410.22108): its splits, from a folder in its layout (see `layout`).

forget, retain    training questions of baseline_train_split/forget_X and retain_Y, or of ft_Data by ID
text              `What is the {fact} of {Name}?` for everybody in forget_X and retain_Y (that is, in Full_Set)
forget_*, retain_*              what forget_X and retain_Y ask
forget_*_test, retain_*_test    what Test_Set asks about the same people, of other images; question k of a person's
                                image questions is asked of image k mod n
neighbour_*                     what Retain_Set (celebrities) asks
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmunlearner.data.checks import check_apart
from mmunlearner.data.example import Example, ImageRef, Splits
from mmunlearner.data.facts import facts, texts
from mmunlearner.data.layout import layout_of
from mmunlearner.data.questions import asked, trained
from mmunlearner.data.schema import Cell
from mmunlearner.data.tables import Checked, has_table, read_table
from mmunlearner.errors import DataError

HINTS: Mapping[str, str] = {
    "images": "`images`, a list, belongs to Test_Set alone: is this Test_Set under another name?",
    "image": "Test_Set holds a list, `images`: is this Full_Set under another name, or a Test_Set of an early release?",
    "metadata": "`metadata` belongs to training splits (ft_Data, baseline_train_split), which ask nothing else",
    "Classification_Task": "This is an evaluation split; training splits hold `metadata`",
    "MM_QA": "This is UMU-Bench's layout: use --data.format umu",
    "Image_Textual_Questions": "The tasks stand side by side; MLLMU-Bench has them within `Classification_Task`",
}
"""Column of another layout -> what it tells."""


def load(root: Path | str, *, forget: int = 5) -> Splits:
    """Read the benchmark for a forget set of `forget` per cent; without Test_Set or Retain_Set, without their columns.

    Raises:
        DataError: a split is missing, empty or not in the layout; or somebody is both to be forgotten and kept.
    """
    root = Path(root)
    people = {"forget": _people(root, f"forget_{forget}"), "retain": _people(root, f"retain_{100 - forget}")}
    check_apart(people["forget"].biographies, people["retain"].biographies, str(root))
    biographies = people["forget"].biographies | people["retain"].biographies
    return Splits(
        forget=_training(root, people["forget"]),
        retain=_training(root, people["retain"]),
        text=tuple(text for entity, biography in biographies.items() for text in texts(entity, biography)),
        evaluation=_evaluation(root, people),
    )


class _Split(NamedTuple):
    """The rows of one split."""

    name: str
    rows: Sequence[Checked]

    @property
    def biographies(self) -> dict[str, dict[str, Any]]:
        return {row["ID"]: row["biography"] for _, row in self.rows}


def _people(root: Path, split: str) -> _Split:
    """A split's rows, of which there must be some."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected the one that holds {split} and MLLMU-Bench's other splits")
    if not has_table(root / split):
        there = ", ".join(sorted(path.name for path in root.iterdir() if has_table(path)))
        raise DataError(f"{root}: no split {split}; there are {there or 'none'} (other shares: --data.forget)")
    rows = list(read_table(root / split, layout_of(split), hints=HINTS))
    if not rows:
        raise DataError(f"{root / split}: an empty split; expected a row for each person")
    return _Split(split, rows)


def _training(root: Path, people: _Split) -> tuple[Example, ...]:
    """The training questions of these people: of their own split if there is one, or else of ft_Data."""
    own = f"baseline_train_split/{people.name}"
    split = _people(root, own if has_table(root / own) else "ft_Data")
    if split.name == own and (strange := sorted({row["ID"] for _, row in split.rows} ^ set(people.biographies))):
        raise DataError(
            f"{root}: {strange[0]} is in only one of {own} and {people.name}; they must hold the same people"
        )
    numbered = Counter[str]()
    examples: list[Example] = []
    for _, row in split.rows:
        if row["ID"] in people.biographies:
            known = facts(people.biographies[row["ID"]])
            examples += trained(row, f"{split.name}/{_place(row['ID'], numbered)}", known)
    if without := sorted(set(people.biographies) - {e.entity for e in examples}):
        raise DataError(f"{root / split.name}: no training question about {without[0]}, who is in {people.name}")
    return tuple(examples)


def _place(entity: str, seen: Counter[str]) -> str:
    """A row's name within its split: the person's, numbered where there are several rows (views) of one person."""
    seen[entity] += 1
    return entity if seen[entity] == 1 else f"{entity}.{seen[entity]}"


def _evaluation(root: Path, people: Mapping[str, _Split]) -> dict[str, tuple[Example, ...]]:
    columns: dict[str, list[Example]] = {}
    for group, split in people.items():
        columns |= _columns(split, group, "")
    if has_table(root / "Test_Set"):
        test = _people(root, "Test_Set")
        for group, split in people.items():
            own = [checked for checked in test.rows if checked.row["ID"] in split.biographies]
            columns |= _columns(_Split(test.name, own), group, "_test")
    if has_table(root / "Retain_Set"):
        columns |= _columns(_people(root, "Retain_Set"), "neighbour", "")
    if empty := [name for name, items in columns.items() if not items]:
        raise DataError(f"{root}: nothing to evaluate in {empty[0]}: its split asks no such questions of these people")
    return {name: tuple(items) for name, items in columns.items()}


def _columns(split: _Split, group: str, suffix: str) -> dict[str, list[Example]]:
    """A split's questions by modality: GROUP_vqa and GROUP_qa."""
    numbered = Counter[str]()
    items = [
        item
        for cell, row in split.rows
        for item in asked(row, _images(row, cell), f"{split.name}/{_place(row['ID'], numbered)}", cell)
    ]
    return {f"{group}_{kind}{suffix}": [e for e in items if e.modality == kind] for kind in ("vqa", "qa")}


def _images(row: Mapping[str, Any], cell: Cell) -> list[ImageRef]:
    images = row["images"] if "images" in row else [row["image"]]
    if not images:
        raise cell.inside("images").error("at least one image", "none")
    return images
