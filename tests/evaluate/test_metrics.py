"""Metrics of one answer, against published numbers, plain formulas and their own invariances."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.evaluate import metrics, scores

LOGS = st.floats(-60, -1e-6)
ANSWERS = st.tuples(LOGS, st.integers(1, 30))


def tofu_log_ratios(folder: Path, model: str) -> list[float]:
    """The published per-token losses of the forget set -> log r, by our formula."""
    log = json.loads((folder / f"llama2-7b_{model}.json").read_text())["eval_log_forget.json"]
    truths, wrongs = log["avg_paraphrased_loss"], log["average_perturb_loss"]
    return [metrics.log_truth_ratio((-truths[k], 1), [(-loss, 1) for loss in wrongs[k]]) for k in truths]


@pytest.mark.parametrize(("oracle", "p"), [("retain90", 1.8e-21), ("retain95", 6.5e-16), ("retain99", 2.3e-06)])
def test_forget_quality_equals_the_published_p_values_of_tofu(shared_data, oracle, p):
    folder = shared_data / "tofu_eval_logs"
    quality = scores.forget_quality(tofu_log_ratios(folder, "full"), tofu_log_ratios(folder, oracle))
    assert quality.ks_p == pytest.approx(p, rel=0.03)  # the published values have two digits
    assert 0 < quality.js < 1


@pytest.mark.parametrize("model", ["full", "retain90", "retain95", "retain99"])
def test_truth_ratio_equals_the_published_logs_item_by_item(shared_data, model):
    folder = shared_data / "tofu_eval_logs"
    log = json.loads((folder / f"llama2-7b_{model}.json").read_text())["eval_log_forget.json"]
    ours = np.exp(tofu_log_ratios(folder, model))
    assert ours == pytest.approx(list(log["truth_ratio"].values()), rel=1e-5)  # they were computed in float32


@pytest.mark.parametrize("oracle", ["retain90", "retain95", "retain99"])
def test_js_distance_equals_its_definition_on_the_published_logs(shared_data, oracle):
    """Half the mean divergences to the mixture, base 2, of histograms of 1 / (1 + r) in twenty bins."""
    folder = shared_data / "tofu_eval_logs"
    ratios = [tofu_log_ratios(folder, model) for model in ("full", oracle)]
    p, q = ([0.0] * 20, [0.0] * 20)
    for shares, logs in zip((p, q), ratios, strict=True):
        for log in logs:
            shares[int(20 / (1 + math.exp(log)))] += 1 / len(logs)
    mixture = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    divergence = sum(a * math.log2(a / m) for shares in (p, q) for a, m in zip(shares, mixture, strict=True) if a)
    assert scores.forget_quality(*ratios).js == pytest.approx(math.sqrt(divergence / 2), rel=1e-6)


@pytest.mark.parametrize("task", ["eval_real_author_wo_options", "eval_real_world_wo_options"])
def test_choice_probability_equals_the_published_logs_item_by_item(shared_data, task):
    log = json.loads((shared_data / "tofu_eval_logs" / "llama2-7b_full.json").read_text())[f"{task}.json"]
    for k, published in log["normalized_gt_loss"].items():
        wrong = [(-loss, 1) for loss in log["average_perturb_loss"][k]]
        ours = metrics.choice_probability((-log["avg_gt_loss"][k], 1), wrong)
        assert -math.log(ours) == pytest.approx(published, rel=1e-9)


def test_choice_probability_survives_likelihoods_beyond_the_floats():
    assert metrics.choice_probability((-1e6, 1), [(-1.0, 1)]) < 1e-300
    assert metrics.choice_probability((-1.0, 1), [(-1e6, 1)]) == 1


def test_truth_ratio_divides_sums_by_their_own_lengths():
    """p(truth) = 0.5^2 over 2 tokens, p(wrong) = 0.25^3 over 3 and 0.0625 over 1: r = sqrt(0.25 * 0.0625) / 0.5."""
    wrong = [(3 * math.log(0.25), 3), (math.log(0.0625), 1)]
    assert math.exp(metrics.log_truth_ratio((2 * math.log(0.5), 2), wrong)) == pytest.approx(0.25)


@given(ANSWERS, st.lists(ANSWERS, min_size=1, max_size=5))
def test_truth_ratio_is_bounded_and_does_not_care_for_the_order(truth, wrong):
    ratio = metrics.log_truth_ratio(truth, wrong)
    assert ratio == pytest.approx(metrics.log_truth_ratio(truth, wrong[::-1]), abs=1e-9)
    assert 0 <= metrics.forget_truth_ratio(ratio) <= 1
    assert metrics.forget_truth_ratio(ratio) == metrics.forget_truth_ratio(-ratio)
    assert 0 <= metrics.utility_truth_ratio(ratio) <= 1


def test_truth_ratio_survives_likelihoods_beyond_the_floats():
    for ratio in (metrics.log_truth_ratio((-1e6, 1), [(-1.0, 1)]), metrics.log_truth_ratio((-1.0, 1), [(-1e6, 1)])):
        assert metrics.forget_truth_ratio(ratio) < 1e-300
        assert metrics.utility_truth_ratio(ratio) in (0, 1)


def line(task="generation", **fields):
    return {"task": task, "output": "", "target": "B", "answer": "Rome", "choices": ["Paris", "Rome"], **fields}


@pytest.mark.parametrize(
    ("task", "output", "right"),
    [
        ("multiple_choice", "The answer is B.", True),
        ("multiple_choice", "A man in Rome", True),
        ("multiple_choice", "A", False),
        ("cloze", "She lives in ROME!", True),
        ("cloze", "Romeo", False),
        ("generation", "Rome, not Paris", True),
        ("generation", "", False),
    ],
)
def test_the_task_decides_what_is_right(task, output, right):
    assert metrics.is_correct(line(task, output=output)) is right
    assert metrics.accuracy(line(task, output=output)) == right


def test_lines_name_the_rules_that_they_are_scored_by():
    assert metrics.chosen_letter(line("multiple_choice", output="Because", scoring="released")) == "B"
    assert metrics.chosen_letter(line("multiple_choice", output="Because", scoring="package")) == ""
    assert metrics.is_correct(line(output="Romeo", scoring="released"))
    chinese = line(output="北京", answer="北京")
    assert [metrics.METRICS["rouge_l"].of_line(chinese | {"scoring": s}) for s in ("package", "released")] == [1, 0]


def test_a_longer_answer_is_another_one():
    assert metrics.is_correct(line(output="New Rome"))
    assert not metrics.is_correct(line(output="New Rome", longer=["New Rome"]))


@given(LOGS, st.integers(1, 50))
def test_probability_is_per_token(logp, tokens):
    probability = metrics.answer_probability(logp, tokens)
    assert 0 <= probability <= 1
    assert probability == pytest.approx(metrics.answer_probability(2 * logp, 2 * tokens))


@given(st.lists(st.floats(1e-3, 1), min_size=1, max_size=9))
def test_harmonic_mean_lies_between_the_least_value_and_the_mean(values):
    mean = metrics.harmonic_mean(values)
    assert min(values) - 1e-9 <= mean <= sum(values) / len(values) + 1e-9
    assert metrics.harmonic_mean([*values, 0.0]) == 0


@pytest.mark.parametrize("values", [[], [0.5, -0.1]])
def test_harmonic_mean_refuses_what_has_none(values):
    with pytest.raises(ValueError, match="harmonic mean"):
        metrics.harmonic_mean(values)
