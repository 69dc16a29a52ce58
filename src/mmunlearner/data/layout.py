"""MLLMU-Bench's layout on disk: one folder per split, each row a person, and the writer of it.

ROOT/Full_Set/train-00000-of-00001.parquet       everybody: `Person`
ROOT/Test_Set/...                                 everybody, other images and paraphrased questions: `HeldOutPerson`
ROOT/Retain_Set/...                               people outside the training set: `Person`
ROOT/forget_5/..., ROOT/retain_95/...             the parts of Full_Set (also 10 / 90, 15 / 85, ...): `Person`
ROOT/ft_Data/...                                  everybody's training questions: `TrainingPerson`
ROOT/baseline_train_split/forget_5/..., retain_95 the parts of ft_Data: `TrainingPerson`
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from mmunlearner.data.example import ImageRef
from mmunlearner.data.schema import Cell, Json, Text, columns, fit
from mmunlearner.files import write_bytes

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


class Person(Facts):
    image: ImageRef


class HeldOutPerson(Facts):
    images: list[ImageRef]


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

    A row has the columns of `layout_of(split)`. Images are encoded bytes (PNG, JPEG) or `ImageRef`; `biography` and
    `metadata` may be given as JSON text or as values. Equal rows give equal bytes.

    Raises:
        DataError: a row does not fit the layout; names row and column.
    """
    path = Path(root) / split / FILE
    kind = layout_of(split)
    fitted = [fit(row, kind, Cell(path, number)) for number, row in enumerate(rows, 1)]
    table = pa.Table.from_pylist([_cells(row) for row in fitted], schema=_schema(kind, _letters(fitted)))
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd", row_group_size=100)
    return write_bytes(path, stream.getvalue())


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as its table stores it."""
    return {name: _cell(name, value) for name, value in row.items()}


def _cell(column: str, value: Any) -> Any:
    if column in ("biography", "metadata"):
        return json.dumps(value, ensure_ascii=False)
    if column == "images":
        return [_image_cell(image) for image in value]
    return _image_cell(value) if column == "image" else value


def _image_cell(image: ImageRef) -> dict[str, bytes | str | None]:
    data = image.data if image.data is not None else Path(image.path).read_bytes()
    return {"bytes": data, "path": None if image.data is not None else Path(image.path).name}


def _letters(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The options' letters: A to D, and others that a question has."""
    lists = [questions for row in rows for questions in row.get("Classification_Task", {}).values()]
    return sorted({*ascii_uppercase[:4], *(letter for list_ in lists for item in list_ for letter in item["Options"])})


def _schema(kind: type, letters: Sequence[str]) -> pa.Schema:
    """Columns in the order of the published files, with the metadata by which `datasets` decodes the images."""
    text = pa.string()
    image = pa.struct({"bytes": pa.binary(), "path": text})
    choices = pa.list_(
        pa.struct({"Question": text, "Options": pa.struct(dict.fromkeys(letters, text)), "Correct_Answer": text})
    )
    open_questions = pa.list_(pa.struct({"Type": text, "Question": text, "Ground_Truth": text}))
    types: dict[str, pa.DataType] = {
        "ID": text,
        **({"images": pa.list_(image)} if kind is HeldOutPerson else {"image": image}),
        "metadata": text,
        "biography": text,
        "question": text,
        "answer": text,
        "Classification_Task": pa.struct({"Image_Textual_Questions": choices, "Pure_Text_Questions": choices}),
        "Generation_Task": open_questions,
        "Mask_Task": open_questions,
    }
    kept = {name: type_ for name, type_ in types.items() if name in columns(kind)}
    info = {"info": {"features": {name: _feature(type_) for name, type_ in kept.items()}}}
    return pa.schema(kept, metadata={"huggingface": json.dumps(info)})


def _feature(kind: pa.DataType) -> Any:
    """An Arrow type in the words of `datasets`."""
    if pa.types.is_list(kind):
        return [_feature(kind.value_type)]
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        return {"_type": "Image"} if names == ["bytes", "path"] else {f.name: _feature(f.type) for f in kind}
    return {"dtype": "string", "_type": "Value"}
