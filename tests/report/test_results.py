"""Reading a run directory, and saying in one line what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.fabricated import MODELS, make_run

from mmunlearner.errors import DataError
from mmunlearner.report.results import load, parse


def test_reads_everything_that_a_run_leaves(finished: Path) -> None:
    run = load(finished)
    assert [model.name for model in run.results.models] == list(MODELS)
    assert run.results.main is not None
    assert run.results.main.name == "mmunlearner_vision"
    assert set(run.logs) == {name for name, model in MODELS.items() if model[1] not in ("vanilla", "oracle")}
    assert run.masks[run.results.main.mask]["parts"] == ["vision", "projector"]


def test_only_results_json_is_needed(tmp_path: Path) -> None:
    run = load(make_run(tmp_path / "run", count=20, beside=False))
    assert not run.logs
    assert not run.masks


def test_results_of_earlier_versions_load(results_json: dict[str, Any]) -> None:
    for model in results_json["models"]:
        del model["mask_config"]
        model |= {"look": None, "method": model["method"] or None, "mask": model["mask"] or None, "moved": None}
        for gap in model["oracle_gap"].values():
            del gap["n"]
    results = parse(results_json)
    assert [(model.mask, model.moved) for model in results.models[:2]] == [("", {}), ("", {})]
    assert results.models[-1].mask == "vision-projector-random"


@pytest.mark.parametrize(
    ("only", "main"),
    [
        (("vanilla", "oracle"), None),
        (("vanilla", "ga"), "ga"),
        (("random_mask", "mmunlearner_both"), "mmunlearner_both"),
        (("mmunlearner_both", "mmunlearner_vision"), "mmunlearner_vision"),
    ],
)
def test_main_is_the_chosen_method_before_any_other(tmp_path: Path, only: tuple[str, ...], main: str | None) -> None:
    model = load(make_run(tmp_path / "run", count=20, only=only, beside=False)).results.main
    assert (model.name if model else None) == main


def _without(raw: dict[str, Any], *keys: Any) -> None:
    for key in keys[:-1]:
        raw = raw[key]
    del raw[keys[-1]]


def _with(raw: dict[str, Any], value: Any, *keys: Any) -> None:
    for key in keys[:-1]:
        raw = raw[key]
    raw[keys[-1]] = value


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (("columns",), "columns: expected this field, found only name, goal, "),
        (("models",), "models: expected this field, found only name, goal, "),
        (("models", 2, "role"), "models[2].role: expected this field, found only name, "),
        (("columns", 0, "good"), "columns[0].good: expected this field, found only name, title, chance, n"),
        (
            ("models", 0, "scores", "general", "cloze", "stderr"),
            "models[0].scores.general.cloze.stderr: expected this field, found only value, n",
        ),
    ],
)
def test_a_missing_field_is_named_with_its_place(
    results_json: dict[str, Any], path: tuple[Any, ...], message: str
) -> None:
    _without(results_json, *path)
    with pytest.raises(DataError) as error:
        parse(results_json, "runs/demo/results.json")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("goal",), "both", "goal: expected one of visual, full, found 'both'"),
        (
            ("models", 1, "role"),
            "judge",
            "models[1].role: expected one of vanilla, oracle, baseline, method, control, found 'judge'",
        ),
        (("columns", 3, "good"), "up", "columns[3].good: expected one of oracle, kept, down, found 'up'"),
        (("models",), [], "models: expected 1 or more, found []"),
        (("columns",), [], "columns: expected 1 or more, found []"),
        (("models", 4), "ga", "models[4]: expected the fields name, title, "),
        (
            ("models", 4, "scores", "general", "accuracy", "value"),
            float("nan"),
            "models[4].scores.general.accuracy.value: expected a finite number, found nan",
        ),
        (
            ("models", 4, "scores", "general", "accuracy", "value"),
            "0.5",
            "models[4].scores.general.accuracy.value: expected a number, found '0.5'",
        ),
        (
            ("models", 4, "seconds"),
            {"unlearn": True},
            "models[4].seconds.unlearn: expected a number, found True",
        ),
        (("gate",), {"text": "?"}, "gate.passed: expected this field, found only text"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(
    results_json: dict[str, Any], path: tuple[Any, ...], value: Any, message: str
) -> None:
    _with(results_json, value, *path)
    with pytest.raises(DataError) as error:
        parse(results_json)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_directory_or_unfinished_run_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such run directory"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"has no results\.json; finish the run"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["results.json", "logs/ga.jsonl", "masks/vision-projector.json"])
def test_a_broken_file_is_named(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "run", count=20, only=("ga", "mmunlearner_vision"))
    (run / name).write_text('{"step": 1,')
    with pytest.raises(DataError, match=name.rsplit("/", maxsplit=1)[-1]):
        load(run)


def test_a_line_of_a_log_must_be_an_object(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", count=20, only=("ga",))
    (run / "logs" / "ga.jsonl").write_text(json.dumps({"step": 1}) + "\n[1]\n")
    with pytest.raises(DataError, match=r"ga\.jsonl, line 2: expected the fields step, .*, found"):
        load(run)


# --- results of earlier versions ------------------------------------------------------------------------------------


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A run of a version whose results.json had no differences between models."""

    def change(raw: dict[str, Any]) -> None:
        del raw["forget_entities"]
        for model in raw["models"]:
            model.pop("differences", None)
            del model["mask_config"]
            model["oracle_gap"] = {
                c: {k: gap[k] for k in ("value", "stderr")} for c, gap in model["oracle_gap"].items()
            }
        for entry in raw["gallery"]:
            del entry["correct"]

    return make_run(tmp_path / "earlier", change=change)


def test_what_earlier_versions_left_out_is_taken_from_the_files(earlier: Path, finished: Path) -> None:
    results, present = load(earlier).results, load(finished).results
    assert results.forget_entities == present.forget_entities
    assert results.gallery == present.gallery
    for model, expected in zip(results.models, present.models, strict=True):
        assert model.differences == expected.differences
        assert model.mask_config == expected.mask_config


def test_pairing_is_given_up_where_the_files_hold_other_items(earlier: Path) -> None:
    path = earlier / "evaluation" / "ga" / "general.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    paired = load(earlier).results.by_name["npo"].differences["ga"]
    assert "general" not in paired
    assert "neighbour_vqa" in paired


def test_null_entries_of_the_manifest_are_kept(results_json: dict[str, Any]) -> None:
    results_json["manifest"] = {"config": {"finetune": {"lora": None}}}
    assert parse(results_json).manifest == results_json["manifest"]
