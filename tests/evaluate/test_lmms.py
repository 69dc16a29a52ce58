"""lmms-eval, played by a stand-in with its command line, which writes results files in its layout."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from support.tiny import VOCABULARY, llava

from mmunlearner import cli
from mmunlearner.core.files import read_json, write_json
from mmunlearner.errors import ConfigError, DataError, ModelError, ToolError
from mmunlearner.evaluate import ModelScores, Score
from mmunlearner.evaluate.lmms import Lmms, evaluate_lmms, parse
from mmunlearner.models import save

STAND_IN = """
import argparse, json, os, pathlib, sys
parser = argparse.ArgumentParser()
for name in ("model", "model_args", "tasks", "batch_size", "output_path", "limit"):
    parser.add_argument("--" + name)
given = parser.parse_args()
pretrained = dict(pair.split("=", 1) for pair in given.model_args.split(","))["pretrained"]
data = json.loads(pathlib.Path(os.environ["STAND_IN_RESULTS"]).read_text())
tasks = given.tasks.split(",")
missing = [task for task in tasks if task not in data["results"]]
if missing:
    sys.exit(f"ValueError: Tasks not found: {missing[0]}")
print("Evaluating", given)
shown = {key: {t: v for t, v in value.items() if t in tasks} for key, value in data.items() if isinstance(value, dict)}
folder = pathlib.Path(given.output_path, "__".join(pretrained.split("/")[-2:]))
folder.mkdir(parents=True, exist_ok=True)
number = len(list(folder.iterdir()))
(folder / f"20261125_12000{number}_results.json").write_text(json.dumps(shown))
with open(os.environ["STAND_IN_RESULTS"] + ".calls", "a") as calls:
    calls.write(json.dumps(vars(given)) + "\\n")
"""

RESULTS = {
    "results": {
        "pope": {
            "alias": "pope", "pope_accuracy,none": 0.8667, "pope_accuracy_stderr,none": "N/A",
            "pope_f1_score,none": 0.85, "pope_f1_score_stderr,none": "N/A", "submission,none": None,
            "submission_stderr,none": [],
        },
        "mme": {
            "alias": "mme", "mme_cognition_score,none": 348.2142857142857, "mme_cognition_score_stderr,none": "N/A",
            "mme_perception_score,none": 1510.7,
        },
        "ai2d": {
            "alias": "ai2d", "exact_match,flexible-extract": 0.55, "exact_match_stderr,flexible-extract": 0.009,
            "exact_match_stderr_clt,flexible-extract": 0.01, "exact_match_stderr_clustered,flexible-extract": 0.02,
        },
        "mmmu_val": {"alias": "mmmu_val", "mmmu_acc,none": 0.36, "mmmu_acc_stderr,none": 0.016},
    },
    "group_subtasks": {"pope": [], "mme": []},
    "configs": {"pope": {"task": "pope", "dataset_path": "lmms-lab/POPE"}},
    "versions": {"pope": 0.0, "mme": "Yaml"},
    "n-shot": {"pope": 0, "mme": 0},
    "higher_is_better": {"pope": {"pope_accuracy": True}},
    "n-samples": {"pope": {"original": 9000, "effective": 500}, "mme": {"original": 2374, "effective": 2374}},
    "config": {"model": "llava_hf"},
    "date": "20261125_120000",
}  # fmt: skip


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in as a package that this Python finds; returns the file of what it was called with."""
    package = tmp_path / "site" / "lmms_eval"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(STAND_IN)
    results = tmp_path / "known.json"
    write_json(results, RESULTS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("STAND_IN_RESULTS", str(results))
    return tmp_path / "known.json.calls"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(llava(VOCABULARY), tmp_path / "models" / "unlearned")


def calls(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_tasks_are_run_on_the_directory_and_scores_come_back(stand_in: Path, model: Path, tmp_path: Path):
    scores = evaluate_lmms(model, ["pope", "mme"], tmp_path / "out", Lmms(limit=500))
    assert scores.columns["pope"] == {"pope_accuracy": Score(0.8667, 0, 500), "pope_f1_score": Score(0.85, 0, 500)}
    assert scores.columns["mme"]["mme_perception_score"] == Score(1510.7, 0, 2374)
    [call] = calls(stand_in)
    assert (call["model"], call["tasks"], call["limit"], call["batch_size"]) == ("llava_hf", "pope,mme", "500", "1")
    assert call["model_args"] == f"pretrained={model.resolve()}"
    assert ModelScores.from_json(read_json(tmp_path / "out" / "lmms.json")) == scores


def test_only_what_is_missing_is_run(stand_in: Path, model: Path, tmp_path: Path):
    for tasks in (["pope"], ["pope", "mmmu_val"], ["mmmu_val", "pope"]):
        scores = evaluate_lmms(model, tasks, tmp_path / "out")
    assert [call["tasks"] for call in calls(stand_in)] == ["pope", "mmmu_val"]
    assert scores.columns["mmmu_val"]["mmmu_acc"] == Score(0.36, 0.016, 0)
    write_json(tmp_path / "other" / "config.json", {"model_type": "llava"})
    with pytest.raises(DataError, match="holds scores of another model or limit"):
        evaluate_lmms(tmp_path / "other", ["pope"], tmp_path / "out")


def test_filters_and_errors_are_read_and_what_is_no_number_left_out(tmp_path: Path):
    scores = parse(write_json(tmp_path / "20261125_120000_results.json", RESULTS))
    assert scores["ai2d"] == {"exact_match (flexible-extract)": Score(0.55, 0.02, 0)}
    assert set(scores["pope"]) == {"pope_accuracy", "pope_f1_score"}
    early = {"results": {"pope": {"pope_accuracy": 0.5, "pope_accuracy_stderr": 0.1}}}  # before filters were named
    assert parse(write_json(tmp_path / "results.json", early)) == {"pope": {"pope_accuracy": Score(0.5, 0.1, 0)}}


@pytest.mark.parametrize("content", [[], {}, {"results": []}, {"results": {"pope": {"alias": "pope"}}}])
def test_files_of_another_kind_are_refused(tmp_path: Path, content: object):
    with pytest.raises(DataError, match=r"results.json: (not a results file of lmms-eval|holds no score)"):
        parse(write_json(tmp_path / "results.json", content))


def test_a_failure_is_told_with_its_last_line_and_leaves_no_scores(stand_in: Path, model: Path, tmp_path: Path):
    with pytest.raises(ToolError, match=r"code 1 .*ValueError: Tasks not found: popo\); its whole output: .*log.txt"):
        evaluate_lmms(model, ["popo"], tmp_path / "out")
    assert not (tmp_path / "out" / "lmms.json").exists()


def test_how_to_install_it_is_said_where_it_is_missing(model: Path, tmp_path: Path):
    for python, reason in ((sys.executable, "is not installed there"), (str(tmp_path / "gone"), "cannot be run")):
        with pytest.raises(ConfigError, match=rf"lmms_python: .*{reason}.*pip install lmms-eval"):
            evaluate_lmms(model, ["pope"], tmp_path / "out", Lmms(python=python))


def test_a_model_that_is_not_known_there_must_be_named(stand_in: Path, model: Path, tmp_path: Path):
    write_json(model / "config.json", {"model_type": "novel_vl"})
    with pytest.raises(ModelError, match="model_type novel_vl is not known here; give it with --lmms_model"):
        evaluate_lmms(model, ["pope"], tmp_path / "out")
    evaluate_lmms(model, ["pope"], tmp_path / "out", Lmms(model="novel"))
    assert [call["model"] for call in calls(stand_in)] == ["novel"]
    with pytest.raises(ModelError, match="no model's directory"):
        evaluate_lmms(tmp_path / "none", ["pope"], tmp_path / "out")
    with pytest.raises(ConfigError, match="lmms: name the tasks"):
        evaluate_lmms(model, [], tmp_path / "out")


def test_the_command_shows_the_scores(stand_in: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = [
        "--model",
        str(model),
        "--out",
        str(tmp_path / "out"),
        "--lmms",
        "pope,mme",
        "--lmms_python",
        sys.executable,
    ]
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", *arguments])
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert all(words in shown for words in ("pope_accuracy", "0.8667", "mme_perception_score", "1511"))


def test_a_model_that_lacks_weights_is_not_handed_over(stand_in: Path, model: Path, tmp_path: Path):
    weights = load_file(model / "model.safetensors")
    del weights[min(weights)]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks 1 of its weights"):
        evaluate_lmms(model, ["pope"], tmp_path / "out")
    assert not calls(stand_in)


def test_an_adapter_beside_whole_weights_is_not_handed_over(stand_in: Path, model: Path, tmp_path: Path):
    write_json(model / "adapter_config.json", {"peft_type": "LORA"})
    with pytest.raises(ModelError, match="has an adapter .* beside whole weights"):
        evaluate_lmms(model, ["pope"], tmp_path / "out")
    (model / "model.safetensors").rename(model / "adapter_model.safetensors")
    write_json(model / "adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "people:vanilla"})
    with pytest.raises(ModelError, match="is an adapter, which has to be merged first"):
        evaluate_lmms(model, ["pope"], tmp_path / "out")
    assert not calls(stand_in)
