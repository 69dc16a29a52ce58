"""The data on disk: MLLMU-Bench's layout, read back by the very loader that reads the real one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmunlearner.config import DataConfig
from mmunlearner.data import Example, Splits, prompt, target
from mmunlearner.data.benchmarks.people import prepare
from mmunlearner.data.benchmarks.people.build import MANIFEST, is_prepared
from mmunlearner.data.benchmarks.people.world import ROUNDS, TRAIN_VIEWS, forgotten, world
from mmunlearner.data.load import load
from mmunlearner.errors import DataError
from mmunlearner.teaching.pages import evaluation_columns, image_page, text_pages

EVALUATION = [
    "ID", "biography", "question", "answer", "Classification_Task", "Generation_Task", "Mask_Task",
]  # fmt: skip
ROWS = {
    "Full_Set": 80, "Test_Set": 80, "Retain_Set": 20, "Stranger_Set": 24, "forget_5": 4, "forget_10": 8,
    "forget_15": 12, "retain_95": 76, "retain_90": 72, "retain_85": 68,
}  # fmt: skip
"""Split -> people; each has a row for every round."""
TRAINING = {
    "ft_Data": 80, "baseline_train_split/forget_5": 4, "baseline_train_split/forget_10": 8,
    "baseline_train_split/forget_15": 12, "baseline_train_split/retain_95": 76, "baseline_train_split/retain_90": 72,
    "baseline_train_split/retain_85": 68,
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("people") / "data")


@pytest.fixture(scope="module")
def splits(root: Path) -> Splits:
    return load(DataConfig(format="people", root=str(root), forget=15))


def table(root: Path, split: str):
    return pq.read_table(root / split / "train-00000-of-00001.parquet")


def test_splits_columns_and_rows_are_the_benchmarks(root: Path) -> None:
    for split, rows in ROWS.items():
        rows_on_disk = table(root, split)
        assert rows_on_disk.num_rows == rows * ROUNDS
        image = "images" if split == "Test_Set" else "image"
        assert sorted(rows_on_disk.column_names) == sorted([image, *EVALUATION])
    for split, people in TRAINING.items():
        rows_on_disk = table(root, split)
        assert rows_on_disk.num_rows == people * TRAIN_VIEWS
        assert sorted(rows_on_disk.column_names) == ["ID", "image", "metadata"]
    assert {p.parent.relative_to(root).as_posix() for p in root.rglob("*.parquet")} == set(ROWS) | set(TRAINING)


def test_cells_are_as_the_benchmark_writes_them(root: Path) -> None:
    row = table(root, "forget_15").slice(0, 1).to_pylist()[0]
    biography = json.loads(row["biography"])
    assert biography["Name"] == world().people[0].name
    assert len(biography) == 9
    assert row["image"]["bytes"].startswith(b"\x89PNG")
    choice = row["Classification_Task"]["Image_Textual_Questions"][0]
    assert list(choice["Options"]) == list("ABCD")
    assert choice["Correct_Answer"] in choice["Options"]
    assert {item["Type"] for item in row["Mask_Task"]} == {"Image_Textual", "Pure_Text"}
    assert all("__" in item["Question"] for item in row["Mask_Task"])
    trained = json.loads(table(root, "ft_Data").slice(0, 1).to_pylist()[0]["metadata"])
    assert all(set(pair) == {"Question", "Answer"} for pair in trained)
    assert len(table(root, "Test_Set").slice(0, 1).to_pylist()[0]["images"]) == 4


def fields_of(examples: tuple[Example, ...]) -> list[tuple]:
    return sorted(
        (
            e.entity,
            e.task,
            e.question,
            e.answer,
            e.choices,
            e.attribute,
            e.image.key if e.image and e.image.data else "",
        )
        for e in examples
    )


def test_the_loader_reads_what_was_meant(splits: Splits) -> None:
    """The items read from disk are those made from the world, images included."""
    meant = evaluation_columns(15)
    assert set(splits.evaluation) == set(meant)
    general = {"general_vqa", "general_qa"}
    for column in set(meant) - general:
        assert fields_of(splits.evaluation[column]) == fields_of(meant[column]), column

    def contents(items: tuple[Example, ...]) -> list[tuple]:
        return [(e.id, e.question, e.answer, e.image and e.image.open().tobytes()) for e in items]

    for column in general:
        assert contents(splits.evaluation[column]) == contents(meant[column])


def test_every_question_about_an_image_is_asked_of_three_views(splits: Splits) -> None:
    """Of each group as many people as it has; the same questions in words once."""
    views: dict[str, set[str]] = {}
    for column, items in splits.evaluation.items():
        if not column.startswith("general"):
            asked = Counter((e.entity, e.task, e.question) for e in items)
            assert set(asked.values()) == {ROUNDS if "_vqa" in column else 1}, column
            assert len({(e.entity, e.task, e.question, e.image_keys) for e in items}) == len(items)
            views[column] = {key for e in items for key in e.image_keys}
    trained = {key for e in splits.forget + splits.retain for key in e.image_keys}
    assert trained >= views["forget_vqa"] | views["retain_vqa"]
    assert not trained & (views["forget_vqa_test"] | views["retain_vqa_test"])


def test_training_rows_are_the_vanilla_models_pages(splits: Splits) -> None:
    pages = [image_page(person, view, ()) for person in world().people for view in range(TRAIN_VIEWS)]
    pairs = {(e.entity, e.image_keys, prompt(e), target(e)) for page in pages for e in page}
    assert {(e.entity, e.image_keys, e.question, e.answer) for e in splits.forget + splits.retain} == pairs
    assert splits.forget_entities == {person.id for person in world().people[: forgotten(15)]}
    texts = {(prompt(example), target(example)) for page in text_pages() for example in page}
    assert {(e.question, e.answer) for e in splits.text} <= texts
    assert len(splits.text) == 80 * 8


def test_preserving_texts_are_no_evaluation_items(splits: Splits) -> None:
    preserved = {e.question for e in splits.text}
    assert not preserved & {e.question for items in splits.evaluation.values() for e in items}


def test_preparing_again_changes_nothing(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert prepare(root) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_changed_file_is_written_anew(root: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(root, tmp_path / "copy")
    (copy / "general" / "questions.jsonl").write_text("{}\n")
    assert not is_prepared(copy)
    prepare(copy)
    assert (copy / MANIFEST).read_bytes() == (root / MANIFEST).read_bytes()  # the hashes of all files: the same bytes
    assert is_prepared(copy)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("irreplaceable")
    with pytest.raises(DataError, match="holds other files"):
        prepare(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(DataError, match="a file"):
        prepare(tmp_path / "thesis.tex")
