"""What a run was computed from is compared at every start."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.miniature import recipe
from support.tiny import VOCABULARY, llava

from mmunlearner import models
from mmunlearner.config import DataConfig, RunConfig
from mmunlearner.core.files import read_json, write_json
from mmunlearner.core.lock import locked
from mmunlearner.errors import ChangedError, ConfigError
from mmunlearner.models.sources import source_hashes
from mmunlearner.run import inputs
from mmunlearner.run import run as pipeline
from mmunlearner.run.inputs import record_inputs
from mmunlearner.run.run_dir import RunDir, open_run, record_config

ROWS = [
    {"entity": entity, "question": question, "answer": "red", "image": "picture.png", "split": split}
    for entity in ("ann", "ben", "cat")
    for split in ("train", "eval")
    for question in ("which colour", "what colour")
]


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """A recipe of three entities on disk, and a model."""
    from PIL import Image

    root = tmp_path / "data"
    root.mkdir()
    Image.new("RGB", (8, 8), "red").save(root / "picture.png")
    write_rows(root, ROWS)
    models.save(llava(VOCABULARY), tmp_path / "model")
    data = DataConfig("rows", root=str(root), forget_entities=("ann",))
    return replace(
        recipe(tmp_path, trials=0), data=data, model=replace(RunConfig().model, vanilla=str(tmp_path / "model"))
    )


def write_rows(root: Path, rows: list[dict[str, str]]) -> None:
    (root / "questions.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")


def begin(config: RunConfig) -> RunDir:
    """Start a run of which one step has begun."""
    with open_run(config) as run:
        record_config(run)
        record_inputs(run)
        (run.path / "masks").mkdir(exist_ok=True)
    return RunDir(run.path, run.config)  # reads the data again


def test_unchanged_inputs_are_no_error(config: RunConfig) -> None:
    run = begin(config)
    before = (run.path / "data.json").read_bytes()
    (Path(config.data.root) / "README.md").write_text("Notes of a reader.")  # no question depends on it
    record_inputs(run)
    assert (run.path / "data.json").read_bytes() == before


@pytest.mark.parametrize("change", ["answer", "order", "fewer"])
def test_changed_questions_are_named_by_set_and_file(config: RunConfig, change: str) -> None:
    run, root = begin(config), Path(config.data.root)
    rows = {"answer": [*ROWS[:-1], {**ROWS[-1], "answer": "blue"}], "order": ROWS[::-1], "fewer": ROWS[:-1]}[change]
    write_rows(root, rows)
    with pytest.raises(
        ChangedError, match=r"the data \(.*retain.*\) have changed in questions.jsonl since .*--restart"
    ):
        record_inputs(RunDir(run.path, config))


def test_a_changed_picture_is_found_though_its_size_and_time_stay(config: RunConfig) -> None:
    import os

    from PIL import Image

    run, picture = begin(config), Path(config.data.root) / "picture.png"
    before = picture.stat()
    Image.new("RGB", (8, 8), "blue").save(picture)
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ChangedError, match=r"have changed in picture.png"):
        record_inputs(RunDir(run.path, config))


def test_a_changed_model_is_named_until_nothing_is_left_to_compute(config: RunConfig, tmp_path: Path) -> None:
    run = begin(config)
    models.save(llava(VOCABULARY, seed=3), tmp_path / "model")
    with pytest.raises(ChangedError, match=r"model.vanilla has changed in model.safetensors since this run began"):
        record_inputs(run)
    record_inputs(run, complete=True)


def test_another_version_is_named_until_nothing_is_left_to_compute(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(config)
    monkeypatch.setattr(inputs, "__version__", "9.9")
    with pytest.raises(ChangedError, match=r"mmunlearner was .* and is 9.9 since this run began"):
        record_inputs(run)
    record_inputs(run, complete=True)


def test_a_run_of_an_earlier_version_is_compared_by_its_files(config: RunConfig) -> None:
    run = begin(config)
    record = run.path / "data.json"
    old = {name: value for name, value in read_json(record).items() if name in ("hashes", "overlap")}
    write_json(record, old)
    record_inputs(run)
    assert {"sets", "models", "version"} <= read_json(record).keys()
    write_json(record, old)
    write_rows(Path(config.data.root), ROWS[:-1])
    with pytest.raises(ChangedError, match="the data have changed in questions.jsonl"):
        record_inputs(RunDir(run.path, config))


def test_large_files_of_a_model_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmunlearner.models.sources._WHOLE", 2**10)
    monkeypatch.setattr("mmunlearner.models.sources._STRIDE", 2**8)
    monkeypatch.setattr("mmunlearner.models.sources._BLOCK", 2**4)
    models.save(llava(VOCABULARY), tmp_path)
    (tmp_path / "train.json").write_text("{}")
    weights, before = tmp_path / "model.safetensors", source_hashes(tmp_path)
    assert "train.json" not in before
    content = bytearray(weights.read_bytes())
    content[-300:] = bytes(b ^ 1 for b in content[-300:])  # longer than the stride
    weights.write_bytes(content)
    after = source_hashes(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"model.safetensors"}
    weights.write_bytes(content + b" ")
    assert source_hashes(tmp_path)["model.safetensors"] != after["model.safetensors"]


def test_a_second_run_in_the_same_folder_is_refused(config: RunConfig) -> None:
    with locked(begin(config).path), pytest.raises(ConfigError, match="another process is at work in it"):
        pipeline.run(config)


def test_restart_computes_all_anew_and_a_mistake_removes_nothing(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, methods={"npo": config.methods["npo"]})
    run = begin(config)
    monkeypatch.setattr(pipeline, "_execute", lambda *_: pytest.fail("computed"))
    changed = replace(config, seed=1)
    with pytest.raises(
        ConfigError, match=r"\(seed: 0 there, 1 here\); choose another name, or compute all anew with --re"
    ):
        pipeline.run(changed)
    wrong = replace(changed, data=replace(config.data, forget_entities=("zoe",)))
    with pytest.raises(Exception, match="zoe"):
        pipeline.run(wrong, restart=True)
    assert (run.path / "masks").is_dir()
    with pytest.raises(pytest.fail.Exception, match="computed"):
        pipeline.run(changed, restart=True)
    assert not (run.path / "masks").exists()
    assert "seed: 1\n" in (run.path / "config.yaml").read_text()


@pytest.mark.parametrize(
    "option",
    ["jobs", "evaluate.batch_size", "train.tokens_per_batch", "train.checkpointing", "train.keep_features",
     "train.save_every", "model.device", "model.attention", "methods.npo.title", "methods.npo.train.tokens_per_batch"],
)  # fmt: skip
def test_options_that_change_no_result_may_change(config: RunConfig, option: str) -> None:
    from mmunlearner.core.recipes import build, plain

    values = {"train.checkpointing": True, "model.device": "cpu", "model.attention": "eager", "methods.npo.title": "N"}
    changed = content = plain(config)
    *groups, name = option.split(".")
    for group in groups:
        content = content[group]
    content[name] = values.get(option, 7)
    run = begin(config)
    begin(build(RunConfig, changed))
    assert (
        f"{name}: {str(content[name]).lower() if name == 'checkpointing' else content[name]}"
        in (run.path / "config.yaml").read_text()
    )


@pytest.mark.parametrize("option", ["evaluate.limit", "train.batch_size", "model.dtype", "methods.npo.train.steps"])
def test_options_that_change_results_may_not(config: RunConfig, option: str) -> None:
    from mmunlearner.core.recipes import build, plain

    changed = content = plain(config)
    *groups, name = option.split(".")
    for group in groups:
        content = content[group]
    content[name] = "bfloat16" if name == "dtype" else 7
    begin(config)
    with pytest.raises(ConfigError, match=f"holds a run of another configuration .{option}: "):
        begin(build(RunConfig, changed))
