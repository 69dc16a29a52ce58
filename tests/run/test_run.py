"""Runs: their files, kills at any moment, and refusals."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from importlib import util
from pathlib import Path

import pytest
import torch
from support.miniature import recipe
from support.progress import Listener

from mmunlearner.config import FinetuneConfig, LoraConfig, MaskConfig, MethodConfig, TrainConfig
from mmunlearner.core.files import read_json, read_jsonl
from mmunlearner.core.recipes import to_yaml
from mmunlearner.errors import ConfigError, TrainingError
from mmunlearner.models import load
from mmunlearner.run import run as pipeline
from mmunlearner.run.choice import rank
from mmunlearner.run.collect import gate
from mmunlearner.run.plan import plan
from mmunlearner.run.run_dir import find_run, open_run, record_config

VOLATILE = {"seconds", "peak_memory_bytes", "created"}
PATHS = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
"""Folder in which worker processes find the loader of the miniature benchmark."""


def outcome(run: Path) -> dict[str, object]:
    """Return what must be equal in an interrupted run: weights, masks, answers, scores, settings, losses."""
    files: dict[str, object] = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.suffix == ".safetensors" or (path.suffix == ".jsonl" and name.startswith("evaluation")):
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif name.startswith("logs/"):
            files[name] = [{k: v for k, v in line.items() if k not in VOLATILE} for line in read_jsonl(path)]
        elif path.name in ("train.json", "scores.json", "summary.json", "results.json") or name.startswith("trials/"):
            files[name] = without_volatile(read_json(path)) if path.suffix == ".json" else None
    return files


def without_volatile(value: object) -> object:
    if isinstance(value, dict):
        return {k: without_volatile(v) for k, v in value.items() if k not in VOLATILE | {"manifest"}}
    return [without_volatile(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """An uninterrupted run."""
    config = recipe(tmp_path_factory.mktemp("whole"))
    pipeline.run(config)
    return Path(config.out) / config.name


def test_run_writes_all_its_files(finished):
    for name in (
        "config.yaml",
        "results.json",
        "summary.json",
        "report.html",
        "report.md",
        "table.tex",
        "manifest.json",
    ):
        assert (finished / name).stat().st_size > 0, name
    summary = read_json(finished / "summary.json")
    assert {"vanilla", "oracle", "npo", "mmunlearner", "vision", "language", "random"} <= set(summary["models"])
    for model in summary["models"].values():
        assert set(model["forget_vqa"]) == {"value", "stderr", "n"}
    assert not list(finished.glob("work/*"))
    assert not (finished / "masks" / "squares").exists()
    assert (finished / "models" / "vision" / "README.md").exists()


def test_nothing_outside_the_mask_was_reached_by_the_forget_term(finished):
    for name in ("vision", "language", "random"):
        record = read_json(finished / "models" / name / "train.json")
        assert record["moved"]["forget_outside"] == 0
        assert record["moved"]["inside"] > 0


def test_every_method_had_the_same_number_of_trials_and_the_best_was_taken(finished):
    for name in ("npo", "vision", "language", "random"):
        trials = [read_json(path) for path in sorted((finished / "trials" / name).glob("*.json"))]
        assert len(trials) == 2
        best = min(trials, key=lambda trial: rank(trial, "distortion"))
        assert read_json(finished / "models" / name / "train.json")["settings"] == best["settings"]


def test_scores_leave_out_the_validation_half(finished):
    results = read_json(finished / "results.json")
    for model in results["models"]:
        test, half = model["scores"], model["scores_validation"]
        assert test["forget_vqa"]["accuracy"]["n"] == half["forget_vqa"]["accuracy"]["n"] == 9
        assert test["neighbour_vqa"]["accuracy"]["n"] == 18  # of neighbours nothing is chosen
        assert "neighbour_vqa" not in half


def test_the_gate_is_one_number(finished):
    """The note of the run, the report and the table are about the same questions."""
    results = read_json(finished / "results.json")
    vanilla = next(model for model in results["models"] if model["name"] == "vanilla")
    assert results["gate"] == gate(find_run(finished))._asdict()
    assert results["gate"]["margin"] == pytest.approx(vanilla["oracle_gap"]["forget_vqa"]["value"])


def test_what_masks_leave_the_forget_term_is_in_the_results(finished):
    for model in read_json(finished / "results.json")["models"]:
        if model["mask"]:
            statistics = read_json(finished / "masks" / f"{model['mask']}.json")
            assert model["forget_share"] == statistics["forget_share"]
            assert bool(model["mask_warning"]) == (statistics["density"] < 0.05 or statistics["forget_share"] < 0.2)


def test_a_complete_run_repeats_no_step(finished):
    config = recipe(finished.parents[1])
    before = {path: path.stat().st_mtime_ns for path in (finished / "models").rglob("model.safetensors")}
    pipeline.run(config)
    assert before == {path: path.stat().st_mtime_ns for path in (finished / "models").rglob("model.safetensors")}


def test_another_configuration_is_not_overwritten(finished):
    config = recipe(finished.parents[1])
    with pytest.raises(ConfigError, match=r"train\.steps: 4 there, 5 here"):
        pipeline.run(replace(config, train=replace(config.train, steps=5)))


@pytest.mark.slow
def test_parallel_equals_serial(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PATHS)
    config = recipe(tmp_path, jobs=2)
    pipeline.run(config)
    assert outcome(tmp_path / "runs" / "mini").keys() == outcome(finished).keys()
    parallel, serial = (read_json(run / "summary.json")["models"] for run in (tmp_path / "runs" / "mini", finished))
    assert parallel == serial


def start(folder: Path, jobs: int) -> subprocess.Popen[bytes]:
    script = folder / "recipe.yaml"
    script.write_text(to_yaml(recipe(folder, jobs=jobs)))
    environment = {**os.environ, "PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mmunlearner", "run", str(script)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.core)])
def test_killed_run_ends_as_an_uninterrupted_one(finished, tmp_path, jobs):
    """SIGKILL at moments spread over the whole run, then the same command again: the same bits."""
    moments = random.Random(jobs)
    for _ in range(6):
        with start(tmp_path, jobs) as process:
            time.sleep(moments.uniform(6.0, 16.0))
            process.send_signal(signal.SIGKILL)
    process = start(tmp_path, jobs)
    _, output = process.communicate()
    assert process.returncode == 0, output.decode()
    assert outcome(tmp_path / "runs" / "mini") == outcome(finished)


def test_masks_share_their_passes_and_resume_from_them(tmp_path, monkeypatch):
    """Killed after the passes, a run measures nothing again; the model is read once for all cuts."""
    config = recipe(tmp_path, trials=0)
    with open_run(replace(config, model=replace(config.model, base="", vanilla=config.model.base))) as folder:
        record_config(folder)
    titles: list[str] = []
    steps, progress = plan(folder), Listener(lambda title, done, total: titles.append(title))
    for step in steps.values():
        if step.name.startswith("measure"):
            step.do(progress)
    assert Counter(titles) == {"saliency, retain": 6, "saliency, forget": 6, "saliency, text": 4}
    titles.clear()
    loads: list[object] = []
    monkeypatch.setattr("mmunlearner.run.steps.load", lambda *a, **options: loads.append(a) or load(*a, **options))
    steps["masks"].do(progress)
    assert titles == ["mask"] * 3
    assert len(loads) == 1
    assert len(list((folder.path / "masks").glob("*.safetensors"))) == 3
    assert not folder.all_squares.exists()
    assert all(read_json(path)["seconds"] > 0 for path in (folder.path / "masks").glob("*.json"))


def test_a_run_without_candidates_names_the_missing_scores(tmp_path):
    config = recipe(tmp_path, trials=1)
    generated_only = replace(config.evaluate, candidates=False)
    pipeline.run(replace(config, evaluate=generated_only, methods={"npo": config.methods["npo"]}))
    run = tmp_path / "runs/mini"
    assert "Candidate answers were not weighed" in (run / "report.md").read_text()
    scores = read_json(run / "evaluation/npo/scores.json")["columns"]["forget_vqa"]
    assert "accuracy" in scores
    assert "truth_ratio" not in scores
    assert {model["forget_quality"] for model in read_json(run / "results.json")["models"]} == {None}


def test_failing_method_is_named_and_the_rest_is_kept(tmp_path):
    config = recipe(tmp_path, trials=0)
    bad = replace(config.methods["npo"], train={"weight_decay": 1e30, "optimizer": "sgd", "warmup": 0})
    with pytest.raises(TrainingError, match=r"lower train\.learning_rate"):
        pipeline.run(replace(config, methods={"vision": config.methods["vision"], "npo": bad}))
    assert (tmp_path / "runs/mini/models/vanilla/train.json").exists()
    assert not (tmp_path / "runs/mini/models/npo").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": {"vanilla": {}}}, "name is taken"),
        ({"methods": {"x": {"method": "gaa"}}}, "did you mean ga"),
        ({"methods": {"x": {"method": "npo", "options": {"betta": 1}}}}, "did you mean beta"),
        ({"methods": {"x": {"method": "npo", "trials": [{"learning_rat": 1}]}}}, "unknown option learning_rat"),
        ({"model": {"base": "/no/such/place"}}, "no such directory"),
        ({"model": {"base": ""}}, "no model to unlearn"),
    ],
)
def test_mistakes_are_found_before_any_long_work(tmp_path, change, message):
    from mmunlearner.config import RunConfig
    from mmunlearner.core.recipes import build, plain
    from mmunlearner.errors import MMUnlearnerError

    content = plain(recipe(tmp_path, trials=0))
    for key, value in change.items():
        content[key] = {**content[key], **value} if key == "model" else value
    with pytest.raises(MMUnlearnerError, match=message):
        pipeline.run(build(RunConfig, content))
    assert not (tmp_path / "runs/mini/models").exists()


@pytest.mark.slow
@pytest.mark.skipif(
    util.find_spec("bitsandbytes") is None, reason='no bitsandbytes: pip install "mmunlearner[quantize]"'
)
def test_a_run_on_few_bits(tmp_path):
    """Adapters on 4-bit weights; the mask is computed from unquantised weights, and these are written."""
    steps = TrainConfig(steps=2, batch_size=2, retain_per_forget=1)
    rates = ({"learning_rate": 1e-2}, {"learning_rate": 1e-3})
    methods = {"one": MethodConfig(mask=MaskConfig(limit=2), trials=rates)}
    config = recipe(tmp_path, finetune=FinetuneConfig(steps=2), train=steps, methods=methods)
    config = replace(config, model=replace(config.model, quantize="nf4", lora=LoraConfig(rank=2)))
    page = pipeline.run(config)
    model = load(page.parent / "models" / "one").model
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert read_json(page.parent / "evaluation" / "one" / "scores.json")
