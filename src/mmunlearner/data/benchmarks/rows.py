"""The general rows format: a folder of images and `questions.jsonl`, a question per line (see docs/data.md).

The file does not say who is forgotten: `data.forget_entities` does. The set or column of a row:

    split   group      with image                                      without image
    train              forget or retain, by entity                     text
    eval               forget_vqa, retain_vqa                          forget_qa, retain_qa
    test               forget_vqa_test, retain_vqa_test                forget_qa_test, retain_qa_test
    train   neighbour  background (known to the vanilla model, never seen in unlearning)
    eval, test  neighbour  neighbour_vqa                               neighbour_qa
    train   general    background
    eval, test  general    general                                     general
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal, NotRequired, cast

from typing_extensions import TypedDict

from mmunlearner.core.files import staged_dir, write_text
from mmunlearner.core.names import did_you_mean
from mmunlearner.core.validation import Text, shorten
from mmunlearner.data.example import Example, Splits, Task
from mmunlearner.data.images import ImageRef
from mmunlearner.data.splits import check_splits
from mmunlearner.data.tables import Cell, Images, check, read_table
from mmunlearner.errors import DataError

FILE = "questions.jsonl"
GROUPS = ("forget", "retain", "neighbour", "general")
"""Groups of evaluation columns, in the order of the report's tables."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")


class Row(TypedDict):
    """One line of `questions.jsonl`."""

    entity: Text
    """Person or thing that the question is about."""
    image: NotRequired[Images | None]
    """Path of the image, relative to the folder, or a list of several; absent or null: a question about text alone."""
    question: Text
    """Without options; a cloze has its blank written `__`."""
    answer: Text
    """In words; for multiple choice the right one of `choices`."""
    split: Literal["train", "eval", "test"]
    """`eval` asks what was trained, in other words or the same; `test` what was held out: other views, paraphrases."""
    group: NotRequired[Literal["neighbour", "general"] | None]
    """Absent: an entity that is forgotten or retained."""
    task: NotRequired[Task | None]
    """Absent: `multiple_choice` where there are choices, else `generation`."""
    choices: NotRequired[list[Text] | None]
    perturbed: NotRequired[list[Text] | None]
    """Wrong answers of the same form; absent in multiple choice: the other choices."""
    paraphrase: NotRequired[Text | None]
    """The answer in other words."""
    attribute: NotRequired[Text | None]
    """Fact that is asked for."""
    id: NotRequired[Text | None]
    """Unique; absent: made of split, entity and line."""


def load(root: Path | str, *, forget_entities: Sequence[str] = ()) -> Splits:
    """Load a folder in the rows format; the entities named are to be forgotten.

    Raises:
        DataError: a row is wrong (file, row and column are named), an entity to forget is unknown, a set is empty.
    """
    return assemble(read(root), forget_entities=forget_entities, source=str(root))


def load_general(root: Path | str) -> tuple[Example, ...]:
    """Load the evaluation rows of a folder in the rows format, whatever their group: a set of general ability.

    Raises:
        DataError: a row is wrong, or there is none.
    """
    items = tuple(example for row, example in read(root) if row["split"] != "train")
    if not items:
        raise DataError(f"{root}: no row of split eval or test")
    return items


def read(root: Path | str) -> list[tuple[Row, Example]]:
    """Read all rows of a folder, each with its example; equal image paths are one `ImageRef`.

    Raises:
        DataError: a row is wrong; names file, row and column.
    """
    images: dict[str, ImageRef] = {}  # one object per file, as each computes the key of its content once
    row_of_id: dict[str, int] = {}
    pairs: list[tuple[Row, Example]] = []
    for cell, fitted in read_table(Path(root) / FILE, Row, strict=True):
        row = cast(Row, fitted)
        if refs := row.get("image"):
            row["image"] = [images.setdefault(ref.path, ref) for ref in refs]
        example = as_example(row, cell)
        if example.id in row_of_id:
            raise cell.inside("id").error("an id of its own", f"{example.id}, which row {row_of_id[example.id]} has")
        row_of_id[example.id] = cell.row
        pairs.append((row, example))
    return pairs


def as_example(row: Row, cell: Cell) -> Example:
    """Return the example of a row.

    Raises:
        DataError: task, choices, answer and blank do not go together.
    """
    choices = tuple(row.get("choices") or ())
    task = row.get("task") or ("multiple_choice" if choices else "generation")
    _check_task(row, task, choices, cell)
    return Example(
        id=row.get("id") or f"{row['split']}/{row['entity']}/{cell.row}",
        entity=row["entity"],
        question=row["question"],
        answer=row["answer"],
        images=tuple(row.get("image") or ()),
        task=task,
        choices=choices,
        perturbed=tuple(row.get("perturbed") or (choice for choice in choices if choice != row["answer"])),
        paraphrase=row.get("paraphrase") or "",
        attribute=row.get("attribute") or "",
    )


def _check_task(row: Row, task: Task, choices: Sequence[str], cell: Cell) -> None:
    if task == "cloze" and "__" not in row["question"]:
        raise cell.inside("question").error("a blank written `__` (task is cloze)", shorten(row["question"]))
    if task != "multiple_choice":
        if choices:
            raise cell.inside("task").error("multiple_choice (there are choices)", task)
        return
    if not 2 <= len(set(choices)) == len(choices) <= len(ascii_uppercase):
        raise cell.inside("choices").error("2 to 26 different texts (task is multiple_choice)", shorten(list(choices)))
    if row["answer"] not in choices:
        raise cell.inside("answer").error(f"one of the choices {', '.join(choices)}", shorten(row["answer"]))


def assemble(rows: Iterable[tuple[Row, Example]], *, forget_entities: Sequence[str], source: str) -> Splits:
    """Put every row into the set or column that the table at the top of this module names.

    Raises:
        DataError: an entity to forget is unknown, none is named, or a set is empty.
    """
    rows = list(rows)
    entities = sorted({row["entity"] for row, _ in rows if not row.get("group")})
    if not forget_entities:
        first = ", ".join(entities[:5])
        raise DataError(f"{source}: name the entities to forget (--data.forget_entities), e.g. some of {first}")
    if unknown := [entity for entity in forget_entities if entity not in entities]:
        raise DataError(f"{source}: no entity {unknown[0]!r} to forget; {did_you_mean(unknown[0], entities)}")
    sets: defaultdict[str, list[Example]] = defaultdict(list)
    for row, example in rows:
        sets[_set_of(row, example, frozenset(forget_entities))].append(example)
    forget, retain, text, background = (
        tuple(sets.pop(name, ())) for name in ("forget", "retain", "text", "background")
    )
    # Columns in the order of the groups; within a group in the order of their first rows.
    in_order = sorted(sets, key=lambda column: GROUPS.index(column.split("_", maxsplit=1)[0]))
    evaluation = {column: tuple(sets[column]) for column in in_order}
    return check_splits(Splits(forget, retain, text, evaluation, background), source)


def _set_of(row: Row, example: Example, forget: frozenset[str]) -> str:
    """Return the name of a row's training set or evaluation column."""
    group, split = row.get("group"), row["split"]
    if group:
        if split == "train":
            return "background"
        return "general" if group == "general" else f"{group}_{example.modality}"
    side = "forget" if row["entity"] in forget else "retain"
    if split == "train":
        return side if example.images else "text"
    return f"{side}_{example.modality}" + ("_test" if split == "test" else "")


def as_row(
    example: Example, split: Literal["train", "eval", "test"], *, group: Literal["neighbour", "general"] | None = None
) -> Row:
    """Return an example as a row: the opposite of `as_example`."""
    row: dict[str, Any] = {
        "entity": example.entity,
        "image": list(example.images),
        "question": example.question,
        "answer": example.answer,
        "split": split,
        "group": group,
        "task": example.task,
        "choices": list(example.choices),
        "perturbed": list(example.perturbed),
        "paraphrase": example.paraphrase,
        "attribute": example.attribute,
        "id": example.id,
    }
    return cast(Row, {name: value for name, value in row.items() if value})


def write(root: Path | str, rows: Iterable[Row]) -> Path:
    """Write a folder in the rows format, whole or not at all (an existing one is replaced); return it.

    An image is stored under its `ImageRef.path` where that is relative, or else under a hash of its content.

    Raises:
        DataError: a row is wrong.
    """
    root = Path(root)
    with staged_dir(root) as stage:
        lines: list[str] = []
        for number, row in enumerate(rows, 1):
            at = Cell(root / FILE, number).inside("image")
            paths = [_store(image, stage, at) for image in check(row.get("image") or [], Images, at)]
            image = {"image": paths[0] if len(paths) == 1 else paths} if paths else {}
            lines.append(json.dumps({**row, **image}, ensure_ascii=False) + "\n")
        write_text(stage / FILE, "".join(lines))
        try:
            read(stage)  # a folder that cannot be read back never takes the place of one that can
        except DataError as error:
            raise DataError(str(error).replace(str(stage), str(root))) from None
    return root


def _store(image: ImageRef, stage: Path, cell: Cell) -> str:
    """Write an image into the folder that is being filled; return its path there."""
    try:
        data = image.read_bytes()
    except OSError as error:
        raise cell.error("a readable file", f"{image.path} ({error.strerror})") from None
    name = Path(image.path)
    used_by_another = (stage / name).is_file() and (stage / name).read_bytes() != data
    if name.is_absolute() or ".." in name.parts or name.suffix.lower() not in SUFFIXES or used_by_another:
        name = Path("images") / hashlib.sha256(data).hexdigest()[:16]
    if not (stage / name).exists():
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / name).write_bytes(data)
    return name.as_posix()
