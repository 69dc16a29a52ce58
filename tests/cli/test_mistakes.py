"""Mistakes of every kind over all commands: exit code 2, one line, nothing left behind, and nothing long before."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from mmunlearner import cli

RECIPE = """
data: {format: rows, root: data, forget_entities: [Ada, Bob]}
model: {vanilla: "people:vanilla"}
train: {steps: 2, batch_size: 2}
methods:
  diff: {method: ga_diff}
  masked: {method: mmunlearner, mask: {limit: 2}}
"""
DEFAULTS = {"--model": "people:vanilla", "--data.format": "rows", "--data.root": "data",
            "--data.forget_entities": "Ada,Bob", "--out": "new"}  # fmt: skip
COMMANDS = {"RUN": "run recipe.yaml", "UNLEARN": "unlearn", "MASK": "mask", "EVALUATE": "evaluate",
            "FINETUNE": "finetune"}  # fmt: skip
"""Words in capitals stand for a command with all that it needs: for those of one step, the defaults above."""
TRIALS = "--methods.diff.trials '[{learning_rate: 1e-4}, {learning_rate: 2e-4}]'"

MISTAKES = {
    # names that become folders
    "RUN --name ../elsewhere": "--name: expected letters",
    "RUN --name nul": "--name: expected a name that Windows does not reserve",
    "RUN --methods '{\"x/y\": {method: ga}}'": "--methods: expected letters",
    "RUN --methods '{A: {method: ga}, a: {method: npo}}'": "methods.A: another method has this name",
    "RUN --methods '{VANILLA: {method: ga}}'": "methods.VANILLA: this name is taken by a reference model",
    # numbers out of range
    "RUN --seed 4294967296": "--seed: expected less than 4294967296",
    "UNLEARN --seed -1": "seed: expected 0 or more",
    "RUN --train.learning_rate 5e4": "--train.learning_rate: expected 10 or less",
    "RUN --methods.diff.trials '[{steps: 2.5}]'": "methods.diff: train.steps: expected a whole number, found 2.5",
    "RUN --methods.diff.trials '[{learning_rate: -2}]'": "methods.diff: train.learning_rate: expected 0 or more",
    "sweep recipe.yaml --grid.warmup 0.1,1.1": "train.warmup: expected 1 or less",
    "RUN --dry-run --flops -1": "--flops: expected 0 or more",
    "RUN --dry-run --flops inf": "--flops: expected a finite number",
    "RUN --evaluate.max_new_tokens 512": "evaluate.max_new_tokens 512: people:vanilla takes 512 tokens",
    "EVALUATE --max_new_tokens 4096": "evaluate.max_new_tokens 4096",
    "doctor --images 0": "--images: expected 1 or more",
    "RUN --model.lora.rank 70000": "--model.lora.rank: expected 65536 or less",
    # options that exclude each other, or do not exist
    "RUN --methods.masked.mask.parts '[]'": "--methods.masked.mask.parts: expected one or more different items",
    "MASK --parts vision,vision": "parts: expected one or more different items",
    "UNLEARN --method mmunlearner": "method mmunlearner needs a mask",
    "RUN --train.optimizer muon": "methods.masked: train.optimizer muon mixes",
    "RUN --train.free mask --train.weight_decay 0.5": "methods.masked: train.weight_decay 0.5 moves weights",
    "RUN --model.adapter lorra": "model.adapter: unknown adapter lorra; did you mean lora?",
    "RUN --model.device_map auto --model.device cpu": "model.device cpu: model.device_map auto chooses devices",
    "RUN --model.device meta": "device meta: not available here",
    "UNLEARN --method ga --attention flex_attention --device cpu": "model.attention flex_attention",
    "RUN --train.report_to tensorbord": "train.report_to tensorbord: no such tracker; did you mean tensorboard?",
    "UNLEARN --method ga --train.report_to clearml": "train.report_to clearml: it is not installed",
    "RUN --dry-run --train.report_to clearml": "train.report_to clearml: it is not installed",
    "FINETUNE --train.report_to clearml": "train.report_to clearml: it is not installed",
    # data
    "RUN --data.forget_entities Adah": "no entity 'Adah' to forget; did you mean Ada?",
    "RUN --dry-run --data.forget_entities Adah": "no entity 'Adah' to forget; did you mean Ada?",
    "sweep recipe.yaml --dry-run --grid.steps 1,2 --data.forget_entities Adah": "no entity 'Adah'",
    "RUN --data.forget_entities Ada,Bob,Cid,Dan": "the retain set is empty",
    f"RUN {TRIALS} --data.forget_entities Ada": "forget: Ada cannot be halved to tune and to test",
    f"RUN --dry-run {TRIALS} --data.forget_entities Ada": "forget: Ada cannot be halved to tune and to test",
    "sweep recipe.yaml --grid.steps 1,2 --data.forget_entities Cid": "forget: Cid cannot be halved",
    "RUN --data.root long": "forget, train/Ada/1: question",
    "MASK --data.root long": "the model takes 512, and nothing is cut",
    "RUN --data.root control": "a control token of people:vanilla; remove it",
    "EVALUATE --data.root control": "a control token of people:vanilla; remove it",
    "RUN --evaluate.shots 90": "evaluate.shots 90 cannot be shown",
    "RUN --data.root absent": "absent",
    "RUN --data.root wordless --methods.masked.mask.parts language": "mask: the text set is empty",
    # models
    "RUN --methods.masked.mask.density 1e-12": "mask.density 1e-12: of ",
    "EVALUATE --against people:nobody": "model people:nobody: the package ships",
    "RUN --model.vanilla empty": "model empty",
    "RUN --dry-run --model.vanilla broken": "broken",
    "RUN --model.oracle broken": "broken",
    "RUN --dry-run --model.oracle broken": "broken",
    "FINETUNE --model people:nobody": "model people:nobody: the package ships",
    "UNLEARN --method ga --mask absent.safetensors": "mask absent.safetensors: no such file",
    # files
    "RUN --out file": "file/run: Not a directory",
    "UNLEARN --method ga --out file/new": "file",
    "MASK --out empty": "empty: exists already",
    "EVALUATE --oracle absent": "absent: no evaluated items there",
    "EVALUATE --judge.endpoint ftp://judge --judge.model x": "judge.endpoint: 'ftp://judge' is no http(s) address",
    "EVALUATE --judge.endpoint http://judge": "judge.model: name the judge",
}  # fmt: skip


def write_data(folder: Path, question: str = "What is the name?", *, texts: bool = True) -> None:
    """Four entities of two pictures and a text each, in the rows format; `question` is asked about the first."""
    folder.mkdir()
    rows = []
    for number, entity in enumerate(("Ada", "Bob", "Cid", "Dan")):
        for view in range(2):
            name = f"{entity}{view}.png"
            Image.new("RGB", (32, 32), (60 * number, 120 * view, 90)).save(folder / name)
            asked = question if entity == "Ada" else "What is the name?"
            rows.append({"entity": entity, "question": asked, "answer": entity, "image": name})
        if texts:
            rows.append({"entity": entity, "question": f"What is the job of {entity}?", "answer": "baker"})
    lines = [json.dumps({**row, "split": split}) for row in rows for split in ("train", "eval")]
    (folder / "questions.jsonl").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with data, wrong data and wrong models, in which the commands run."""
    folder = tmp_path_factory.mktemp("work")
    write_data(folder / "data")
    write_data(folder / "long", "name " * 2000)
    write_data(folder / "control", "What is the name? </s>")
    write_data(folder / "wordless", texts=False)
    (folder / "empty").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text('{"model_type": "llava",', encoding="utf-8")
    (folder / "file").write_text("somebody's", encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def call(text: str) -> int | str | None:
    """Return the exit code of a command."""
    name, *options = shlex.split(text)
    if name in COMMANDS and name != "RUN":
        options += [word for option in DEFAULTS.items() if option[0] not in options for word in option]
    with pytest.raises(SystemExit) as ended:
        cli.main([*COMMANDS.get(name, name).split(), *options])
    return ended.value.code


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(
    work: Path, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: object, **__: object) -> None:
        raise AssertionError("a model's weights were loaded before the mistake was found")

    monkeypatch.setattr("mmunlearner.run.steps.load", too_late)
    before = sorted(work.rglob("*"))
    assert call(command) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert MISTAKES[command] in errors[0]
    assert sorted(work.rglob("*")) == before


def test_a_sweep_is_forecast_without_a_file(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(work.rglob("*"))
    assert not call("sweep recipe.yaml --dry-run --flops 1e12 --grid.steps 1,2")
    assert "unlearn diff (2 trials)" in capsys.readouterr().out
    assert sorted(work.rglob("*")) == before


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_output_in_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter that the terminal does not have is shown as a question mark."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr("mmunlearner.cli.commands.app", lambda *_, **__: print("名 ±"))
    with pytest.raises(SystemExit):
        cli.main([])
    stream.flush()
    assert written.getvalue().startswith(b"?")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_traceback(closed: str, tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m mmunlearner list {closed}"
    done = subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
