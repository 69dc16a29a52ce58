"""Findings follow from the results: each sentence changes when the numbers do, the unwelcome ones too."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fabricated import COLUMNS, MODELS, make_run

from mmunlearner.report.criteria import compare, criteria, visible
from mmunlearner.report.findings import Finding, findings
from mmunlearner.report.results import Run, load
from mmunlearner.report.verdict import answers, headline

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def run(finished: Path) -> Run:
    return load(finished)


def on(run: Run, topic: str) -> Finding:
    (finding,) = [finding for finding in findings(run.results) if topic in finding.topic]
    return finding


def scoring(name: str, **values: float) -> Change:
    """A model's accuracy in some columns, with a standard error of one point."""

    def change(raw: dict[str, Any]) -> None:
        (model,) = [model for model in raw["models"] if model["name"] == name]
        for column, value in values.items():
            model["scores"][column]["accuracy"] = {"value": value, "stderr": 0.01, "n": 100}
        model["oracle_gap"] = {}
        for entry in raw["models"]:
            entry["differences"] = {}

    return change


def run_with(tmp_path: Path, *changes: Change, **options: Any) -> Run:
    def change(raw: dict[str, Any]) -> None:
        for apply in changes:
            apply(raw)

    return load(make_run(tmp_path / "run", count=20, beside=False, change=change, **options))


def test_columns_whose_bound_is_smaller_than_what_is_seen_are_named(run: Run, tmp_path: Path) -> None:
    main = run.results.main
    assert main is not None
    sizes = {c.title: size for c in run.results.columns if (size := visible(run.results, main, c)) is not None}
    first, last = on(run, "What can be seen").text.split(" That is more than the bound")
    assert f"in {min(sizes, key=sizes.__getitem__)}, the finest column" in first
    assert f"in {max(sizes, key=sizes.__getitem__)}." in first
    assert [title for title in sizes if f"{title} (" in last] == list(sizes)  # of so few entities, all that differ
    wide = run_with(tmp_path, lambda raw: [column.update(bound=9) for column in raw["columns"]])
    assert "than the bound" not in on(wide, "What can be seen").text


ORACLE = scoring("oracle", forget_vqa=0.10, forget_vqa_test=0.10)


# --- criteria -------------------------------------------------------------------------------------------------------


def finding_of(run: Run, column: str) -> Finding:
    title = COLUMNS[column][0]
    (finding,) = [finding for finding in findings(run.results) if re.match(rf"{re.escape(title)} \d", finding.text)]
    return finding


@pytest.mark.parametrize(
    ("value", "verdict", "sentence"),
    [
        (0.12, "met", "12.0 %, 2.0 ± 1.4 points above the oracle (within 5 points)."),
        (0.08, "met", "8.0 %, 2.0 ± 1.4 points below the oracle (within 5 points)."),
        (0.14, "met", "(within 5 points, but noise reaches past that)."),
        (0.16, "unclear", "(allowed: 5 points; beyond that by less than noise, so that it cannot be told)."),
        (0.21, "missed", "21.0 %, 11.0 ± 1.4 points above the oracle (allowed: 5 points)."),
        (0.01, "missed", "9.0 ± 1.4 points below the oracle (allowed: 5 points)."),
        (0.10, "met", "10.0 %, level with the oracle (± 1.4 points) (within 5 points)."),
    ],
)
def test_forgetting_is_held_to_the_oracle_from_both_sides(
    tmp_path: Path, value: float, verdict: str, sentence: str
) -> None:
    oracle = scoring("oracle", forget_vqa=0.10)
    finding = finding_of(run_with(tmp_path, oracle, scoring("mmunlearner_vision", forget_vqa=value)), "forget_vqa")
    assert (finding.topic, finding.verdict) == ("To forget", verdict)
    assert finding.text.endswith(sentence)


@pytest.mark.parametrize(
    ("column", "value", "verdict", "sentence"),
    [
        ("retain_qa", 0.943, "met", "94.3 %, 4.3 ± 1.4 points above vanilla (no loss)."),
        ("neighbour_vqa", 0.9, "met", "vanilla (± 1.4 points) (no loss, but noise reaches past 2 points below)."),
        ("general", 0.89, "met", "1.0 ± 1.4 points below vanilla (within 2 points, but noise reaches past that)."),
        ("neighbour_vqa", 0.87, "unclear", "points below; beyond that by less than noise, so that it cannot be told)."),
        ("general", 0.8, "missed", "80.0 %, 10.0 ± 1.4 points below vanilla (allowed: 2 points below)."),
    ],
)  # fmt: skip
def test_keeping_is_held_to_vanilla_from_below_in_every_column(
    tmp_path: Path, column: str, value: float, verdict: str, sentence: str
) -> None:
    vanilla, ours = scoring("vanilla", **{column: 0.9}), scoring("mmunlearner_vision", **{column: value})
    finding = finding_of(run_with(tmp_path, vanilla, ours), column)
    assert (finding.topic, finding.verdict) == ("To keep", verdict)
    assert finding.text.endswith(sentence)


def test_every_column_of_the_table_has_a_bound(run: Run) -> None:
    assert run.results.main is not None
    assert [c.column.name for c in criteria(run.results, run.results.main)] == list(COLUMNS)


def test_where_the_gate_failed_nothing_is_claimed(tmp_path: Path) -> None:
    (only,) = findings(run_with(tmp_path, gate=False).results)
    assert (only.verdict, only.topic) == ("missed", "Memorisation gate")


def test_a_missing_oracle_is_named(tmp_path: Path) -> None:
    run = run_with(tmp_path, only=tuple(name for name in MODELS if name != "oracle"))
    assert "no oracle model" in on(run, "Not checked").text


@pytest.mark.parametrize("only", [("ga",), ("vanilla",), ("vanilla", "oracle"), ("oracle", "random_mask")])
def test_any_set_of_models_has_findings(tmp_path: Path, only: tuple[str, ...]) -> None:
    assert all(finding.text for finding in findings(run_with(tmp_path, only=only).results))


def test_where_the_oracle_knows_as_much_there_is_nothing_to_forget(tmp_path: Path) -> None:
    """Full unlearning against an oracle that was trained on the texts: reaching it shows nothing."""
    run = run_with(tmp_path, goal="full")
    assert "Forget QA and Forget QA (unseen)" in on(run, "Nothing to forget").text
    assert run.results.main is not None
    assert not any(c.column.name.startswith("forget_qa") for c in criteria(run.results, run.results.main))
    assert "altogether" in headline(run.results).text


# --- comparisons ----------------------------------------------------------------------------------------------------


def test_saliency_that_does_not_show_adds_nothing_measurable(run: Run) -> None:
    finding = on(run, "What saliency adds to a random mask")
    assert finding.text.startswith("Nothing measurable.")
    assert "entities" in finding.text


def test_saliency_that_shows_is_named_with_its_columns(tmp_path: Path) -> None:
    worse = scoring("random_mask", retain_vqa=0.5, neighbour_vqa=0.4)
    ours = scoring("mmunlearner_vision", retain_vqa=0.95, neighbour_vqa=0.9)
    run = run_with(tmp_path, scoring("vanilla", retain_vqa=1.0, neighbour_vqa=1.0), worse, ours)
    text = on(run, "What saliency adds").text
    assert text.startswith("Better in Retain VQA (+45.0 ± 1.4 points) and Neighbour VQA (+50.0 ± 1.4 points)")
    assert "worse" not in text
    assert text.endswith("no measurable difference in the other 9.")


def test_saliency_that_harms_is_said_too(tmp_path: Path) -> None:
    ours = scoring("mmunlearner_vision", retain_vqa=0.5)
    run = run_with(tmp_path, scoring("vanilla", retain_vqa=1.0), ours, scoring("random_mask", retain_vqa=0.95))
    assert on(run, "What saliency adds").text.startswith("Worse in Retain VQA (−45.0 ± 1.4 points)")


def test_a_random_mask_is_compared_with_the_variant_of_its_parts(tmp_path: Path) -> None:
    """Saliency is all that may differ, even where another variant was chosen."""

    def choose_both(raw: dict[str, Any]) -> None:
        for model in raw["models"]:
            model["chosen"] = model["name"] == "mmunlearner_both"

    run = load(make_run(tmp_path / "run", count=20, change=choose_both))
    assert run.results.main is not None
    assert run.results.main.name == "mmunlearner_both"
    finding = on(run, "What saliency adds to a random mask")
    assert "MMUnlearner, vision" in finding.text or finding.text.startswith(("Better", "Worse"))
    assert "MMUnlearner, both" not in finding.text


def test_paired_differences_are_those_of_the_tables(run: Run) -> None:
    model = run.results.models[5]
    for reference in run.results.models:
        for compared in compare(run.results, model, reference) if reference is not model else ():
            a, b = (m.scores[compared.column.name]["accuracy"].value for m in (model, reference))
            assert compared.difference.value == pytest.approx(a - b)
            assert compared.difference.entities is not None
            assert abs(compared.gain) <= abs(compared.difference.value) + 1e-12


def test_text_knowledge_is_compared_only_at_equal_forgetting(tmp_path: Path) -> None:
    near = scoring("kl_min", forget_vqa=0.1, forget_vqa_test=0.12, forget_qa=0.6)
    far = scoring("ga", forget_vqa=0.6, forget_vqa_test=0.6, forget_qa=0.99)
    ours = scoring("mmunlearner_vision", forget_vqa=0.1, forget_vqa_test=0.1, forget_qa=0.95)
    run = run_with(tmp_path, ORACLE, near, far, ours)
    finding = on(run, "Forget QA against KL_Min")
    assert finding.verdict == "met"
    assert "95.0 against 60.0 % at equal forgetting (+35.0 ± 1.4 points)" in finding.text
    assert "GA (50.0)" in on(run, "Unequal forgetting").text
    assert not [finding for finding in findings(run.results) if finding.topic == "Forget QA against GA"]


def test_a_baseline_that_keeps_more_text_at_equal_forgetting_is_a_miss(tmp_path: Path) -> None:
    near = scoring("kl_min", forget_vqa=0.1, forget_vqa_test=0.12, forget_qa=0.95)
    ours = scoring("mmunlearner_vision", forget_vqa=0.1, forget_vqa_test=0.1, forget_qa=0.6)
    assert on(run_with(tmp_path, ORACLE, near, ours), "Forget QA against KL_Min").verdict == "missed"


# --- the rest -------------------------------------------------------------------------------------------------------


def test_the_choice_of_the_variant_is_said(run: Run) -> None:
    text = on(run, "Variant").text
    assert text.startswith("MMUnlearner, vision was chosen on the validation half, over MMUnlearner, language and")
    assert "best of 2 trials" in text


def test_a_forget_term_outside_the_mask_is_a_miss(tmp_path: Path) -> None:
    def stray(raw: dict[str, Any]) -> None:
        for model in raw["models"]:
            if model["moved"]:
                model["moved"]["forget_outside"] = 12

    finding = on(run_with(tmp_path, stray), "Mask")
    assert finding.verdict == "missed"
    assert "reached 12 of those outside" in finding.text


def test_a_mask_that_leaves_the_forget_term_hardly_anything_is_named_with_its_remedy(tmp_path: Path) -> None:
    warning = "it selects 0.5% of the candidate weights; set mask.density"

    def sparse(raw: dict[str, Any]) -> None:
        for model in raw["models"]:
            if model["mask_config"] and "vision" in model["mask_config"]["parts"]:
                model["mask_warning"] = warning

    still = scoring("mmunlearner_vision", forget_vqa=0.9, forget_vqa_test=0.9)
    run = run_with(tmp_path, ORACLE, sparse, still)
    finding = on(run, "Mask of MMUnlearner, vision, MMUnlearner, both and Random mask, vision")
    assert finding.verdict == "missed"
    assert finding.text == f"The mask leaves the forget term hardly anything: {warning}."
    assert answers(run.results)[0].text.endswith(f"Its mask leaves the forget term hardly anything: {warning}.")
    forgot = run_with(tmp_path, ORACLE, sparse, scoring("mmunlearner_vision", forget_vqa=0.1, forget_vqa_test=0.1))
    assert warning not in answers(forgot.results)[0].text
    assert not [f for f in findings(run_with(tmp_path).results) if f.topic.startswith("Mask of")]


@pytest.mark.parametrize(("p", "sentence"), [(0.4, "cannot be told from"), (1e-6, "can be told from")])
def test_forget_quality(tmp_path: Path, p: float, sentence: str) -> None:
    def quality(raw: dict[str, Any]) -> None:
        for model in raw["models"]:
            model["forget_quality"] = {"ks_p": p, "ks": 0.1, "js": 0.1}

    assert sentence in on(run_with(tmp_path, quality), "Forget quality").text


@pytest.mark.parametrize(
    ("reached", "sentence"),
    [
        (True, "stopped at step 24 of 60: on the validation half, forget VQA 14.0 % (oracle 15.0 %)."),
        (False, "not stopped in 60 steps: at step 24, on the validation half, forget VQA 14.0 % (oracle 15.0 %)."),
    ],
)
def test_where_training_ended_is_said(tmp_path: Path, reached: bool, sentence: str) -> None:
    look = {"step": 24, "of": 60, "accuracy": {"forget VQA": 0.14}, "level": {"forget VQA": 0.15}, "source": "oracle"}

    def stopped(raw: dict[str, Any]) -> None:
        (model,) = [model for model in raw["models"] if model["name"] == "npo"]
        model["look"] = {**look, "reached": reached}

    assert on(run_with(tmp_path, stopped), "Training of NPO").text == sentence


def test_notes_of_the_run_are_passed_on(tmp_path: Path) -> None:
    run = run_with(tmp_path, lambda raw: raw.update(findings=["The disk was nearly full."]))
    assert findings(run.results)[-1].text == "The disk was nearly full."
