"""MLLMU-Bench's layout on disk: one folder per split, each row a person, and the writer of it.

ROOT/Full_Set/train-00000-of-00001.parquet       everybody: `Person`
ROOT/Test_Set/...                                 everybody, other images and paraphrased questions: `HeldOutPerson`
ROOT/Retain_Set/...                               people outside the training set: `Person`
ROOT/forget_5/..., ROOT/retain_95/...             the parts of Full_Set (also 10 / 90, 15 / 85, ...): `Person`
ROOT/ft_Data/...                                  everybody's training questions: `TrainingPerson`
ROOT/baseline_train_split/forget_5/..., retain_95 the parts of ft_Data: `TrainingPerson`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from mmunlearner.data.example import ImageRef
from mmunlearner.data.schema import Json, Text

FILE = "train-00000-of-00001.parquet"
TRAINING = ("ft_Data", "baseline_train_split/")
"""Beginnings of the names of splits that hold training questions."""


class ChoiceQuestion(TypedDict):
    Question: Text
    Options: dict[str, str]
    """Letter -> text: A to D in MLLMU-Bench."""
    Correct_Answer: Text
    """A letter."""


class ChoiceQuestions(TypedDict):
    Image_Textual_Questions: list[ChoiceQuestion]
    Pure_Text_Questions: list[ChoiceQuestion]


class OpenQuestion(TypedDict):
    Type: Literal["Image_Textual", "Pure_Text"]
    Question: Text
    """In `Mask_Task` with a blank, written `__`."""
    Ground_Truth: Text


class Facts(TypedDict):
    """What a person's questions are made from, and the questions themselves."""

    ID: Text
    biography: Annotated[dict[str, object], Json]
    """Fact -> value, among them `Name`."""
    question: NotRequired[str | None]
    """An open request (`Describe ...`) and its answer: the original's, not used by this package."""
    answer: NotRequired[str | None]
    Classification_Task: ChoiceQuestions
    Generation_Task: list[OpenQuestion]
    Mask_Task: list[OpenQuestion]


class Pictured(TypedDict):
    ID: Text
    image: ImageRef


class PicturedOften(TypedDict):
    ID: Text
    images: list[ImageRef]


class Person(Pictured, Facts):
    """Columns in the order of the published files."""


class HeldOutPerson(PicturedOften, Facts):
    """The same of Test_Set."""


class QuestionAnswer(TypedDict):
    Question: Text
    Answer: Text


class TrainingPerson(TypedDict):
    ID: Text
    image: ImageRef
    metadata: Annotated[list[QuestionAnswer], Json]


def layout_of(split: str) -> type:
    """The layout of a split's rows, by the split's name."""
    if split.startswith(TRAINING):
        return TrainingPerson
    return HeldOutPerson if split == "Test_Set" else Person


def write_split(root: Path | str, split: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write ROOT/SPLIT/train-00000-of-00001.parquet, whole or not at all; returns the file.

    A row has the columns of `layout_of(split)`. Images are encoded bytes (PNG, JPEG), PIL images or `ImageRef`;
    `biography` and `metadata` may be given as JSON text or as values. Equal rows give equal bytes.

    Raises:
        DataError: a row does not fit the layout; names row and column.
    """
    from mmunlearner.data.parquet import write_parquet

    return write_parquet(Path(root) / split / FILE, layout_of(split), rows)
