from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.layouts import identity, write_fiubench

from mmunlearner.data import Splits
from mmunlearner.data.benchmarks.fiubench import load
from mmunlearner.errors import DataError

SHARES = {"forget1": ["000000"], "forget5": ["000000", "000001"], "forget10": ["000002"]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_fiubench(tmp_path / "fiu", [identity(n) for n in range(5)], SHARES)


@pytest.fixture
def splits(root: Path) -> Splits:
    return load(root, forget=5)


def test_who_is_kept_is_in_no_forget_set(splits: Splits):
    assert splits.forget_entities == {"000000", "000001"}
    assert {e.entity for e in splits.retain} == {"000003", "000004"}
    assert {e.entity for e in splits.text} == {"000000", "000001", "000003", "000004"}
    assert splits.text[0].question == "What is the occupation of Person A?"


def test_the_evaluation_asks_again_and_in_other_words(splits: Splits):
    assert {c: len(items) for c, items in splits.evaluation.items()} == {
        "forget_vqa": 6, "forget_vqa_test": 12, "retain_vqa": 6, "retain_vqa_test": 12,
    }  # fmt: skip
    first = splits.evaluation["forget_vqa_test"][0]
    assert (first.question, first.answer) == ("which name?", "Person A")
    assert (first.paraphrase, first.perturbed) == ("it is Person A", ("nothing", "something"))
    ids = [e.id for e in (*splits.vanilla_training, *(e for items in splits.evaluation.values() for e in items))]
    assert len(set(ids)) == len(ids)


def test_one_paraphrase_may_be_a_text_and_metadata_may_be_absent(tmp_path: Path):
    people = [identity(n) for n in range(3)]
    for person in people:
        person["qa_list"] = [{"question": "who?", "answer": "me", "paraphrased_question": "which one?"}]
        del person["metadata"]
    splits = load(write_fiubench(tmp_path / "fiu", people, {"forget5": ["000000"]}), forget=5)
    assert [e.question for e in splits.evaluation["forget_vqa_test"]] == ["which one?"]
    assert splits.text == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qa_list": [{"question": "?"}]}, "row 1, column qa_list[0].answer: expected this column"),
        ({"image_path": "images/gone.png"}, "row 1, column image_path: expected an image, found"),
        ({"unique_id": 7}, "row 1, column unique_id: expected a text, found 7"),
    ],
)
def test_wrong_identities_are_named(root: Path, change: dict[str, Any], message: str):
    content = json.loads((root / "full.json").read_text())
    content[0] |= change
    (root / "full.json").write_text(json.dumps(content))
    with pytest.raises(DataError) as error:
        load(root)
    assert str(error.value).startswith(f"{root}/full.json, {message}")


def test_wrong_shares_are_named(root: Path):
    with pytest.raises(DataError, match=r"split\.json: no set forget20; there are forget1, forget10, forget5"):
        load(root, forget=20)
    (root / "split.json").write_text('{"forget5": ["000009"]}')
    with pytest.raises(DataError, match=r"forget5 names 000009, who is not among the first 400 of full\.json"):
        load(root)
    (root / "split.json").write_text('{"forget5": "000001"}')
    with pytest.raises(DataError, match=r"split\.json, row 1, column forget5: expected a list, found '000001'"):
        load(root)
