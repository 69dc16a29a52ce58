"""The table of settings that were tried, in files of all ages."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.fabricated import make_run

from mmunlearner.report import trials
from mmunlearner.report.markdown import report
from mmunlearner.report.records import Trial
from mmunlearner.report.results import Results, load


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return load(make_run(tmp_path_factory.mktemp("run"), only=("vanilla", "oracle", "npo"), beside=False)).results


def with_trials(results: Results, *tried: Trial, **options: object) -> Results:
    """The results of a run whose only method has these trials."""
    models = tuple(replace(model, trials=tried if model.unlearned else ()) for model in results.models)
    return replace(results, models=models, **options)  # pyright: ignore[reportArgumentType]


def test_trials_of_earlier_versions_are_told_by_their_distance(results: Results):
    heads, rows = trials.heads(results), trials.rows(results)
    assert heads == ["Model", "Settings", "distance", "beyond noise", "distortion", ""]
    assert rows == [
        ["NPO", "learning_rate 0.0003", "0.000", "–", "–", "chosen"],
        ["NPO", "learning_rate 0.001", "0.001", "–", "–", ""],
    ]
    assert "Judged on the validation half." in report(results)


def test_choosing_folds_have_a_column_each(results: Results):
    folds = {name: {"objective": value} for name, value in (("12", 0.2), ("12a", 0.4))}
    first: Trial = {"settings": {"bound": 2.0}, "objective": 0.3, "excess": 0.0, "distortion": 0.25, "folds": folds}
    second: Trial = {**first, "settings": {"bound": 3.0}, "distortion": 0.125, "chosen": True}
    of_folds = with_trials(
        results, first, second, choosing_folds=("12", "12a"), folds=("12b",), choosing_rule="distortion"
    )
    assert trials.heads(of_folds)[2:4] == ["distance on 12", "distance on 12a"]
    assert [row[1:] for row in trials.rows(of_folds)] == [
        ["bound 2", "0.200", "0.400", "0.000", "0.250", ""], ["bound 3", "0.200", "0.400", "0.000", "0.125", "chosen"],
    ]  # fmt: skip
    text = report(of_folds)
    assert "Judged on folds 12 and 12a. Scores are of fold 12b." in text
    assert "best of 2 trials on folds 12 and 12a" in text
    assert "validation half" not in text


def test_a_run_without_trials_has_no_table(results: Results):
    assert trials.rows(with_trials(results)) == []
    assert "Settings tried" not in report(with_trials(results))
