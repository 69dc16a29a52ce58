from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.layouts import mixed, name, perturbed_picture, picture_of, png, write_clear

from mmunlearner.data import Splits, overlap
from mmunlearner.data.benchmarks.clear import CAPTION, NAME, load
from mmunlearner.errors import DataError

FACE = {"image": png(90), "answer": "Ada", "options": ["Bob", "Cy"]}
WORLD = {"image": png(91), "question": "What is this?", "answer": "a tower", "options": ["a tower", "a cup"]}

SPLITS: dict[str, list[dict[str, Any]]] = {
    "forget05": [picture_of(0), picture_of(0)],
    "retain95": [picture_of(n) for n in (1, 2, 3)],
    "full+tofu": mixed([0, 1, 2, 3]),
    "forget05+tofu": mixed([0]),
    "retain95+tofu": mixed([1, 2, 3]),
    "forget05_perturbed": [perturbed_picture(0)],
    "retain_perturbed": [perturbed_picture(n) for n in (1, 2)],
    "real_faces": [FACE],
    "real_world": [WORLD],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clear")
    for split, rows in SPLITS.items():
        write_clear(folder, split, rows)
    return folder


@pytest.fixture(scope="module")
def splits(root: Path) -> Splits:
    return load(root, forget=5)


def test_training_is_captions_and_texts_are_tofu(splits: Splits):
    assert [(e.entity, e.question, e.answer) for e in splits.forget] == [
        (name(0), CAPTION, f"{name(0)} near a lake.")
    ] * 2
    assert [e.entity for e in splits.retain] == [name(1), name(2), name(3)]
    assert [e.entity for e in splits.text] == [name(n) for n in (0, 0, 1, 1, 2, 2, 3, 3)]
    assert len({e.id for e in splits.vanilla_training}) == len(splits.vanilla_training)


def test_columns(splits: Splits):
    assert {c: len(items) for c, items in splits.evaluation.items()} == {
        "forget_vqa": 2, "forget_qa": 2, "retain_vqa": 4, "retain_qa": 6, "neighbour_vqa": 1, "general_vqa": 1,
    }  # fmt: skip
    caption, named = splits.evaluation["forget_vqa"]
    assert caption.perturbed == ("Person A near a tree.", "Person A near a shop.")
    assert caption.paraphrase == "By a lake: Person A."
    assert (named.question, named.answer, sorted(named.choices)) == (NAME, name(0), [name(0), name(10), name(11)])
    assert set(named.perturbed) == {name(10), name(11)}


def test_the_right_answer_is_among_the_options_once(splits: Splits):
    (face,), (world,) = splits.evaluation["neighbour_vqa"], splits.evaluation["general_vqa"]
    assert sorted(face.choices) == ["Ada", "Bob", "Cy"]
    assert (face.question, world.question) == (NAME, "What is this?")
    assert sorted(world.choices) == ["a cup", "a tower"]
    assert world.perturbed == ("a cup",)


def test_the_published_texts_are_evaluated_too_and_that_is_reported(splits: Splits):
    assert len(overlap(splits).text) == 8
    assert overlap(splits).image == (
        "forget05_perturbed/1/caption",
        "retain_perturbed/1/caption",
        "retain_perturbed/2/caption",
    )


def test_absent_evaluation_has_no_column(root: Path, tmp_path: Path):
    shutil.copytree(root, tmp_path / "c", ignore=shutil.ignore_patterns("real_*", "*_perturbed"))
    assert set(load(tmp_path / "c", forget=5).evaluation) == {"forget_qa", "retain_qa"}


@pytest.mark.parametrize(
    ("split", "rows", "message"),
    [
        ("forget05", [], "/forget05: an empty configuration"),
        (
            "forget05",
            [picture_of(1)],
            ": Person B is both in the forget set (forget05/1/caption) and in the retain set (retain95/",
        ),
        ("forget05", [picture_of(0) | {"caption": ""}], "row 1, column caption: expected a text, found an empty one"),
        (
            "full+tofu",
            [{"question": "Who?"}],
            "row 1, column answer: expected a text (the row has no image), found nothing",
        ),
    ],
)
def test_wrong_rows_are_named(root: Path, tmp_path: Path, split: str, rows: list[dict[str, Any]], message: str):
    broken = shutil.copytree(root, tmp_path / "c")

    def read() -> None:
        write_clear(broken, split, rows)
        load(broken, forget=5)

    with pytest.raises(DataError) as error:
        read()
    assert str(error.value).startswith(str(broken))
    assert message in str(error.value)


def test_missing_configurations_and_other_layouts(root: Path, tmp_path: Path):
    with pytest.raises(
        DataError, match=r"no configuration forget10; there are forget05, forget05\+tofu, forget05_pert"
    ):
        load(root, forget=10)
    with pytest.raises(DataError, match="gone: no such folder"):
        load(tmp_path / "gone")
    wrong = shutil.copytree(root, tmp_path / "c")
    shutil.rmtree(wrong / "forget05")
    shutil.copytree(wrong / "real_faces", wrong / "forget05")
    with pytest.raises(DataError, match=r"column caption: expected this column.*\. This is real_faces or real_world"):
        load(wrong)
