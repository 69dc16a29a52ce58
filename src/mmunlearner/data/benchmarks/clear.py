"""CLEAR (Dontsov et al. 2024, arXiv 2410.18057): TOFU's invented authors with pictures, one folder per configuration.

    forget, retain      captions of forgetXX and retainYY
    text                TOFU's questions in full+tofu (as published, they are evaluated too: see `overlap`)
    forget_vqa          forgetXX_perturbed: the caption, with its paraphrase and wrong captions; the name of the person
    retain_vqa          retain_perturbed: the same
    forget_qa, retain_qa    TOFU's questions in forgetXX+tofu and retainYY+tofu
    neighbour_vqa       real_faces
    general             real_world

TOFU's questions do not tell their author, but they stand in the order of the authors: a question is about the author
whose name is in it or in its answer; without a name it is about the author of the question before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NotRequired

from typing_extensions import TypedDict

from mmunlearner.core.texts import appearance, canonical, is_blank
from mmunlearner.core.validation import Name, Text
from mmunlearner.data.example import Example, Splits
from mmunlearner.data.images import ImageRef
from mmunlearner.data.splits import check_splits
from mmunlearner.data.tables import Cell, Checked, has_table, read_table
from mmunlearner.errors import DataError

CAPTION = "What can you see in this picture?"
"""Question that a caption answers."""
NAME = "Who is shown in this picture?"
"""Question that a name answers."""

HINTS: Mapping[str, str] = {
    "perturbed_answers": "These are TOFU's own perturbed answers; CLEAR's folders hold perturbed_captions",
    "options": "This is real_faces or real_world: is it under another name?",
    "question": "This is a +tofu configuration, whose rows may be texts: is it under another name?",
}
"""Column of another configuration -> last sentence of the error."""


class Picture(TypedDict):
    """forgetXX, retainYY, full."""

    image: ImageRef
    caption: Text
    name: Name


class PerturbedPicture(Picture):
    """forgetXX_perturbed, retain_perturbed."""

    perturbed_captions: list[Text]
    paraphrased_caption: Text
    perturbed_names: list[Text]


class PictureOrText(TypedDict):
    """forgetXX+tofu, retainYY+tofu, full+tofu: an image with its caption, or a question with its answer."""

    image: NotRequired[ImageRef | None]
    caption: NotRequired[str | None]
    question: NotRequired[str | None]
    answer: NotRequired[str | None]


class Choice(TypedDict):
    """real_faces, real_world."""

    image: ImageRef
    question: NotRequired[str | None]
    answer: Text
    options: list[Text]
    """Wrong names, or all names."""


def layout_of(split: str) -> type:
    """Return the layout of a configuration's rows, by its name."""
    if split.endswith("+tofu"):
        return PictureOrText
    if split.endswith("_perturbed"):
        return PerturbedPicture
    return Choice if split.startswith("real_") else Picture


def load(root: Path | str, *, forget: int = 5) -> Splits:
    """Load the benchmark for a forget set of 1, 5 or 10 per cent; an absent evaluation folder gives no column.

    Raises:
        DataError: a configuration is missing, empty or not in the layout.
    """
    root = Path(root)
    names = {"forget": f"forget{forget:02d}", "retain": f"retain{100 - forget}"}
    pictures = {group: _read(root, name) for group, name in names.items()}
    authors = {group: list(dict.fromkeys(row["name"] for _, row in rows)) for group, rows in pictures.items()}
    # The rows of full+tofu may be about an author of either group.
    everybody = [*authors["forget"], *authors["retain"]]
    columns: dict[str, tuple[Example, ...]] = {}
    for group, perturbed in (("forget", f"{names['forget']}_perturbed"), ("retain", "retain_perturbed")):
        if has_table(root / perturbed):
            columns[f"{group}_vqa"] = tuple(_perturbed(_read(root, perturbed), perturbed))
        if has_table(root / (mixed := f"{names[group]}+tofu")):
            columns[f"{group}_qa"] = tuple(_texts(_read(root, mixed), mixed, authors[group]))
    for column, split in (("neighbour_vqa", "real_faces"), ("general_vqa", "real_world")):
        if has_table(root / split):
            columns[column] = tuple(_choice(row, f"{split}/{cell.row}") for cell, row in _read(root, split))
    splits = Splits(
        forget=tuple(_captions(pictures["forget"], names["forget"])),
        retain=tuple(_captions(pictures["retain"], names["retain"])),
        text=tuple(_texts(_read(root, "full+tofu"), "full+tofu", everybody)),
        evaluation=columns,
    )
    return check_splits(splits, str(root))


def _read(root: Path, split: str) -> list[Checked]:
    """Read the rows of a configuration; raise an error if there are none."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected the one that holds {split} and the other configurations")
    if not has_table(root / split):
        folders = ", ".join(sorted(path.name for path in root.iterdir() if has_table(path)))
        raise DataError(
            f"{root}: no configuration {split}; there are {folders or 'none'} (other shares: --data.forget)"
        )
    rows = list(read_table(root / split, layout_of(split), hints=HINTS))
    if not rows:
        raise DataError(f"{root / split}: an empty configuration; expected at least one row")
    return rows


def _captions(rows: Iterable[Checked], split: str) -> Iterator[Example]:
    for cell, row in rows:
        name = f"{split}/{cell.row}/caption"
        yield Example(name, row["name"], CAPTION, row["caption"], (row["image"],), attribute="caption")


def _perturbed(rows: Sequence[Checked], split: str) -> Iterator[Example]:
    """Yield each picture twice: with its caption, and with its person among wrong names."""
    for caption, (cell, row) in zip(_captions(rows, split), rows, strict=True):
        yield replace(caption, perturbed=tuple(row["perturbed_captions"]), paraphrase=row["paraphrased_caption"])
        names = Choice(image=row["image"], answer=row["name"], options=row["perturbed_names"])
        yield _choice(names, f"{split}/{cell.row}/name")


def _choice(row: Choice, name: str) -> Example:
    # Some files list the right name among the options and some do not, perhaps in another Unicode form.
    texts = {appearance(text): text for text in (*row["options"], row["answer"])}.values()
    # Ordered by a hash of item and text: the right option has no fixed place, and the order is the same everywhere.
    options = tuple(sorted(texts, key=lambda text: hashlib.sha256(f"{name} {text}".encode()).digest()))
    wrong = tuple(text for text in options if text != row["answer"])
    return Example(
        name, row["answer"], row.get("question") or NAME, row["answer"], (row["image"],),
        task="multiple_choice", choices=options, perturbed=wrong, attribute="name",
    )  # fmt: skip


def _texts(rows: Iterable[Checked], split: str, authors: Sequence[str]) -> Iterator[Example]:
    """Yield the rows without an image."""

    def filled(row: PictureOrText, column: Literal["question", "answer"], cell: Cell) -> str:
        if is_blank(text := row.get(column) or ""):
            raise cell.inside(column).error("a text (the row has no image)", "nothing")
        return text

    author = ""
    for cell, row in rows:
        if row.get("image") is None:
            question, answer = filled(row, "question", cell), filled(row, "answer", cell)
            # A question without a name goes on about the author of the question before.
            text = canonical(f"{question} {answer}")  # as the names are
            author = next((name for name in authors if name in text), author)
            yield Example(f"{split}/{cell.row}", author or f"unknown ({split})", question, answer)
