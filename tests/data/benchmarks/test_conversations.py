from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.layouts import png, write_chat, write_conversations

from mmunlearner.data import Example, ImageRef, prompt, target
from mmunlearner.data.benchmarks.conversations import load_chat, load_conversations
from mmunlearner.data.image_columns import NAMES
from mmunlearner.errors import DataError

A, B = ImageRef("a", png(1)), ImageRef("b", png(2))
SETS = {
    "forget": [Example("1", "ann", "Who?", "Ann", (A,)), Example("2", "ann", "Where?", "Rome", (A,))],
    "retain": [Example("3", "bob", "Who?", "Bob", (B,)), Example("9", "bob", "Who are they?", "Ann, Bob", (A, B, A))],
    "text": [Example("4", "ann", "What does Ann do?", "She sings.")],
    "background": [Example("5", "cup", "A cup?", "Yes", (B,))],
    "forget_vqa": [Example("6", "ann", "Which?", "y", (A,), "multiple_choice", ("x", "y"))],
    "retain_vqa": [Example("7", "bob", "It is __.", "late", (B,), "cloze")],
    "general": [Example("8", "sum", "One and one?", "two")],
}
WRITERS = pytest.mark.parametrize(
    ("write", "load"), [(write_conversations, load_conversations), (write_chat, load_chat)]
)


def contents_of(examples) -> list[tuple[Any, ...]]:
    return [(e.entity, prompt(e), target(e), [image.open().tobytes() for image in e.images]) for e in examples]


@WRITERS
def test_what_is_written_is_read_back(tmp_path: Path, write, load):
    splits = load(write(tmp_path / "s", SETS))
    for name in ("forget", "retain", "text", "background"):
        assert contents_of(getattr(splits, name)) == contents_of(SETS[name])
    assert set(splits.evaluation) == {"forget_vqa", "retain_vqa", "general"}
    for column, items in splits.evaluation.items():
        assert contents_of(items) == contents_of(SETS[column])
    ids = [e.id for e in (*splits.vanilla_training, *(e for items in splits.evaluation.values() for e in items))]
    assert len(set(ids)) == len(ids)


@WRITERS
def test_without_columns_the_training_sets_are_evaluated(tmp_path: Path, write, load):
    splits = load(write(tmp_path / "s", {name: SETS[name] for name in ("forget", "retain")}))
    assert splits.evaluation == {"forget_vqa": splits.forget, "retain_vqa": splits.retain}


def folder(root: Path, rows: list[Any], retain: list[Any] | None = None) -> Path:
    root.mkdir()
    (root / "x.png").write_bytes(png(3))
    (root / "forget.json").write_text(json.dumps(rows))
    (root / "retain.json").write_text(json.dumps(rows if retain is None else retain))
    return root


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[k % 2], "value": text} for k, text in enumerate(texts)]


def llava(question: str, answer: str) -> dict[str, Any]:
    return {"conversations": turns(question, answer)}


def trl(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def test_several_turns_are_several_questions_about_one_image(tmp_path: Path):
    row = {"id": 7, "image": "x.png", "conversations": turns("<image>\nWho?", "Ann", "Where?", " Rome ")}
    forget = load_conversations(folder(tmp_path / "s", [row])).forget
    assert [(e.id, e.entity, e.question, e.answer) for e in forget] == [
        ("forget/7/1/0", "x.png", "Who?", "Ann"),
        ("forget/7/1/1", "x.png", "Where?", "Rome"),
    ]
    assert forget[0].image is forget[1].image


@pytest.mark.parametrize(
    ("texts", "images"),
    [
        (("<image>\n<image>\nWho?", "Ann", "Where?", "Rome"), ["xy", "xy"]),
        (("<image>\nWho?", "Ann", "Who is <image>?", "Bob"), ["x", "xy"]),
        (("Hello?", "Yes", "<image><image> Who?", "Bob"), ["", "xy"]),
        (("Who?", "Ann", "Where?", "Rome"), ["xy", "xy"]),
    ],
)
def test_a_question_is_about_the_images_up_to_it(tmp_path: Path, texts, images):
    root = folder(tmp_path / "s", [])
    (root / "y.png").write_bytes(png(4))
    (root / "forget.json").write_text(json.dumps([{"image": ["x.png", "y.png"], "conversations": turns(*texts)}]))
    forget = load_conversations(root).forget
    assert ["".join(Path(image.path).stem for image in e.images) for e in forget] == images
    assert all(e.entity == "x.png" and "<image>" not in e.question for e in forget)


def test_an_image_outside_of_the_folder(tmp_path: Path):
    (tmp_path / "y.png").write_bytes(png(4))
    row = {"image": str(tmp_path / "y.png"), "conversations": turns("Who?", "Ann")}
    forget = load_conversations(folder(tmp_path / "s", [row])).forget
    assert [e.entity for e in forget] == [str(tmp_path / "y.png")]


@pytest.mark.parametrize("relative", [True, False])
def test_one_file_is_one_entity_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool):
    monkeypatch.chdir(tmp_path)
    root = folder(tmp_path / "s", [])
    paths = ["x.png", "./x.png", "../s/x.png", "y/../x.png", str(tmp_path / "s" / "x.png")]
    (root / "y").mkdir()
    (root / "forget.json").write_text(json.dumps([{"image": p, **llava("Who?", "Ann")} for p in paths]))
    entities = {e.entity for e in load_conversations(Path("s") if relative else root).forget}
    assert entities == {"x.png", "../s/x.png"}  # what leaves the folder and comes back cannot be known


def test_texts_are_evaluated_as_texts(tmp_path: Path):
    splits = load_conversations(folder(tmp_path / "s", [llava("Who?", "Ann")]))
    assert set(splits.evaluation) == {"forget_qa", "retain_qa"}


def test_tables_hold_several_images_or_none(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": png(k), "path": None} for k in (1, 2)]
    rows = [
        {"image": images, "conversations": turns("<image><image>Who?", "Ann")},
        {"image": None, "conversations": turns("Who?", "Ann")},
    ]
    for name in ("forget", "retain"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    contents = [[image.data for image in e.images] for e in load_conversations(tmp_path).forget]
    assert contents == [[png(1), png(2)], []]


CHAT = {
    "messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ann"}],
    "parts": [
        {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "Who?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Ann"}]},
    ],
}

OWN = {"role": "user", "content": [{"type": "image", "image": "x.png"}, {"type": "text", "text": "Who?"}]}
"""A message whose part holds its image."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize(("load", "write"), [(load_conversations, llava), (load_chat, trl)])
def test_the_column_of_images_has_any_usual_name(tmp_path: Path, name: str, marked: bool, load, write):
    row = write("<image>\nWho?" if marked else "Who?", "Ann")
    for value in ("x.png", ["x.png"]):
        root = folder(tmp_path / str(type(value)), [row | {name: value}])
        (example,) = load(root).forget
        assert [image.open().getpixel((0, 0)) for image in example.images] == [(111, 17, 3)]
        assert example.question == "Who?"


@pytest.mark.parametrize("key", ["image", "path", "url"])
def test_a_part_may_hold_its_image(tmp_path: Path, key: str):
    part = {"type": "image", key: str(tmp_path / "s" / "x.png")}
    message = {"role": "user", "content": [{"type": "text", "text": "Who?"}, part]}
    (example,) = load_chat(folder(tmp_path / "s", [{"prompt": [message], "completion": "Ann"}])).forget
    assert (example.question, example.entity, len(example.images)) == ("Who?", "x.png", 1)


@pytest.mark.parametrize("word", ["<image>", "<|image_pad|>", "[IMG]", "<img>"])
@pytest.mark.parametrize(("load", "write"), [(load_conversations, llava), (load_chat, trl)])
def test_a_mark_within_a_sentence_stays_in_a_row_without_images(tmp_path: Path, word: str, load, write):
    (example,) = load(folder(tmp_path / "s", [write(f"What does {word} mean?", f"It is {word}.")])).forget
    assert (example.question, example.answer) == (f"What does {word} mean?", f"It is {word}.")
    with pytest.raises(DataError, match=re.escape(f"expected an image in the row, for its mark, found {word}")):
        load(folder(tmp_path / "t", [write(f"{word}\nWho?", "Ann")]))


@pytest.mark.parametrize(
    "row",
    [
        {"messages": CHAT["messages"]},
        {"messages": CHAT["parts"]},
        {"prompt": "Who?", "completion": "Ann"},
        {"prompt": CHAT["messages"][:1], "completion": CHAT["parts"][1:]},
    ],
)
@pytest.mark.parametrize("images", [{"images": ["x.png"]}, {"image": "x.png"}, {"images": []}, {}])
def test_every_form_of_chat_asks_the_same(tmp_path: Path, row: dict[str, Any], images: dict[str, Any]):
    if row == {"messages": CHAT["parts"]} and not any(images.values()):
        with pytest.raises(DataError, match=r"messages\[0\]: expected a place for each image of the row \(0\)"):
            load_chat(folder(tmp_path / "s", [row | images]))
        return
    (example,) = load_chat(folder(tmp_path / "s", [row | images])).forget
    assert (example.question, example.answer) == ("Who?", "Ann")
    assert (example.image is not None) == any(images.values())
    assert example.entity == ("x.png" if any(images.values()) else "forget 1")


@pytest.mark.parametrize(
    ("load", "row", "message"),
    [
        (
            load_conversations,
            {"conversations": turns("Q")},
            "row 1: expected questions and answers in turn, found 1 turns",
        ),
        (load_conversations, {"conversations": []}, "row 1: expected questions and answers in turn, found 0 turns"),
        (
            load_conversations,
            {"conversations": turns("Q", "A")[::-1]},
            "column conversations[0]: expected a turn of human or user, found gpt",
        ),
        (
            load_conversations,
            {"image": "x.png", "conversations": turns("<image>\n\u200b", "A")},
            "column conversations[0]: expected a question in words, found none",
        ),
        (
            load_chat,
            {"prompt": [{"role": "user", "content": [{"type": "text", "text": " "}]}], "completion": "A"},
            "column prompt[0]: expected a question in words, found none",
        ),
        (
            load_conversations,
            {"conversations": turns("<image> Q", "A")},
            "column conversations[0]: expected an image in the row, for its mark, found <image>",
        ),
        (
            load_chat,
            {"prompt": "Who?\n<|image_pad|>", "completion": "Ann", "images": ["x.png"]},
            "column prompt: expected marks of images as <image>, found <|image_pad|>",
        ),
        (
            load_chat,
            {"prompt": "Who?", "completion": "[IMG] Ann"},
            "column completion: expected an answer in words, found an image's place in it",
        ),
        (load_chat, {"prompt": "<image>", "completion": "Ann", "img": "x.png"}, "column prompt: expected a question"),
        (load_chat, {"prompt": "Q", "completion": "A", "img": ["x.png", "y.png"]}, "column img[1]: expected an image"),
        (
            load_chat,
            {"prompt": "Q", "completion": "A", "images": ["x.png"], "photo": "x.png"},
            "row 1: two columns hold images, images and photo; remove one",
        ),
        (
            load_conversations,
            {"conversations": turns("Q", "A"), "portrait": "x.png"},
            "column portrait: an unknown column holds images; this layout has them in image: rename or remove it",
        ),
        (
            load_chat,
            {"prompt": [OWN], "completion": "A", "images": ["x.png"]},
            "row 1: expected images in a column or in the parts of the turns, found both",
        ),
        (
            load_chat,
            {"prompt": [OWN | {"content": [*OWN["content"], {"type": "image"}]}], "completion": "A"},
            "row 1: expected an image in each part of type image, or in none, found 1 images",
        ),
        (load_conversations, {"image": "a\\x.png", **llava("Q", "A")}, "No such file or directory; write paths with /"),
        (
            load_chat,
            {"prompt": [OWN | {"content": [{"type": "image", "base64": "A" * 9999}]}], "completion": "A"},
            "base64: expected the path of a file, found a text of 9999 characters (an image within a text is not read",
        ),
        (
            load_chat,
            {"prompt": [OWN | {"content": [{"type": "image", "url": "https://a.org/x.png"}]}], "completion": "A"},
            "prompt[0].content[0].url: expected the path of a file, found https://a.org/x.png (nothing is fetched",
        ),
        (
            load_conversations,
            {"image": ["x.png"] * 3, "conversations": turns("<image> Q", "A", "<image> Q", "A", "Q", "A")},
            "column conversations[2]: expected a place for each image of the row (3), or for none, found 2",
        ),
        (
            load_conversations,
            {"image": "x.png", "conversations": turns("<image> Q", "A", "<image> Q", "A", "<image> Q", "A")},
            "column conversations[2]: expected a place for each image of the row (1), or for none, found 3",
        ),
        (
            load_conversations,
            {"image": "x.png", "conversations": turns("<image> Q", "<image> A")},
            "column conversations[1]: expected an answer in words, found an image's place in it",
        ),
        (
            load_conversations,
            {"image": ["x.png", "y.png"], "conversations": turns("Q", "A")},
            "column image[1]: expected an image",
        ),
        (load_conversations, {"conversations": [{"value": "x"}]}, "column conversations[0].from: expected this column"),
        (load_conversations, CHAT, "column conversations: expected this column"),
        (load_chat, {"conversations": turns("Q", "A")}, "row 1: expected `messages`, or `prompt` and `completion`"),
        (load_chat, {"prompt": "Q"}, "row 1: expected `messages`, or `prompt` and `completion`, found prompt"),
        (load_chat, {"prompt": "Q", "completion": 3}, "column completion: expected a list or a text, found 3"),
        (
            load_chat,
            {"messages": [{"role": "system", "content": "Be kind."}, *CHAT["messages"]]},
            "column messages[0]: expected a turn of human or user, found system",
        ),
        (
            load_chat,
            {"prompt": CHAT["parts"][:1], "completion": "A", "images": ["x.png"] * 2},
            "column prompt[0]: expected a place for each image of the row (2), or for none, found 1",
        ),
        (load_chat, {"prompt": "Q", "completion": "A", "images": ["y.png"]}, "column images[0]: expected an image"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, load, row: dict[str, Any], message: str):
    root = folder(tmp_path / "s", [row])
    with pytest.raises(DataError) as error:
        load(root)
    assert str(error.value).startswith(f"{root / 'forget.json'}, row 1")
    assert message in str(error.value)


def test_files_have_known_names(tmp_path: Path):
    root = folder(tmp_path / "s", [])
    (root / "forget_vaq.json").write_text("[]")
    with pytest.raises(DataError, match=r"forget_vaq: no name of a set or column; did you mean forget_vqa\?"):
        load_chat(root)
    (root / "forget_vaq.json").unlink()
    (root / "retain.json").unlink()
    with pytest.raises(DataError, match="retain: no such table"):
        load_chat(root)
    with pytest.raises(DataError, match="gone: no such folder"):
        load_chat(tmp_path / "gone")
