"""Conversations in files named by set or column: forget.json, retain.json, ...

    forget, retain      training questions about images (.json: a list; .jsonl; .parquet; or a folder of shards)
    text                texts that are protected; absent: none
    background          further training data of the vanilla model and the oracle; absent: none
    forget_vqa, retain_qa, neighbour_vqa, ...   evaluation columns; if all are absent, forget and retain are evaluated
                                                as forget_vqa and retain_vqa (texts: _qa)
    general             questions of general ability: columns general_vqa and general_qa

Two layouts of rows: `conversations` (LLaVA's), and `chat` (TRL's `messages`, or `prompt` and `completion`). The images
are in a column, under any usual name, or in the parts of type `image` themselves.
Each question of a conversation becomes an example of its own, about the images shown so far. The entity is the row's
`entity`, or else its (first) image, or else the row itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired

from typing_extensions import TypedDict

from mmunlearner.core.names import did_you_mean
from mmunlearner.core.texts import canonical, is_blank
from mmunlearner.core.validation import Text
from mmunlearner.data.example import Example, Splits
from mmunlearner.data.image_checks import image_mark
from mmunlearner.data.images import ImageRef
from mmunlearner.data.splits import GENERAL, GROUPS
from mmunlearner.data.tables import Cell, Images, has_table, read_table
from mmunlearner.errors import DataError

COLUMNS = tuple(
    f"{group}_{kind}{suffix}"
    for group in GROUPS
    for kind in ("vqa", "qa")
    for suffix in (("", "_test") if group in ("forget", "retain") else ("",))
)
NAMES = ("forget", "retain", "text", "background", *COLUMNS, GENERAL)
IMAGE_TOKEN = "<image>"


# Not a class: its field `from` would be a keyword.
LlavaTurn = TypedDict("LlavaTurn", {"from": Text, "value": Text})


class Conversation(TypedDict):
    """A row of LLaVA's layout."""

    id: NotRequired[object | None]
    entity: NotRequired[str | None]
    image: NotRequired[Images | None]
    conversations: list[LlavaTurn]
    """`human` and `gpt` in turn; in a row with images each `<image>` shows the next one. Without any, the first turn
    shows all images."""


class Part(TypedDict):
    type: Literal["text", "image"]
    text: NotRequired[str | None]
    image: NotRequired[ImageRef | None]
    path: NotRequired[ImageRef | None]
    url: NotRequired[ImageRef | None]
    base64: NotRequired[ImageRef | None]
    """An image in its place, instead of the column: under one of these names. One in base64 is an error."""


PLACES = ("image", "path", "url", "base64")


class Message(TypedDict):
    role: Text
    content: list[Part] | Text


class Chat(TypedDict):
    """A row of TRL's layouts."""

    id: NotRequired[object | None]
    entity: NotRequired[str | None]
    images: NotRequired[Images | None]
    messages: NotRequired[list[Message] | None]
    """`user` and `assistant` in turn; in a row with images each part of type `image`, or `<image>` in a text, shows the
    next one. Without any, the first turn shows all images."""
    prompt: NotRequired[list[Message] | Text | None]
    completion: NotRequired[list[Message] | Text | None]
    """Instead of `messages`, together with `prompt`."""


ROLES = {"human": "question", "user": "question", "gpt": "answer", "assistant": "answer"}
"""Role of a turn -> its use."""


class Turn(NamedTuple):
    """One turn of a conversation, and its cell."""

    role: str
    text: str
    cell: Cell
    parts: int = 0
    """Number of its parts of type `image`."""
    images: tuple[ImageRef, ...] = ()
    """The images that are in these parts."""


def load_conversations(root: Path | str) -> Splits:
    """Load a folder of LLaVA's `conversations` JSON.

    Raises:
        DataError: a file is missing, has an unknown name, or a row does not fit.
    """
    return _load(Path(root), Conversation, _llava_turns)


def load_chat(root: Path | str) -> Splits:
    """Load a folder of TRL's rows: `messages`, or `prompt` and `completion`, with `images`.

    Raises:
        DataError: a file is missing, has an unknown name, or a row does not fit.
    """
    return _load(Path(root), Chat, _chat_turns)


def _load(root: Path, kind: type, turns: Callable[[Any, Cell], list[Turn]]) -> Splits:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected the one that holds forget and retain")
    # A set is a file or a folder of shards. Other files, such as images, are no tables and may stand beside them.
    present = {path.stem if path.is_file() else path.name for path in root.iterdir() if has_table(path)}
    if unknown := sorted(present - set(NAMES)):
        raise DataError(f"{root / unknown[0]}: no name of a set or column; {did_you_mean(unknown[0], NAMES)}")
    sets = {
        name: tuple(
            example
            for cell, row in read_table(root / name, kind)
            for example in _examples(row, turns(row, cell), name, cell)
        )
        for name in NAMES
        if name in present or name in ("forget", "retain")
    }
    evaluation = {name: items for name, items in sets.items() if name in (*COLUMNS, GENERAL)}
    if not evaluation:
        kinds = {name: "vqa" if any(e.images for e in sets[name]) else "qa" for name in ("forget", "retain")}
        evaluation = {f"{name}_{kind}": sets[name] for name, kind in kinds.items()}
    return Splits(sets["forget"], sets["retain"], sets.get("text", ()), evaluation, sets.get("background", ()))


def _examples(row: Any, turns: Sequence[Turn], name: str, cell: Cell) -> Iterator[Example]:
    """Yield a conversation's questions, each about the images shown so far.

    Raises:
        DataError: the turns mark more or fewer images than the row has, or do not ask and answer in turn.
    """
    images = _images(row, turns, cell)
    id_ = "" if row.get("id") is None else str(row["id"])
    image_file = ""
    if images and images[0].data is None:
        # Without `entity`, the image's file stands for it: another row about the same file is about the same entity.
        # Relative to the folder, so that moving the folder changes no entity; an absolute path may lie elsewhere.
        path = Path(images[0].path)
        for folder in (cell.file.parent, cell.file.parent.absolute()):
            path = path.relative_to(folder) if path.is_relative_to(folder) else path
        image_file = os.path.normpath(path)  # one file is one entity, however its path is written
    entity = canonical(row.get("entity") or image_file) or id_ or f"{name} {cell.row}"
    pairs = _pairs(turns, cell)
    # In a row without images `<image>` is a word like any other.
    marks = [question.parts + (question.text.count(IMAGE_TOKEN) if images else 0) for question, _ in pairs]
    counts = list(accumulate(marks))
    if counts[-1] not in (0, len(images)):
        # Name the first turn that marks too many images, or, if there are too few marks, the last turn with one.
        turn = next(
            question
            for (question, _), count in zip(pairs, counts, strict=True)
            if count > len(images) or count == counts[-1]
        )
        raise turn.cell.error(f"a place for each image of the row ({len(images)}), or for none", f"{counts[-1]}")
    if counts[-1] == 0:  # no marks: all images belong to the first turn, so every question is about all
        counts = [len(images)] * len(pairs)
    for k, ((question, answer), count) in enumerate(zip(pairs, counts, strict=True)):
        text = (question.text.replace(IMAGE_TOKEN, "") if images else question.text).strip()
        if mark := image_mark(text):
            raise question.cell.error(
                f"marks of images as {IMAGE_TOKEN}" if images else "an image in the row, for its mark", mark
            )
        yield Example(f"{name}/{id_ or cell.row}/{cell.row}/{k}", entity, text, answer.text.strip(), images[:count])


def _images(row: Any, turns: Sequence[Turn], cell: Cell) -> tuple[ImageRef, ...]:
    """Return the images of a row's column, or of its parts.

    Raises:
        DataError: it has both, or images in some parts only.
    """
    in_column: Sequence[ImageRef] = row.get("images") or row.get("image") or ()
    in_parts = tuple(image for turn in turns for image in turn.images)
    if in_parts and in_column:
        raise cell.error("images in a column or in the parts of the turns", "both")
    if in_parts and len(in_parts) != sum(turn.parts for turn in turns):
        raise cell.error("an image in each part of type image, or in none", f"{len(in_parts)} images")
    return in_parts or tuple(in_column)


def _pairs(turns: Sequence[Turn], cell: Cell) -> list[tuple[Turn, Turn]]:
    """Return the (question, answer) pairs of a conversation."""
    for k, turn in enumerate(turns):
        expected = ("question", "answer")[k % 2]
        if ROLES.get(turn.role) != expected:
            roles = " or ".join(role for role, use in ROLES.items() if use == expected)
            raise turn.cell.error(f"a turn of {roles}", turn.role)
        if is_blank(turn.text.replace(IMAGE_TOKEN, "")):
            raise turn.cell.error(f"{'a question' if expected == 'question' else 'an answer'} in words", "none")
        if expected == "answer" and (turn.parts or image_mark(turn.text)):
            raise turn.cell.error("an answer in words", "an image's place in it")
    if not turns or len(turns) % 2:
        raise cell.error("questions and answers in turn", f"{len(turns)} turns")
    return list(zip(turns[::2], turns[1::2], strict=True))


def _llava_turns(row: Any, cell: Cell) -> list[Turn]:
    at = cell.inside("conversations")
    return [Turn(turn["from"], turn["value"], at.inside(k)) for k, turn in enumerate(row["conversations"])]


def _chat_turns(row: Any, cell: Cell) -> list[Turn]:
    if row.get("messages"):
        return _messages(row["messages"], cell.inside("messages"))
    if not row.get("prompt") or not row.get("completion"):
        raise cell.error("`messages`, or `prompt` and `completion`", f"{', '.join(row) or 'neither'}")
    turns: list[Turn] = []
    for column, role in (("prompt", "user"), ("completion", "assistant")):
        value, at = row[column], cell.inside(column)
        turns += [Turn(role, value, at)] if isinstance(value, str) else _messages(value, at)
    return turns


def _messages(messages: Sequence[Message], cell: Cell) -> list[Turn]:
    turns = []
    for k, message in enumerate(messages):
        role, content, at = message["role"], message["content"], cell.inside(k)
        if isinstance(content, str):
            turns.append(Turn(role, content, at))
        else:
            text = "\n".join(part.get("text") or "" for part in content if part["type"] == "text")
            parts = [part for part in content if part["type"] == "image"]
            shown = [image for part in parts for name in PLACES if isinstance(image := part.get(name), ImageRef)]
            turns.append(Turn(role, text, at, len(parts), tuple(shown)))
    return turns
