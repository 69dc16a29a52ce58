"""Conversations in files that are named by what they are for: forget.json, retain.json, and what else there is.

    forget, retain      training questions about images (.json: a list; .jsonl; .parquet; or a folder of shards)
    text                texts that are protected; absent: none
    background          what the vanilla model and the oracle are trained on too, but no unlearning sees; absent: none
    forget_vqa, retain_qa, neighbour_vqa, general, ...     evaluation columns; absent: forget and retain are evaluated
                                                            as forget_vqa and retain_vqa

Two layouts of rows: `conversations` (LLaVA's), and `chat` (TRL's `messages`, or `prompt` and `completion`).
A conversation of several turns becomes as many questions, each on its own and about the images shown up to it. A row is
about its `entity`, or else about its (first) image, or else about itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

from mmunlearner.core.files import staged_dir
from mmunlearner.core.names import did_you_mean
from mmunlearner.data.example import Example, ImageRef, Splits
from mmunlearner.data.images import encoded
from mmunlearner.data.prompts import prompt, target
from mmunlearner.data.schema import Cell, Pictures, Text, or_one
from mmunlearner.data.tables import has_table, read_table
from mmunlearner.errors import DataError

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
    image: NotRequired[Pictures | None]
    conversations: list[LlavaTurn]
    """`human` and `gpt` in turn; each `<image>` shows the next image, or none does and the first turn shows all."""


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
    image: NotRequired[Pictures | None]
    images: NotRequired[list[ImageRef] | None]
    """In the place of `image`."""
    messages: NotRequired[list[Message] | None]
    """`user` and `assistant` in turn; parts of type `image` show the next image each, or none is there and the first
    turn shows all."""
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
    """Without its images' places."""
    places: int
    """So many images are shown in it."""
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
        raise DataError(f"{root / unknown[0]}: no name of a set or column; {did_you_mean(unknown[0], NAMES)}")
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
    images = (*(row.get("images") or ()), *(row.get("image") or ()))
    pictured = str(Path(images[0].path).relative_to(cell.file.parent)) if images and images[0].data is None else ""
    entity = row.get("entity") or pictured or _name(row, name, cell)
    pairs = list(_pairs(turns, cell))
    shown = _shown([asks for asks, _ in pairs], len(images))
    for k, ((asks, answers), count) in enumerate(zip(pairs, shown, strict=True)):
        question, answer = asks.text.strip(), answers.text.strip()
        yield Example(f"{name}/{_name(row, '', cell)}/{cell.row}/{k}", entity, question, answer, images[:count])


def _shown(asking: Sequence[Turn], images: int) -> list[int]:
    """How many of the row's images each question is about: those up to it; all, where no turn has a place for one.

    Raises:
        DataError: there are more places than images, or fewer.
    """
    shown = list(accumulate(turn.places for turn in asking))
    if shown[-1] in (0, images):
        return shown if shown[-1] else [images] * len(asking)
    last = next(turn for turn, count in zip(asking, shown, strict=True) if count > images or count == shown[-1])
    raise last.cell.error(f"a place for each image of the row ({images}), or for none", f"{shown[-1]}")


def _name(row: Any, name: str, cell: Cell) -> str:
    return str(row["id"]) if row.get("id") is not None else f"{name} {cell.row}".strip()


def _pairs(turns: Sequence[Turn], cell: Cell) -> Iterator[tuple[Turn, Turn]]:
    for k, turn in enumerate(turns):
        wanted = ("asks", "answers")[k % 2]
        if ROLES.get(turn.role) != wanted:
            known = " or ".join(role for role, does in ROLES.items() if does == wanted)
            raise turn.cell.error(f"a turn of {known}", turn.role)
        if wanted == "answers" and turn.places:
            raise turn.cell.error("an answer in words", "an image's place in it")
    if not turns or len(turns) % 2:
        raise cell.error("questions and answers in turn", f"{len(turns)} turns")
    yield from zip(turns[::2], turns[1::2], strict=True)


def _llava_turns(row: Any, cell: Cell) -> list[Turn]:
    at = cell.inside("conversations")
    return [_turn(turn["from"], turn["value"], at.inside(k)) for k, turn in enumerate(row["conversations"])]


def _turn(role: str, text: str, cell: Cell) -> Turn:
    return Turn(role, text.replace(IMAGE_TOKEN, ""), text.count(IMAGE_TOKEN), cell)


def _chat_turns(row: Any, cell: Cell) -> list[Turn]:
    if row.get("messages"):
        return _messages(row["messages"], cell.inside("messages"))
    if not row.get("prompt") or not row.get("completion"):
        raise cell.error("`messages`, or `prompt` and `completion`", f"{', '.join(row) or 'neither'}")
    sides = (("prompt", "user"), ("completion", "assistant"))
    return [turn for column, role in sides for turn in _side(row[column], role, cell.inside(column))]


def _side(side: Any, role: str, cell: Cell) -> list[Turn]:
    return [_turn(role, side, cell)] if isinstance(side, str) else _messages(side, cell)


def _messages(messages: Sequence[Message], cell: Cell) -> list[Turn]:
    return [_message(message, cell.inside(k)) for k, message in enumerate(messages)]


def _message(message: Message, cell: Cell) -> Turn:
    role, content = message["role"], message["content"]
    if isinstance(content, str):
        return _turn(role, content, cell)
    text = "\n".join(part.get("text") or "" for part in content if part["type"] == "text")
    return Turn(role, text, sum(part["type"] == "image" for part in content), cell)


def write_conversations(root: Path | str, sets: Mapping[str, Sequence[Example]]) -> Path:
    """Write sets and columns in LLaVA's layout, whole or not at all; returns the folder."""
    return _write(root, sets, _conversation)


def write_chat(root: Path | str, sets: Mapping[str, Sequence[Example]]) -> Path:
    """Write sets and columns as TRL's `messages`, whole or not at all; returns the folder."""
    return _write(root, sets, _chat)


def _write(root: Path | str, sets: Mapping[str, Sequence[Example]], row: Callable[[Example, list[str]], Any]) -> Path:
    with staged_dir(root) as stage:
        for name, examples in sets.items():
            rows = [row(e, [_stored(image, stage) for image in e.images]) for e in examples]
            (stage / f"{name}.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    return Path(root)


def _stored(image: ImageRef, stage: Path) -> str:
    made = encoded(image.open(), "")
    path = Path("images") / f"{made.key}.png"
    (stage / "images").mkdir(exist_ok=True)
    (stage / path).write_bytes(made.data or b"")
    return path.as_posix()


def _conversation(example: Example, images: list[str]) -> dict[str, Any]:
    asked = f"{IMAGE_TOKEN}\n" * len(images) + prompt(example)
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": target(example)}]
    return {"id": example.id, "entity": example.entity, "image": or_one(images) or None, "conversations": turns}


def _chat(example: Example, images: list[str]) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": [*[{"type": "image"}] * len(images), {"type": "text", "text": prompt(example)}]},
        {"role": "assistant", "content": [{"type": "text", "text": target(example)}]},
    ]
    return {"id": example.id, "entity": example.entity, "images": images, "messages": messages}
