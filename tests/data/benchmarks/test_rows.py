from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.layouts import image_bytes, png

from mmunlearner.core.texts import appearance, canonical, is_blank
from mmunlearner.data import Example, ImageRef
from mmunlearner.data.benchmarks.rows import FILE, as_row, load, load_general, read, write
from mmunlearner.errors import DataError

A, B, C = (ImageRef(f"images/{name}.png", png(k)) for k, name in enumerate("abc"))


def row(entity: str, split: str, image: str | None = None, **more: Any) -> dict[str, Any]:
    return {"entity": entity, "image": image, "question": f"Q of {entity}?", "answer": "yes", "split": split} | more


ROWS = [
    row("a", "train", "images/a.png"),
    row("a", "train"),
    row("a", "eval", "images/a.png"),
    row("a", "eval"),
    row("a", "test", "images/b.png"),
    row("a", "test"),
    row("b", "train", "images/b.png"),
    row("b", "train"),
    row("b", "eval", "images/b.png"),
    row("b", "test"),
    row("n", "train", "images/c.png", group="neighbour"),
    row("n", "train", group="neighbour"),
    row("n", "eval", "images/c.png", group="neighbour"),
    row("n", "test", group="neighbour"),
    row("g", "train", group="general"),
    row("g", "eval", group="general"),
    row("g", "test", "images/c.png", group="general"),
    row("s", "eval", "images/c.png", group="stranger"),
]


def folder(path: Path, rows: list[Any]) -> Path:
    (path / "images").mkdir(parents=True)
    for image in (A, B, C):
        (path / image.path).write_bytes(image.data or b"")
    (path / FILE).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_rows_go_where_the_table_says(tmp_path: Path):
    splits = load(folder(tmp_path / "r", ROWS), forget_entities=("a",))
    sets = {
        **{name: getattr(splits, name) for name in ("forget", "retain", "text", "background")},
        **splits.evaluation,
    }
    lines = {name: [int(e.id.split("/")[2]) for e in items] for name, items in sets.items()}
    assert lines == {
        "forget": [1], "retain": [7], "text": [2, 8], "background": [11, 12, 15],
        "forget_vqa": [3], "forget_qa": [4], "forget_vqa_test": [5], "forget_qa_test": [6],
        "retain_vqa": [9], "retain_qa_test": [10], "neighbour_vqa": [13], "neighbour_qa": [14],
        "stranger_vqa": [18], "general_qa": [16], "general_vqa": [17],
    }  # fmt: skip


def test_the_models_are_trained_on_background_too_and_unlearning_is_not(tmp_path: Path):
    splits = load(folder(tmp_path / "r", ROWS), forget_entities=("a",))
    assert set(splits.vanilla_training) - set(splits.oracle_training) == set(splits.forget)
    assert set(splits.background) <= set(splits.oracle_training)
    assert not set(splits.background) & {*splits.forget, *splits.retain, *splits.text}


def test_equal_images_are_one_reference(tmp_path: Path):
    splits = load(folder(tmp_path / "r", ROWS), forget_entities=("a",))
    assert splits.forget[0].image is splits.evaluation["forget_vqa"][0].image


def test_a_folder_of_general_questions(tmp_path: Path):
    items = load_general(
        folder(tmp_path / "g", [row("x", "train"), row("x", "eval"), row("y", "test", group="general")])
    )
    assert [e.entity for e in items] == ["x", "y"]
    with pytest.raises(DataError, match="no row of split eval or test"):
        load_general(folder(tmp_path / "h", [row("x", "train")]))


def test_what_is_absent_is_made_up(tmp_path: Path):
    rows = [
        row("a", "eval", choices=["yes", "no", "perhaps"], attribute="truth", id="mine"),
        row("a", "eval", paraphrase="aye"),
    ]
    (_, choice), (_, plain) = read(folder(tmp_path / "r", rows))
    assert choice == Example(
        "mine", "a", "Q of a?", "yes", task="multiple_choice", choices=("yes", "no", "perhaps"),
        perturbed=("no", "perhaps"), attribute="truth",
    )  # fmt: skip
    assert plain == Example("eval/a/2", "a", "Q of a?", "yes", paraphrase="aye")


WORDS = (
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=8)
    .map(canonical)
    .filter(lambda text: not is_blank(text))
)


@st.composite
def examples(draw: st.DrawFn, number: int) -> tuple[Example, str, str | None]:
    choices = tuple(draw(st.lists(WORDS, min_size=2, max_size=5, unique_by=appearance)))
    task = draw(st.sampled_from(["generation", "cloze", "multiple_choice"]))
    example = Example(
        f"{number}", draw(WORDS), draw(WORDS) + (" __" if task == "cloze" else ""), choices[0],
        images=tuple(draw(st.lists(st.sampled_from([A, B, C]), max_size=3))), task=task,
        choices=choices if task == "multiple_choice" else (),
        perturbed=choices[1:] if draw(st.booleans()) or task == "multiple_choice" else (),
        paraphrase=draw(st.just("") | WORDS), attribute=draw(st.just("") | WORDS),
    )  # fmt: skip
    return (
        example,
        draw(st.sampled_from(["train", "eval", "test"])),
        draw(st.sampled_from([None, "neighbour", "stranger", "general"])),
    )


@given(st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    drawn_rows = [data.draw(examples(number)) for number in range(data.draw(st.integers(1, 6)))]
    root = write(tmp_path_factory.mktemp("rows") / "out", [as_row(e, split, group=g) for e, split, g in drawn_rows])
    pairs = read(root)
    assert [(r["split"], r.get("group")) for r, _ in pairs] == [(split, g) for _, split, g in drawn_rows]
    assert [replace(e, images=()) for _, e in pairs] == [replace(e, images=()) for e, _, _ in drawn_rows]
    assert [[Path(image.path).read_bytes() for image in e.images] for _, e in pairs] == [
        [image.data for image in e.images] for e, _, _ in drawn_rows
    ]
    image_cells = [json.loads(line).get("image") for line in (root / FILE).read_text(encoding="utf-8").split("\n")[:-1]]
    assert [(str, list)[len(e.images) > 1] if e.images else type(None) for e, _, _ in drawn_rows] == list(
        map(type, image_cells)
    )


def test_images_without_a_name_of_their_own_are_named_by_content(tmp_path: Path):
    (tmp_path / "face.jpg").write_bytes(image_bytes(1, "JPEG"))
    images = [ImageRef("Full_Set, row 3", png(1)), ImageRef(str(tmp_path / "face.jpg")), ImageRef("../up.png", png(2))]
    images += [ImageRef("x.png", png(3)), ImageRef("x.png", png(4))]
    items = [Example(f"{k}", "a", "?", "yes", (image,)) for k, image in enumerate(images)]
    root = write(tmp_path / "out", [as_row(e, "train") for e in items])
    stored = [e.image.path for _, e in read(root) if e.image]
    assert len({Path(path).read_bytes() for path in stored}) == 5
    assert all(Path(path).resolve().is_relative_to(root.resolve()) for path in stored)
    assert Path(stored[3]).name == "x.png"


def test_a_wrong_row_leaves_what_was_there(tmp_path: Path):
    write(tmp_path / "out", [as_row(Example("1", "a", "?", "yes"), "train")])
    bad = as_row(Example("2", "a", "?", "yes", choices=("no", "maybe"), task="multiple_choice"), "eval")
    with pytest.raises(DataError, match=rf"{tmp_path}/out/questions\.jsonl, row 1, column answer: expected one of"):
        write(tmp_path / "out", [bad])
    assert [e.id for _, e in read(tmp_path / "out")] == ["1"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"anwser": "x"}, "column anwser: unknown column; did you mean answer?"),
        ({"split": "training"}, "column split: expected one of train, eval, test, found 'training'"),
        ({"group": "celebrity"}, "column group: expected one of neighbour, stranger, general, found 'celebrity'"),
        ({"task": "choice"}, "column task: expected one of generation, cloze, multiple_choice, found 'choice'"),
        ({"entity": ""}, "column entity: expected a text, found an empty one"),
        ({"image": "images/z.png"}, "column image: expected an image, found "),
        ({"image": FILE}, "questions.jsonl: not decodable (205 bytes, no known image format; "),
        ({"task": "cloze"}, "column question: expected a blank written `__` (task is cloze), found 'Q of a?'"),
        ({"task": "cloze", "choices": ["yes"]}, "column question: expected a blank"),
        (
            {"task": "generation", "choices": ["yes"]},
            "column task: expected multiple_choice (there are choices)",
        ),
        ({"task": "multiple_choice"}, "column choices: expected 2 to 26 different texts (task is multiple_choice)"),
        ({"choices": ["yes", "yes\u200b"]}, "column choices: expected 2 to 26 different texts"),
        ({"entity": "a\x1b[2J"}, "column entity: expected a name without control characters, found 'a\\x1b[2J'"),
        ({"question": "\u200b"}, "column question: expected a text, found nothing visible in '\\u200b'"),
        ({"choices": ["yes", "yes"]}, "column choices: expected 2 to 26 different texts"),
        ({"choices": ["no", "maybe"]}, "column answer: expected one of the choices no, maybe, found 'yes'"),
        ({"id": "first"}, "column id: expected an id of its own, found first, which row 1 has"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, bad: dict[str, Any], message: str):
    root = folder(tmp_path / "r", [row("b", "train", id="first"), row("a", "eval") | bad])
    with pytest.raises(DataError) as error:
        load(root, forget_entities=("a",))
    assert str(error.value).startswith(f"{root / FILE}, row 2, column ")
    assert message in str(error.value)


@pytest.mark.parametrize("column", ["entity", "question", "answer", "split"])
def test_missing_columns_are_named(tmp_path: Path, column: str):
    root = folder(tmp_path / "r", [{k: v for k, v in row("a", "train").items() if k != column}])
    with pytest.raises(DataError, match=rf"row 1, column {column}: expected this column"):
        load(root, forget_entities=("a",))


def test_a_line_that_is_not_json(tmp_path: Path):
    root = folder(tmp_path / "r", ROWS)
    with (root / FILE).open("a") as file:
        file.write('{"entity": "a", \n')
    with pytest.raises(DataError, match=r"questions\.jsonl, line 19: not valid JSON"):
        load(root, forget_entities=("a",))


def test_a_truncated_image(tmp_path: Path):
    root = folder(tmp_path / "r", ROWS)
    (root / "images" / "b.png").write_bytes(png(1)[:40])
    with pytest.raises(DataError, match=r"row 5, column image: expected an image, found .*b\.png: not decodable"):
        load(root, forget_entities=("a",))


@pytest.mark.parametrize(
    ("forget", "message"),
    [
        ((), r"name the entities to forget \(--data.forget_entities\), e\.g\. some of a, b"),
        (("aa",), r"no entity 'aa' to forget; did you mean a\?"),
        (("n",), r"no entity 'n' to forget; known: a, b"),
        (("a", "b"), r"the retain set is empty: no training question about an image in it"),
    ],
)
def test_whom_to_forget_must_be_known(tmp_path: Path, forget: tuple[str, ...], message: str):
    root = folder(tmp_path / "r", ROWS)
    with pytest.raises(DataError, match=message):
        load(root, forget_entities=forget)


def test_one_name_in_two_unicode_forms_is_one_entity(tmp_path: Path):
    rows = [
        row("Jose\u0301  Li", "train", "images/a.png"),
        row(" Jos\u00e9 Li", "eval"),
        row("b", "train", "images/b.png"),
    ]
    for name in ("José Li", "Jose\u0301 Li "):
        splits = load(folder(tmp_path / name, rows), forget_entities=(name,))
        assert {e.entity for e in (*splits.forget, *splits.evaluation["forget_qa"])} == {"Jos\u00e9 Li"}


def test_an_entity_to_forget_is_no_neighbour(tmp_path: Path):
    rows = [*ROWS, row("a", "train", "images/c.png", group="neighbour")]
    with pytest.raises(
        DataError, match=r"a is both in the forget set \(train/a/1\) and in the background set \(train/a/19"
    ):
        load(folder(tmp_path / "r", rows), forget_entities=("a",))


def test_a_folder_without_questions(tmp_path: Path):
    root = folder(tmp_path / "r", ROWS)
    shutil.move(root / FILE, root / "question.jsonl")
    with pytest.raises(DataError, match="questions: no such table"):
        load(root, forget_entities=("a",))
