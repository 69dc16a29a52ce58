"""The general rows format: a folder of images and `questions.jsonl`, a question per line (see docs/data.md).

Who is forgotten is not in the file: it is said when the rows are read. Where a row goes:

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
from typing import Any, Literal, NotRequired, TypedDict, cast

from mmunlearner.core.files import staged_dir, write_text
from mmunlearner.core.names import did_you_mean
from mmunlearner.data.example import Example, ImageRef, Splits, Task
from mmunlearner.data.schema import Cell, Pictures, Text, or_one, pictures, shown
from mmunlearner.data.splits import checked
from mmunlearner.data.tables import read_table
from mmunlearner.errors import DataError

FILE = "questions.jsonl"
GROUPS = ("forget", "retain", "neighbour", "general")
"""Of evaluation columns, as tables show them."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")


class Row(TypedDict):
    """One line of `questions.jsonl`."""

    entity: Text
    """Whom or what it is about."""
    image: NotRequired[Pictures | None]
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
    """Which fact is asked."""
    id: NotRequired[Text | None]
    """Unique; absent: made of split, entity and line."""


def load(root: Path | str, *, forget_entities: Sequence[str] = ()) -> Splits:
    """Read a folder in the rows format; the entities named are to be forgotten.

    Raises:
        DataError: a row is wrong (file, row and column are named), an entity to forget is unknown, a set is empty.
    """
    return assemble(read(root), forget_entities=forget_entities, source=str(root))


def load_general(root: Path | str) -> tuple[Example, ...]:
    """The evaluation rows of a folder in the rows format, whatever their group: a set of general ability.

    Raises:
        DataError: a row is wrong, or there is none.
    """
    items = tuple(example for row, example in read(root) if row["split"] != "train")
    if not items:
        raise DataError(f"{root}: no row of split eval or test")
    return items


def read(root: Path | str) -> list[tuple[Row, Example]]:
    """All rows of a folder and what they ask; equal image paths are one `ImageRef`.

    Raises:
        DataError: a row is wrong; names file, row and column.
    """
    images: dict[str, ImageRef] = {}
    places: dict[str, int] = {}
    found: list[tuple[Row, Example]] = []
    for cell, fitted in read_table(Path(root) / FILE, Row, strict=True):
        row = cast(Row, fitted)
        if refs := row.get("image"):
            row["image"] = [images.setdefault(ref.path, ref) for ref in refs]
        made = example(row, cell)
        if made.id in places:
            raise cell.inside("id").error("an id of its own", f"{made.id}, which row {places[made.id]} has")
        places[made.id] = cell.row
        found.append((row, made))
    return found


def example(row: Row, cell: Cell) -> Example:
    """What a row asks.

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
        raise cell.inside("question").error("a blank written `__` (task is cloze)", shown(row["question"]))
    if task != "multiple_choice":
        if choices:
            raise cell.inside("task").error("multiple_choice (there are choices)", task)
        return
    if not 2 <= len(set(choices)) == len(choices) <= len(ascii_uppercase):
        raise cell.inside("choices").error("2 to 26 different texts (task is multiple_choice)", shown(list(choices)))
    if row["answer"] not in choices:
        raise cell.inside("answer").error(f"one of the choices {', '.join(choices)}", shown(row["answer"]))


def assemble(rows: Iterable[tuple[Row, Example]], *, forget_entities: Sequence[str], source: str) -> Splits:
    """Put every row where the table at the top of this module says.

    Raises:
        DataError: an entity to forget is unknown, none is named, or a set is empty.
    """
    rows = list(rows)
    known = sorted({row["entity"] for row, _ in rows if not row.get("group")})
    _check_known(forget_entities, known, source)
    places: defaultdict[str, list[Example]] = defaultdict(list)
    for row, made in rows:
        places[_place(row, made, frozenset(forget_entities))].append(made)
    forget, retain, text, background = (
        tuple(places.pop(name, ())) for name in ("forget", "retain", "text", "background")
    )
    in_order = sorted(places, key=lambda column: GROUPS.index(column.split("_", maxsplit=1)[0]))
    evaluation = {column: tuple(places[column]) for column in in_order}
    return checked(Splits(forget, retain, text, evaluation, background), source)


def _place(row: Row, made: Example, forget: frozenset[str]) -> str:
    """Training set or evaluation column of a row."""
    group = row.get("group")
    if group:
        return "background" if row["split"] == "train" else group if group == "general" else f"{group}_{made.modality}"
    side = "forget" if row["entity"] in forget else "retain"
    if row["split"] == "train":
        return side if made.images else "text"
    return f"{side}_{made.modality}" + ("_test" if row["split"] == "test" else "")


def _check_known(forget: Sequence[str], known: Sequence[str], source: str) -> None:
    if not forget:
        some = ", ".join(known[:5])
        raise DataError(f"{source}: name the entities to forget (--data.forget_entities), e.g. some of {some}")
    if unknown := [entity for entity in forget if entity not in known]:
        raise DataError(f"{source}: no entity {unknown[0]!r} to forget; {did_you_mean(unknown[0], known)}")


def as_row(
    made: Example, split: Literal["train", "eval", "test"], *, group: Literal["neighbour", "general"] | None = None
) -> Row:
    """An example as a row: the opposite of `example`."""
    row: dict[str, Any] = {"entity": made.entity, "image": list(made.images), "question": made.question}
    row |= {"answer": made.answer, "split": split, "group": group, "task": made.task, "choices": list(made.choices)}
    row |= {
        "perturbed": list(made.perturbed),
        "paraphrase": made.paraphrase,
        "attribute": made.attribute,
        "id": made.id,
    }
    return cast(Row, {name: value for name, value in row.items() if value})


def write(root: Path | str, rows: Iterable[Row]) -> Path:
    """Write a folder in the rows format, whole or not at all (an existing one is replaced); returns it.

    An image is stored under the relative path that its `ImageRef` bears, or else under a name made of its content.

    Raises:
        DataError: a row is wrong.
    """
    root = Path(root)
    with staged_dir(root) as stage:
        lines = [_line(row, stage, Cell(root / FILE, number)) for number, row in enumerate(rows, 1)]
        write_text(stage / FILE, "".join(lines))
        try:
            read(stage)
        except DataError as error:
            raise DataError(str(error).replace(str(stage), str(root))) from None
    return root


def _line(row: Row, stage: Path, cell: Cell) -> str:
    """A row as JSON, its images stored."""
    at = cell.inside("image")
    paths = [_store(image, stage, at) for image in pictures(row.get("image") or [], at)]
    image = {"image": or_one(paths)} if paths else {}
    return json.dumps({**row, **image}, ensure_ascii=False) + "\n"


def _store(image: ImageRef, stage: Path, cell: Cell) -> str:
    try:
        data = image.data if image.data is not None else Path(image.path).read_bytes()
    except OSError as error:
        raise cell.error("a readable file", f"{image.path} ({error.strerror})") from None
    name = Path(image.path)
    taken = (stage / name).is_file() and (stage / name).read_bytes() != data
    if name.is_absolute() or ".." in name.parts or name.suffix.lower() not in SUFFIXES or taken:
        name = Path("images") / hashlib.sha256(data).hexdigest()[:16]
    if not (stage / name).exists():
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / name).write_bytes(data)
    return name.as_posix()
