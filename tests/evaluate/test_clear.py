"""CLEAR's three means and its forget quality, from fabricated answers whose values follow by hand."""

from __future__ import annotations

import math

import pytest

from mmunlearner.evaluate.clear import forget_quality, harmonic_means, question_sets

HALF, QUARTER = math.log(0.5), math.log(0.25)


def line(column: str, task: str, truth: float, wrong: list[float], *, id: str = "1") -> dict:
    return {
        "id": id, "entity": id, "column": column, "task": task, "target": "x", "answer": "x", "output": "x",
        "answer_logp": truth, "answer_tokens": 1, "perturbed_logps": wrong, "perturbed_tokens": [1] * len(wrong),
    }  # fmt: skip


COLUMNS = {
    "forget_vqa": [
        line("forget_vqa", "generation", HALF, [QUARTER]),
        line("forget_vqa", "multiple_choice", HALF, [HALF]),
    ],
    "retain_vqa": [line("retain_vqa", "generation", HALF, [QUARTER])],
    "neighbour_vqa": [line("neighbour_vqa", "multiple_choice", HALF, [QUARTER, QUARTER])],
    "general_vqa": [line("general_vqa", "multiple_choice", HALF, [QUARTER])],
    "retain_qa": [line("retain_qa", "generation", -5, [-5])],
}


def test_captions_have_a_probability_of_their_own_and_choices_a_share():
    """r = 1/2 or, where truth and wrong are alike, 1."""
    assert question_sets(COLUMNS) == [
        ("neighbour_vqa", "multiple_choice", pytest.approx(1 / 2), pytest.approx(1 / 2)),
        ("general_vqa", "multiple_choice", pytest.approx(2 / 3), pytest.approx(1 / 2)),
        ("retain_vqa", "generation", pytest.approx(1 / 2), pytest.approx(1 / 2)),
        ("forget_vqa", "generation", pytest.approx(1 / 2), pytest.approx(1 / 2)),
        ("forget_vqa", "multiple_choice", pytest.approx(1 / 2), pytest.approx(1)),
    ]


def test_the_three_means_are_harmonic():
    assert harmonic_means(COLUMNS) == {
        "real": pytest.approx(4 / (2 + 2 + 3 / 2 + 2)),
        "retain": pytest.approx(1 / 2),
        "forget": pytest.approx(4 / (2 + 2 + 2 + 1)),
    }
    assert harmonic_means({"retain_qa": COLUMNS["retain_qa"]}) == {}


def test_sets_without_wrong_answers_have_no_part():
    bare = {k: v for k, v in COLUMNS["retain_vqa"][0].items() if not k.startswith("perturbed")}
    assert harmonic_means({"retain_vqa": [bare]}) == {}
    assert forget_quality({"forget_vqa": [bare]}, {"forget_vqa": [bare]}) == {}


def test_forget_quality_is_best_for_the_oracle_itself_and_taken_task_by_task():
    def model(shift: float) -> dict:
        lines = [line("forget_vqa", "generation", HALF, [-k / 7 + shift], id=str(k)) for k in range(20)]
        return {"forget_vqa": [*lines, line("forget_vqa", "multiple_choice", HALF, [HALF])]}

    same, far = (forget_quality(model(shift), model(0)) for shift in (0, 5))
    assert set(same) == {("forget_vqa", "generation"), ("forget_vqa", "multiple_choice")}
    assert same["forget_vqa", "generation"] == (1, 0, 0)
    assert far["forget_vqa", "generation"].ks_p < 1e-3
    assert far["forget_vqa", "generation"].js > 0.5
    assert far["forget_vqa", "multiple_choice"].ks_p == 1
