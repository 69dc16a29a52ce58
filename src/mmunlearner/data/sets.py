"""Conversations in files that are named by what they are for: forget.json, retain.json, and what else there is.

    forget, retain      training questions about images (.json: a list; .jsonl; .parquet; or a folder of shards)
    text                texts that are protected; absent: none
    background          what the vanilla model and the oracle are trained on too, but no unlearning sees; absent: none
    forget_vqa, retain_qa, neighbour_vqa, general, ...     evaluation columns; absent: forget and retain are evaluated
                                                            as forget_vqa and retain_vqa

Two layouts of rows: `conversations` (LLaVA's), and `chat` (TRL's `messages`, or `prompt` and `completion`).
A conversation of several turns becomes as many questions, each on its own. A row is about its `entity`, or else about
its image, or else about itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

from mmunlearner.config_io import nearest
from mmunlearner.data.example import Example, ImageRef, Splits
from mmunlearner.data.pictures import encoded
from mmunlearner.data.prompts import prompt, target
from mmunlearner.data.schema import Cell, Text
from mmunlearner.data.tables import has_table, read_table
from mmunlearner.errors import DataError
from mmunlearner.files import staged_dir

COLUMNS = tuple(
    f"{group}_{kind}{suffix}"
    for group in ("forget", "retain", "neighbour")
    for kind in ("vqa", "qa")
    for suffix in (("", "_test") if group != "neighbour" else ("",))
)
NAMES = ("forget", "retain", "text", "background", *COLUMNS, "general")
IMAGE_TOKEN = "<image>"


# `from` is a keyword, which the class form cannot spell.
LlavaTurn = TypedDict("LlavaTurn", {"from": Text, "value": Text})


class Conversation(TypedDict):
    """A row of LLaVA's layout."""

    id: NotRequired[object | None]
    entity: NotRequired[str | None]
    image: NotRequired[ImageRef | None]
    conversations: list[LlavaTurn]
    """`human` and `gpt` in turn; `<image>` in a text only says that there is one."""


class Part(TypedDict):
    type: Literal["text", "image"]
    text: NotRequired[str | None]


class Message(TypedDict):
    role: Text
    content: list[Part] | Text


class Chat(TypedDict):
    """A row of TRL's layouts."""

    id: NotRequired[object | None]
    entity: NotRequired[str | None]
    image: NotRequired[ImageRef | None]
    images: NotRequired[list[ImageRef] | None]
    """One at most."""
    messages: NotRequired[list[Message] | None]
    """`user` and `assistant` in turn."""
    prompt: NotRequired[list[Message] | Text | None]
    completion: NotRequired[list[Message] | Text | None]
    """Together in the place of `messages`."""


HINTS: Mapping[str, str] = {
    "conversations": "This is LLaVA's layout: use --data.format conversations",
    "messages": "This is TRL's layout: use --data.format chat",
    "prompt": "This is TRL's layout: use --data.format chat",
    "qa_list": "This is FIUBench's layout: use --data.format fiubench",
    "metadata": "This is MLLMU-Bench's layout: use --data.format mllmu",
}
"""Column of another layout -> what it tells."""

ROLES = {"human": "asks", "user": "asks", "gpt": "answers", "assistant": "answers"}


class Turn(NamedTuple):
    """Who says what, and where it stands."""

    role: str
    text: str
    cell: Cell


def load_conversations(root: Path | str) -> Splits:
    """Read a folder of LLaVA's `conversations` JSON.

    Raises:
        DataError: a file is missing, has an unknown name, or a row does not fit.
    """
    return _load(Path(root), Conversation, _llava_turns)


def load_chat(root: Path | str) -> Splits:
    """Read a folder of TRL's rows: `messages`, or `prompt` and `completion`, with `images`.

    Raises:
        DataError: a file is missing, has an unknown name, or a row does not fit.
    """
    return _load(Path(root), Chat, _chat_turns)


def _load(root: Path, kind: type, turns: Callable[[Any, Cell], list[Turn]]) -> Splits:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected the one that holds forget and retain")
    found = {path.stem if path.is_file() else path.name for path in root.iterdir() if has_table(path)}
    if unknown := sorted(found - set(NAMES)):
        raise DataError(f"{root / unknown[0]}: no name of a set or column; {nearest(unknown[0], NAMES)}")
    sets = {
        name: tuple(
            example
            for cell, row in read_table(root / name, kind, hints=HINTS)
            for example in _examples(row, turns(row, cell), name, cell)
        )
        for name in NAMES
        if name in found or name in ("forget", "retain")
    }
    evaluation = {name: items for name, items in sets.items() if name in (*COLUMNS, "general")}
    if not evaluation:
        evaluation = {f"{name}_vqa": sets[name] for name in ("forget", "retain")}
    return Splits(sets["forget"], sets["retain"], sets.get("text", ()), evaluation, sets.get("background", ()))


def _examples(row: Any, turns: Sequence[Turn], name: str, cell: Cell) -> Iterator[Example]:
    """A conversation's questions."""
    image = _image(row, cell)
    pictured = str(Path(image.path).relative_to(cell.file.parent)) if image and image.data is None else ""
    entity = row.get("entity") or pictured or _name(row, name, cell)
    for k, (asks, answers) in enumerate(_pairs(turns, cell)):
        if image is None and IMAGE_TOKEN in asks.text:
            raise asks.cell.error(
                f"an image in the row, or no {IMAGE_TOKEN} in the text", "the latter without the former"
            )
        question = asks.text.replace(IMAGE_TOKEN, "").strip()
        yield Example(f"{name}/{_name(row, '', cell)}/{cell.row}/{k}", entity, question, answers.text.strip(), image)


def _name(row: Any, name: str, cell: Cell) -> str:
    return str(row["id"]) if row.get("id") is not None else f"{name} {cell.row}".strip()


def _image(row: Any, cell: Cell) -> ImageRef | None:
    images = [*(row.get("images") or []), *([row["image"]] if row.get("image") else [])]
    if len(images) > 1:
        raise cell.inside("images").error("one image at most", f"{len(images)}")
    return images[0] if images else None


def _pairs(turns: Sequence[Turn], cell: Cell) -> Iterator[tuple[Turn, Turn]]:
    for k, turn in enumerate(turns):
        wanted = ("asks", "answers")[k % 2]
        if ROLES.get(turn.role) != wanted:
            known = " or ".join(role for role, does in ROLES.items() if does == wanted)
            raise turn.cell.error(f"a turn of {known}", turn.role)
    if not turns or len(turns) % 2:
        raise cell.error("questions and answers in turn", f"{len(turns)} turns")
    yield from zip(turns[::2], turns[1::2], strict=True)


def _llava_turns(row: Any, cell: Cell) -> list[Turn]:
    at = cell.inside("conversations")
    return [Turn(turn["from"], turn["value"], at.inside(k)) for k, turn in enumerate(row["conversations"])]


def _chat_turns(row: Any, cell: Cell) -> list[Turn]:
    if row.get("messages"):
        return _messages(row["messages"], cell.inside("messages"))
    if not row.get("prompt") or not row.get("completion"):
        raise cell.error("`messages`, or `prompt` and `completion`", f"{', '.join(row) or 'neither'}")
    sides = (("prompt", "user"), ("completion", "assistant"))
    return [turn for column, role in sides for turn in _side(row[column], role, cell.inside(column))]


def _side(side: Any, role: str, cell: Cell) -> list[Turn]:
    return [Turn(role, side, cell)] if isinstance(side, str) else _messages(side, cell)


def _messages(messages: Sequence[Message], cell: Cell) -> list[Turn]:
    return [Turn(message["role"], _text(message["content"]), cell.inside(k)) for k, message in enumerate(messages)]


def _text(content: list[Part] | str) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text") or "" for part in content if part["type"] == "text")


def write_conversations(root: Path | str, sets: Mapping[str, Sequence[Example]]) -> Path:
    """Write sets and columns in LLaVA's layout, whole or not at all; returns the folder."""
    return _write(root, sets, _conversation)


def write_chat(root: Path | str, sets: Mapping[str, Sequence[Example]]) -> Path:
    """Write sets and columns as TRL's `messages`, whole or not at all; returns the folder."""
    return _write(root, sets, _chat)


def _write(root: Path | str, sets: Mapping[str, Sequence[Example]], row: Callable[[Example, str | None], Any]) -> Path:
    with staged_dir(root) as stage:
        for name, examples in sets.items():
            rows = [row(e, _stored(e.image, stage)) for e in examples]
            (stage / f"{name}.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    return Path(root)


def _stored(image: ImageRef | None, stage: Path) -> str | None:
    if image is None:
        return None
    made = encoded(image.open(), "")
    path = Path("images") / f"{made.key}.png"
    (stage / "images").mkdir(exist_ok=True)
    (stage / path).write_bytes(made.data or b"")
    return path.as_posix()


def _conversation(example: Example, image: str | None) -> dict[str, Any]:
    asked = f"{IMAGE_TOKEN}\n{prompt(example)}" if image else prompt(example)
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": target(example)}]
    return {"id": example.id, "entity": example.entity, "image": image, "conversations": turns}


def _chat(example: Example, image: str | None) -> dict[str, Any]:
    shown_first = [{"type": "image"}] if image else []
    messages = [
        {"role": "user", "content": [*shown_first, {"type": "text", "text": prompt(example)}]},
        {"role": "assistant", "content": [{"type": "text", "text": target(example)}]},
    ]
    return {"id": example.id, "entity": example.entity, "images": [image] if image else [], "messages": messages}
