"""What may be claimed of a run."""

from __future__ import annotations

import pytest

from mmunlearner.errors import DataError
from mmunlearner.evaluate import distance_to_oracle, memorisation_gate, oracle_gap
from mmunlearner.evaluate.gate import difference


def lines(right, *, entities=10, wrong_logp=-8.0):
    """One cloze item per entry of `right`, spread over entities."""
    return [
        {
            "id": str(i), "entity": str(i % entities), "column": "forget_vqa", "task": "cloze", "target": "red",
            "answer": "red", "output": "red" if r else "blue", "answer_logp": -1.0, "answer_tokens": 1,
            "perturbed_logps": [wrong_logp - 0.1 * i], "perturbed_tokens": [2],
        }
        for i, r in enumerate(right)
    ]  # fmt: skip


def test_a_vanilla_model_that_knows_passes():
    gate = memorisation_gate(lines([1] * 40), lines([0] * 36 + [1] * 4))
    assert gate.passed
    assert gate.margin == pytest.approx(0.9)
    assert "it knows what it is to forget" in gate.text


@pytest.mark.parametrize(
    ("vanilla", "oracle"),
    [
        ([1] * 20 + [0] * 20, [1] * 18 + [0] * 22),  # 5 points: too small a margin
        ([1, 1, 1, 0, 0, 0, 1, 0, 1, 0], [0, 0, 0, 1, 1, 0, 0, 0, 1, 0]),  # 20 points, with an error as large
        ([0] * 40, [1] * 40),
        ([1] * 40, [1] * 40),
    ],
)
def test_without_a_clear_margin_nothing_is_claimed(vanilla, oracle):
    gate = memorisation_gate(lines(vanilla), lines(oracle))
    assert not gate.passed
    assert "nothing can be claimed" in gate.text


def test_the_gap_is_taken_on_the_same_items_column_by_column():
    model = {"forget_vqa": lines([1, 1, 0, 0]), "general": lines([1])}
    oracle = {"forget_vqa": lines([0, 1, 0, 0, 1, 1])}
    gaps = oracle_gap(model, oracle)
    assert list(gaps) == ["forget_vqa"]
    assert gaps["forget_vqa"].value == pytest.approx(0.25)
    assert gaps["forget_vqa"].n == 4


def test_models_evaluated_on_different_items_cannot_be_compared():
    other = [line | {"id": f"other {line['id']}"} for line in lines([1, 1])]
    with pytest.raises(DataError, match="no item in common"):
        difference(lines([1, 1]), other)


def test_the_distance_to_the_oracle_needs_perturbed_answers():
    near = distance_to_oracle(lines([1] * 30), lines([1] * 30))
    far = distance_to_oracle(lines([1] * 30), lines([1] * 30, wrong_logp=8.0))
    assert near is not None
    assert far is not None
    assert (near.ks, far.ks) == (0, 1)
    bare = [{k: v for k, v in line.items() if not k.startswith("perturbed")} for line in lines([1])]
    assert distance_to_oracle(bare, lines([1])) is None
