"""The general rows format: a folder of images and a table `questions`, a question per row (see docs/data.md).

The file does not contain the entities to forget: `data.forget_entities` names them. The set or column of a row:

    split   group      with image                                      without image
    train              forget or retain, by entity                     text
    eval               forget_vqa, retain_vqa                          forget_qa, retain_qa
    test               forget_vqa_test, retain_vqa_test                forget_qa_test, retain_qa_test
    train       neighbour, stranger, general    background (known to the vanilla model, never seen in unlearning)
    eval, test  neighbour  neighbour_vqa                               neighbour_qa
    eval, test  stranger   stranger_vqa                                stranger_qa
    eval, test  general    general_vqa                                 general_qa
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
from mmunlearner.core.texts import canonical, distinct
from mmunlearner.core.validation import Name, Text, one_line, shorten
from mmunlearner.data.example import Example, Splits, Task
from mmunlearner.data.images import SUFFIXES, ImageRef
from mmunlearner.data.splits import GROUPS, check_splits, group_of
from mmunlearner.data.tables import Cell, Images, check, read_table
from mmunlearner.errors import DataError

TABLE = "questions"
"""Name of the table without its suffix: any kind that `read_table` reads."""
FILE = f"{TABLE}.jsonl"
"""The file that `write` writes."""
Group = Literal["neighbour", "stranger", "general"]
"""Groups that a row may name; of the others its entity decides."""


class Row(TypedDict):
    """One row of the table of questions."""

    entity: Name
    """Person or thing that the question is about."""
    image: NotRequired[Images | None]
    """Path of the image, relative to the folder, or a list of several; absent or null: a question about text alone."""
    question: Text
    """Without options; a cloze has its blank written `__`."""
    answer: Text
    """In words; for multiple choice the right one of `choices`."""
    split: Literal["train", "eval", "test"]
    """`eval`: trained questions, in the same or other words; `test`: held-out ones, as other views, paraphrases."""
    group: NotRequired[Group | None]
    """Absent: the entity is one to forget or to retain."""
    task: NotRequired[Task | None]
    """Absent: `multiple_choice` if there are choices, else `generation`."""
    choices: NotRequired[list[Text] | None]
    perturbed: NotRequired[list[Text] | None]
    """Wrong answers of the same form; absent in multiple choice: the other choices."""
    paraphrase: NotRequired[Text | None]
    """The answer in other words."""
    attribute: NotRequired[Text | None]
    """Fact that is asked for."""
    id: NotRequired[Text | None]
    """Unique; absent: split, entity and line together."""


def load(root: Path | str, *, forget_entities: Sequence[str] = ()) -> Splits:
    """Load a folder in the rows format with these entities to forget.

    Raises:
        DataError: a row is wrong (names file, row and column), an entity to forget is unknown, or a set is empty.
    """
    return assemble(read(root), forget_entities=forget_entities, source=str(root))


def load_general(root: Path | str) -> tuple[Example, ...]:
    """Load the evaluation rows of a folder in the rows format, of any group, as a set of general ability.

    Raises:
        DataError: a row is wrong, or there are no evaluation rows.
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
    images: dict[str, ImageRef] = {}  # one object per file: each object reads its file once to compute its key
    row_of_id: dict[str, int] = {}
    pairs: list[tuple[Row, Example]] = []
    for cell, checked_row in read_table(Path(root) / TABLE, Row, strict=True):
        row = cast(Row, checked_row)  # `read_table` is typed for any layout
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
        DataError: task, choices, answer and blank do not fit together.
    """
    choices = tuple(row.get("choices") or ())
    task = row.get("task") or ("multiple_choice" if choices else "generation")
    if task == "cloze" and "__" not in row["question"]:
        raise cell.inside("question").error("a blank written `__` (task is cloze)", shorten(row["question"]))
    if choices and task != "multiple_choice":
        raise cell.inside("task").error("multiple_choice (there are choices)", task)
    # Equal choices would make two letters right; more than 26 have no letters.
    if task == "multiple_choice" and not (2 <= len(choices) <= len(ascii_uppercase) and distinct(choices)):
        raise cell.inside("choices").error("2 to 26 different texts (task is multiple_choice)", shorten(list(choices)))
    if task == "multiple_choice" and row["answer"] not in choices:
        known = one_line(", ".join(choices), 120)
        raise cell.inside("answer").error(f"one of the choices {known}", shorten(row["answer"]))
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


def assemble(rows: Iterable[tuple[Row, Example]], *, forget_entities: Sequence[str], source: str) -> Splits:
    """Put every row into its set or column, by the table at the top of this module.

    Raises:
        DataError: there is no entity to forget, one of them is unknown, or a set is empty.
    """
    rows = list(rows)
    # Entities of a group are in no training set of unlearning, so they cannot be forgotten.
    entities = sorted({row["entity"] for row, _ in rows if not row.get("group")})
    if not forget_entities:
        first = ", ".join(entities[:5])
        raise DataError(f"{source}: name the entities to forget (--data.forget_entities), e.g. some of {first}")
    forget_entities = [canonical(name) for name in forget_entities]
    if unknown := [entity for entity in forget_entities if entity not in entities]:
        raise DataError(f"{source}: no entity {unknown[0]!r} to forget; {did_you_mean(unknown[0], entities)}")
    sets: defaultdict[str, list[Example]] = defaultdict(list)
    for row, example in rows:
        sets[_set_of(row, example, frozenset(forget_entities))].append(example)
    forget, retain, text, background = (
        tuple(sets.pop(name, ())) for name in ("forget", "retain", "text", "background")
    )
    # Columns in the order of the groups; within a group in the order of their first rows.
    in_order = sorted(sets, key=lambda column: GROUPS.index(group_of(column)))
    evaluation = {column: tuple(sets[column]) for column in in_order}
    return check_splits(Splits(forget, retain, text, evaluation, background), source)


def _set_of(row: Row, example: Example, forget: frozenset[str]) -> str:
    """Return the name of the training set or evaluation column of a row."""
    group, split = row.get("group"), row["split"]
    if group:
        if split == "train":
            return "background"
        return f"{group}_{example.modality}"
    side = "forget" if row["entity"] in forget else "retain"
    if split == "train":
        return side if example.images else "text"
    return f"{side}_{example.modality}" + ("_test" if split == "test" else "")


def as_row(example: Example, split: Literal["train", "eval", "test"], *, group: Group | None = None) -> Row:
    """Return an example as a row, the inverse of `as_example`."""
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
    # Empty and absent mean the same in a row.
    return cast(Row, {name: value for name, value in row.items() if value})


def write(root: Path | str, rows: Iterable[Row]) -> Path:
    """Write a folder in the rows format, completely or not at all, in place of an existing one; return it.

    An image is stored under its `ImageRef.path` if that is relative and free, or else under a hash of its content.

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
            read(stage)  # a folder with a wrong row must not replace a good one
        except DataError as error:
            # The user knows the folder by its final name.
            raise DataError(str(error).replace(str(stage), str(root))) from None
    return root


def _store(image: ImageRef, stage: Path, cell: Cell) -> str:
    """Write an image into the staged folder; return its path in it."""
    try:
        data = image.read_bytes()
    except OSError as error:
        raise cell.error("a readable file", f"{image.path} ({error.strerror})") from None
    name = Path(image.path)
    used_by_another = (stage / name).is_file() and (stage / name).read_bytes() != data
    # A path that leads out of the folder, or without a suffix of an image, cannot be a name in it.
    if name.is_absolute() or ".." in name.parts or name.suffix.lower() not in SUFFIXES or used_by_another:
        name = Path("images") / hashlib.sha256(data).hexdigest()[:16]
    if not (stage / name).exists():
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / name).write_bytes(data)
    return name.as_posix()
