"""Saved answers -> scores, without a model; their statistics; what may be claimed of them."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.core.files import read_json, write_jsonl
from mmunlearner.errors import DataError
from mmunlearner.evaluate import (
    METRICS,
    ModelScores,
    Score,
    distance_to_oracle,
    memorisation_gate,
    read_columns,
    rescore,
)
from mmunlearner.evaluate.scores import (
    ItemScores,
    difference,
    differences,
    forget_quality,
    item_scores,
    mean_score,
    noise_limit,
    score_lines,
    visible_errors,
)

VALUES = st.lists(st.floats(0, 1), min_size=2, max_size=30)
COMMON = {"modality": "vqa", "attribute": "job", "image": None, "prompt": "?", "answer_logp": -2.0, "answer_tokens": 2}


def line(id, task="generation", *, output="a doctor", entity="ann", column="forget_vqa", **more):
    answer = "doctor"
    target = "B" if task == "multiple_choice" else answer
    base = {"id": id, "entity": entity, "column": column, "task": task, "target": target, "answer": answer}
    return {**base, **COMMON, "output": output, **more}


def test_each_metric_counts_the_items_it_applies_to(tmp_path):
    wrongs = {"perturbed_logps": [-4.0, -2.0], "perturbed_tokens": [2, 1]}
    lines = [
        line("1", "multiple_choice", output="B", **wrongs),
        line("2", "multiple_choice", output="A", entity="ben"),
        line("3", "cloze", output="the Doctor."),
        line("4", output="a doctor", paraphrase_logp=-3.0, paraphrase_tokens=1, **wrongs),
    ]
    scores = score_lines(lines)
    assert {name: (score.value, score.n) for name, score in scores.items() if name not in ("bleu", "probability")} == {
        "accuracy": (0.75, 4),
        "multiple_choice": (0.5, 2),
        "cloze": (1, 1),
        "generation": (1, 1),
        "rouge_l": (pytest.approx(2 / 3), 1),
        "rouge_l_recall": (1, 1),
        # item 1: r = e^-2 / e^-1 against the answer; item 4: r = e^-2 / e^-3 against its paraphrase; both 1/e from 1
        "truth_ratio": (pytest.approx(0.36787944), 2),
        # e^-1 against e^-2 and e^-2
        "choice_probability": (pytest.approx(0.5761169), 2),
    }
    assert scores["probability"].value == pytest.approx(0.36787944)


def test_the_truth_ratio_of_other_columns_asks_how_sure_the_model_is():
    wrongs = {"perturbed_logps": [-6.0], "perturbed_tokens": [2]}
    for column, expected in (("forget_vqa", 0.1353353), ("retain_vqa", 0.8646647)):
        scores = score_lines(
            [line("1", column=column, answer_logp=-1.0, answer_tokens=1, **wrongs) | {"column": column}]
        )
        assert scores["truth_ratio"].value == pytest.approx(expected)


def test_multiple_choice_is_scored_by_likelihood_too():
    """B is right. Written: B, A, nothing; likeliest B, B, A."""
    written_and_logps = [("B", [-2.0, -1.0]), ("A", [-2.0, -1.0]), ("?", [-1.0, -2.0])]
    lines = [
        line(str(i), "multiple_choice", output=output, entity=str(i), option_logps=logps)
        for i, (output, logps) in enumerate(written_and_logps)
    ]
    scores = score_lines(lines)
    values = {name: scores[name].value for name in scores if name.startswith("multiple_choice")}
    assert values == {
        "multiple_choice": pytest.approx(1 / 3),
        "multiple_choice_likelihood": pytest.approx(2 / 3),
        "multiple_choice_agreement": pytest.approx(1 / 3),
    }


def test_metrics_that_do_not_apply_are_absent():
    bare = {k: v for k, v in line("1", "cloze").items() if not k.startswith("answer_")}
    assert set(score_lines([bare])) == {"accuracy", "cloze"}
    assert set(score_lines([bare])) < set(METRICS)


def test_rescoring_writes_what_it_returns_and_reads_back(tmp_path):
    write_jsonl(tmp_path / "forget_vqa.jsonl", [line("1"), line("2", output="x", entity="ben")])
    write_jsonl(tmp_path / "general.jsonl", [line("3", "cloze", column="general")])
    scores = rescore(tmp_path)
    assert list(scores.columns) == ["forget_vqa", "general"]
    assert scores.columns["forget_vqa"]["accuracy"] == Score(0.5, 0.5, 2)
    assert ModelScores.from_json(read_json(tmp_path / "scores.json")) == scores
    assert read_json(tmp_path / "scores.json")["columns"]["general"]["cloze"] == {"value": 1.0, "stderr": 0.0, "n": 1}


def test_the_same_answers_are_scored_by_any_rules(tmp_path):
    lines = [line("1", "cloze", output="two doctors"), line("2", "multiple_choice", output="Because")]
    before = write_jsonl(tmp_path / "forget_vqa.jsonl", lines).read_bytes()
    for scoring, accuracy in (("package", 0.0), ("released", 1.0)):
        assert rescore(tmp_path, scoring).columns["forget_vqa"]["accuracy"].value == accuracy
        assert read_json(tmp_path / "scores.json")["scoring"] == scoring
        assert {item["scoring"] for item in read_columns(tmp_path, scoring)["forget_vqa"]} == {scoring}
    assert (tmp_path / "forget_vqa.jsonl").read_bytes() == before


def test_a_line_that_is_no_item_is_named(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [line("1"), {"id": "2"}])
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: entity: expected this field"):
        read_columns(tmp_path)


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no evaluated items"):
        rescore(tmp_path)


def test_scoring_imports_no_torch(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [line("1")])
    code = (
        "import sys; from mmunlearner.evaluate import rescore; rescore(sys.argv[1]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0


# --- statistics -----------------------------------------------------------------------------------------------------


@given(VALUES)
def test_one_item_per_entity_gives_the_plain_standard_error(values):
    score = mean_score(values, [str(i) for i in range(len(values))])
    assert score.value == pytest.approx(np.mean(values))
    assert score.stderr == pytest.approx(np.std(values, ddof=1) / math.sqrt(len(values)), abs=1e-12)


@given(VALUES, st.integers(2, 5))
def test_repeating_every_item_of_an_entity_adds_no_certainty(values, copies):
    entities = [str(i) for i in range(len(values))]
    once, often = mean_score(values, entities), mean_score(values * copies, entities * copies)
    assert often.stderr == pytest.approx(once.stderr, abs=1e-12)
    assert often.n == copies * once.n


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abcd")), min_size=2, max_size=40), st.randoms())
def test_the_standard_error_does_not_care_for_order_names_or_shift(items, random):
    shuffled = random.sample(items, len(items))
    a = mean_score([v for v, _ in items], [e for _, e in items])
    b = mean_score([v + 3 for v, _ in shuffled], [f"x{e}" for _, e in shuffled])
    assert b.value - 3 == pytest.approx(a.value)
    assert b.stderr == pytest.approx(a.stderr, abs=1e-9)


def test_the_standard_error_is_the_spread_of_a_mean_over_drawn_entities():
    """Entities of a level of their own (variance 1, items 0.09): Var(mean) = 1 / 30 + 0.09 / 240, not 1.09 / 240."""
    rng = np.random.default_rng(0)
    entities = [str(i) for i in np.arange(30).repeat(8)]
    levels = rng.normal(size=(200, 30)).repeat(8, axis=1) + 0.3 * rng.normal(size=(200, 240))
    errors = [mean_score(list(values), entities).stderr for values in levels]
    assert np.mean(errors) == pytest.approx(math.sqrt(1 / 30 + 0.09 / 240), rel=0.03)


def test_a_single_entity_or_item_has_a_stated_fallback():
    plain = mean_score([0.0, 1.0, 1.0], ["a", "b", "c"])
    assert mean_score([0.0, 1.0, 1.0], ["a", "a", "a"]) == plain
    assert mean_score([1.0], ["a"]) == Score(1.0, 0.0, 1)
    with pytest.raises(ValueError, match="at least one"):
        mean_score([], [])


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=2, max_size=20), st.floats(-0.5, 0.5))
def test_a_paired_difference_sees_through_the_items_difficulty(values, shift):
    entities = {item: item for item in values}
    shifted = {item: value + shift for item, value in values.items()}
    gap = difference(ItemScores(shifted, entities), ItemScores(values, entities))
    assert gap.value == pytest.approx(shift, abs=1e-9)
    assert gap.stderr == pytest.approx(0, abs=1e-9)


def test_a_paired_difference_takes_common_items_alone():
    gap = difference(
        ItemScores({"x": 1.0, "y": 0.0}, {"x": "a", "y": "b"}), ItemScores({"y": 1.0, "z": 0.0}, {"y": "b", "z": "c"})
    )
    assert gap == (-1.0, 0.0, 1, 1)


@given(st.lists(st.floats(-5, 5), min_size=5, max_size=40), st.lists(st.floats(-5, 5), min_size=5, max_size=40))
def test_forget_quality_is_best_for_the_oracle_itself_and_symmetric(a, b):
    same, ab, ba = (forget_quality(*pair) for pair in ((a, a), (a, b), (b, a)))
    assert (same.ks, same.js) == (0, 0)
    assert same.ks_p == pytest.approx(1)
    assert ab.ks == pytest.approx(ba.ks)
    assert ab.js == pytest.approx(ba.js)
    assert 0 <= ab.js <= 1
    assert 0 <= ab.ks_p <= 1


def test_disjoint_truth_ratios_are_as_far_as_can_be():
    quality = forget_quality([-4.0] * 20, [4.0] * 20)
    assert quality.ks == 1
    assert quality.js == pytest.approx(1)


def test_noise_limit_asks_more_of_many_columns_and_few_entities() -> None:
    assert noise_limit(1, 10**6) == pytest.approx(1.96, abs=0.001)
    assert noise_limit(1, 10) == pytest.approx(2.262, abs=0.001)
    assert noise_limit(11, 10) > noise_limit(1, 10) > noise_limit(1, 100) > noise_limit(1, 10**6)
    assert noise_limit(1, 1) == math.inf


# --- one model against another --------------------------------------------------------------------------------------


def answers(right, *, entities=10, wrong_logp=-8.0):
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
    gate = memorisation_gate(answers([1] * 40), answers([0] * 36 + [1] * 4))
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
    gate = memorisation_gate(answers(vanilla), answers(oracle))
    assert not gate.passed
    assert "nothing can be claimed" in gate.text


def test_the_gap_is_taken_on_the_same_items_column_by_column():
    model = {"forget_vqa": item_scores(answers([1, 1, 0, 0])), "general": item_scores(answers([1]))}
    oracle = {"forget_vqa": item_scores(answers([0, 1, 0, 0, 1, 1]))}
    gaps = differences(model, oracle)
    assert list(gaps) == ["forget_vqa"]
    assert gaps["forget_vqa"].value == pytest.approx(0.25)
    assert gaps["forget_vqa"].n == 4


def test_models_evaluated_on_different_items_cannot_be_compared():
    other = [line | {"id": f"other {line['id']}"} for line in answers([1, 1])]
    with pytest.raises(DataError, match="no item in common"):
        difference(item_scores(answers([1, 1])), item_scores(other))


def test_the_distance_to_the_oracle_needs_perturbed_answers():
    near = distance_to_oracle(answers([1] * 30), answers([1] * 30))
    far = distance_to_oracle(answers([1] * 30), answers([1] * 30, wrong_logp=8.0))
    assert near is not None
    assert far is not None
    assert (near.ks, far.ks) == (0, 1)
    bare = [{k: v for k, v in line.items() if not k.startswith("perturbed")} for line in answers([1])]
    assert distance_to_oracle(bare, answers([1])) is None


@pytest.mark.parametrize(("entities", "items"), [(4, 3), (12, 6), (40, 2)])
def test_the_smallest_visible_difference_is_seen_in_four_of_five_runs(entities: int, items: int):
    """By the errors and the test of the report, with people who differ and whose items differ."""
    rng, runs, of_person, of_item = np.random.default_rng(entities), 2000, 0.2, 0.3
    true_error = math.sqrt((of_person**2 + of_item**2 / items) / entities)
    names = [str(i // items) for i in range(entities * items)]
    seen = {0.0: 0, visible_errors(entities) * true_error: 0}
    for true_difference in seen:
        for _ in range(runs):
            people = true_difference + np.repeat(rng.normal(0, of_person, entities), items)
            mean = mean_score(list(people + rng.normal(0, of_item, len(people))), names)
            seen[true_difference] += abs(mean.value) > noise_limit(1, entities) * mean.stderr
    false_alarms, found = seen.values()
    assert found / runs == pytest.approx(0.8, abs=0.035)  # four standard errors of 2,000 draws
    assert false_alarms / runs == pytest.approx(0.05, abs=0.02)


@given(st.integers(2, 5000))
def test_more_entities_show_smaller_differences(entities: int):
    assert visible_errors(entities + 1) < visible_errors(entities)
    assert visible_errors(entities, 0.5) < visible_errors(entities)
    assert visible_errors(entities) > 2.8015  # of a normal distribution: 1.95996 + 0.84162


def test_a_lone_entity_shows_nothing_of_others():
    assert visible_errors(1) == math.inf
