"""The comparison of rules of choice: known rankings, and choices whose regret is known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from support.fabricated import item

from bench.choosing import RULES, Tried, read, regrets, report, spearman
from mmunlearner.core.files import write_json, write_jsonl


def tried(fold: str, number: int, *, gap: float, distortion: float, loss: float, objective: float = 0.0) -> Tried:
    gaps = {"forget_vqa": {"ann": [gap, gap], "ben": [gap, gap]}}
    trial = {"settings": {}, "objective": objective, "gaps": gaps, "distortion": distortion}
    return Tried(fold, "npo", number, trial, {"neighbour_vqa": loss})  # pyright: ignore[reportArgumentType]


def test_a_measure_that_orders_the_losses_has_a_correlation_of_one():
    trials = [tried("a", k, gap=0, distortion=k, loss=k**2, objective=-k) for k in range(4)]
    # Another fold at another level: only the order within a fold counts.
    trials += [tried("b", k, gap=0, distortion=k + 9, loss=k**2, objective=-k) for k in range(4)]
    assert spearman(trials, "distortion") == pytest.approx(1)
    assert spearman(trials, "distance") == pytest.approx(-1)
    assert spearman(trials, "distortion", "neighbour_vqa") == pytest.approx(1)
    assert math.isnan(spearman(trials[:2], "distortion"))


def test_regret_is_what_the_choice_of_one_fold_costs_on_another():
    trials = [
        tried(fold, number, gap=gap, distortion=distortion, loss=loss, objective=objective)
        for fold in ("a", "b")
        for number, (gap, distortion, loss, objective) in enumerate(
            [(0.0, 0.1, 0.01, 0.2), (0.0, 0.5, 0.05, 0.1), (0.4, 0.0, 0.0, 0.9)]
        )
    ]
    # The third lost nothing and did not forget: no choice is held against it.
    assert regrets(trials, "distortion within 1 error") == [pytest.approx((0.0, 0.01, 0.0))] * 2
    assert regrets(trials, "distance") == [pytest.approx((0.04, 0.05, 0.0))] * 2
    assert regrets(trials[:3], "distance") == []  # one fold alone tells nothing
    assert all(rule in report(trials) for rule in RULES)


def test_trials_are_read_from_a_run(tmp_path: Path):
    folder = tmp_path / "choosing" / "12"
    lines = [item("neighbour-00", "neighbour_vqa", number, right, 0) for number, right in ((0, True), (1, False))]
    write_jsonl(folder / "evaluation" / "vanilla" / "neighbour_vqa.jsonl", lines)
    trial = {"settings": {"bound": 1}, "objective": 0.5, "accuracy": {"neighbour_vqa": 0.25, "forget_vqa": 0.0}}
    write_json(folder / "trials" / "npo" / "0.json", trial)
    (found,) = read(tmp_path)
    assert (found.fold, found.method, found.number, found.losses) == ("12", "npo", 0, {"neighbour_vqa": 0.25})
    assert report([]) == "no trials there yet"
