"""MLLMU-Bench (Liu et al. 2024, arXiv 2410.22108): its splits, from a folder in its layout (see `layout`).

forget, retain    training questions of baseline_train_split/forget_X and retain_Y, or of ft_Data by ID
text              `What is the {fact} of {Name}?` for everybody in forget_X and retain_Y (that is, in Full_Set)
forget_*, retain_*              what forget_X and retain_Y ask
forget_*_test, retain_*_test    what Test_Set asks about the same people, of other images; question k of a person's
                                image questions is asked of image k mod n
neighbour_*                     what Retain_Set (celebrities) asks
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmunlearner.data.benchmarks.facts import facts, texts
from mmunlearner.data.benchmarks.layout import layout_of
from mmunlearner.data.benchmarks.questions import asked, trained
from mmunlearner.data.benchmarks.shares import Dialect, Split, load_shares
from mmunlearner.data.example import Example, Splits
from mmunlearner.data.schema import Cell
from mmunlearner.data.tables import has_table
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
    return load_shares(Path(root), forget, DIALECT)


def _asked(row: Any, place: str, cell: Cell) -> list[Example]:
    images = row["images"] if "images" in row else [row["image"]]
    if not images:
        raise cell.inside("images").error("at least one image", "none")
    return asked(row, images, place, cell)


def _trained(root: Path, people: Split) -> list[Example]:
    """The training questions of these people: of their own split if there is one, or else of ft_Data."""
    own = f"baseline_train_split/{people.name}"
    split = DIALECT.read(root, own if has_table(root / own) else "ft_Data")
    if split.name == own and (strange := sorted(split.people.keys() ^ people.people.keys())):
        raise DataError(
            f"{root}: {strange[0]} is in only one of {own} and {people.name}; they must hold the same people"
        )
    known = {entity: facts(row["biography"]) for entity, row in people.people.items()}
    return [
        example
        for (_, row), place in zip(split.rows, split.places(), strict=True)
        if row["ID"] in known
        for example in trained(row, place, known[row["ID"]])
    ]


def _texts(row: Any, place: str) -> list[Example]:
    return texts(row["ID"], row["biography"], place)


DIALECT = Dialect(layout_of, _asked, _trained, _texts, HINTS)
