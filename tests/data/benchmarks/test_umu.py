from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.layouts import umu_person, write_umu

from mmunlearner.data import Splits, overlap, target
from mmunlearner.data.benchmarks.umu import load
from mmunlearner.errors import DataError


def bench(root: Path, *, change: dict[str, Any] | None = None) -> Path:
    groups = {"forget_25": [0], "retain_75": [1, 2, 3], "Test_Set": [0, 1], "Retain_Set": [4]}
    for split, numbers in groups.items():
        write_umu(root, split, [umu_person(n) | (change or {}) for n in numbers])
    return root


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    return load(bench(tmp_path_factory.mktemp("umu")), forget=25)


def test_training_and_texts_are_the_rows_own(splits: Splits):
    assert [(e.question, e.answer, e.attribute) for e in splits.forget] == [
        ("Tell the Name of this person.", "Person A", "Name"),
        ("Tell the Occupation of this person.", "baker", "Occupation"),
        ("Tell the Residence of this person.", "Tarn", "Residence"),
    ]
    assert {e.entity for e in splits.retain} == {"002", "003", "004"}
    assert next(e.question for e in splits.text if e.entity == "001") == "Tell the Name of Person A."
    assert {e.entity for e in splits.text} == {"001", "002", "003", "004"}
    assert overlap(splits) == ((), ())


def test_columns_hold_every_task_in_one_modality(splits: Splits):
    assert {c for c in splits.evaluation if c.startswith("neighbour")} == {"neighbour_vqa", "neighbour_qa"}
    for column, items in splits.evaluation.items():
        assert {e.modality for e in items} == {column.split("_")[1]}
        assert {e.task for e in items} == {"multiple_choice", "generation", "cloze"}
        assert {e.attribute for e in items} == {"Occupation"}
    choice, _, cloze = splits.evaluation["forget_qa"]
    assert (choice.answer, choice.choices[ord(target(choice)) - 65]) == ("baker", "baker")
    assert cloze.question.startswith("__ is the job")
    assert cloze.perturbed == choice.perturbed


def test_python_literals_are_read_as_the_published_files_have_them(tmp_path: Path):
    columns = ("MM_QA", "UM_QA", "Classify", "Cloze", "Generation")
    rows = [umu_person(n) for n in range(2)]
    literal = [row | {column: repr(row[column]) for column in columns} for row in rows]
    write_umu(tmp_path / "a", "forget_50", literal[:1])
    write_umu(tmp_path / "a", "retain_50", literal[1:])
    write_umu(tmp_path / "b", "forget_50", rows[:1])
    write_umu(tmp_path / "b", "retain_50", rows[1:])
    assert [e.id for e in load(tmp_path / "a", forget=50).forget] == [
        e.id for e in load(tmp_path / "b", forget=50).forget
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"MM_QA": {"question": {"Job": "?"}, "answer": {}}},
            "column MM_QA: expected a question and an answer under each",
        ),
        (
            {"UM_QA": {"question": {}, "answer": {"Job": "x"}}},
            "column UM_QA: expected a question and an answer under each",
        ),
        (
            {"Classify": {"unimodal": {}, "multimodal": {"Job": {"question": "?", "answer": "A. x"}}}},
            "column Classify.multimodal.Job.options: expected two or more options",
        ),
        (
            {
                "Classify": {
                    "unimodal": {},
                    "multimodal": {"J": {"question": "?", "answer": "E", "options": {"A": "x", "B": "y"}}},
                }
            },
            "column Classify.multimodal.J.answer: expected one of A, B, or the text of one, found 'E'",
        ),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, change: dict[str, Any], message: str):
    root = bench(tmp_path / "b", change=change)
    with pytest.raises(DataError) as error:
        load(root, forget=25)
    assert str(error.value).startswith(f"{root}/forget_25/train-00000-of-00001.parquet, row 1, {message}")
