"""General ability by lmms-eval (POPE, MME, MMBench, MMMU, ...), in a separate environment, since it has exact pins.

`PYTHON -m lmms_eval` is run on the model's directory; its results file becomes `OUT/lmms.json`, with columns, metrics
and scores as in `scores.json`. Tasks that the file holds already are not run again.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypeGuard

from typing_extensions import TypedDict

from mmunlearner.core.files import read_json, write_json
from mmunlearner.core.records import read_record
from mmunlearner.errors import ConfigError, DataError, ModelError, ToolError
from mmunlearner.evaluate.saved import Score, Scores
from mmunlearner.evaluate.scores import ModelScores

FILE = "lmms.json"
FOLDER = "lmms"
"""Folder of lmms-eval's own files and of its output (log.txt)."""
NAMES: Mapping[str, str] = {
    "llava": "llava_hf",
    "llava_next": "llava_hf",
    "llava_onevision": "llava_hf",
    "qwen2_vl": "qwen2_vl",
    "qwen2_5_vl": "qwen2_5_vl",
    "mllama": "llama_vision",
    "idefics2": "idefics2",
    "gemma3": "gemma3",
}
"""`model_type` of a configuration -> name of the model in lmms-eval."""
ERRORS = ("_stderr_clustered", "_stderr", "_stderr_clt")
"""Suffixes of the names of standard errors, the best first."""
INSTALL = (
    "lmms-eval needs an environment of its own: `python -m venv lmms`, `lmms/bin/pip install lmms-eval`, "
    "then --lmms_python lmms/bin/python"
)


@dataclass(frozen=True)
class Lmms:
    """Options of a call of lmms-eval."""

    python: str = ""
    """Python of the environment that lmms-eval is installed in; empty: this one."""
    model: str = ""
    """Name of the model in lmms-eval; empty: by the `model_type` of its configuration."""
    limit: int = 0
    """Largest number of questions per task; 0: all."""
    batch_size: int = 1


def evaluate_lmms(model: Path | str, tasks: Sequence[str], out_dir: Path | str, options: Lmms = Lmms()) -> ModelScores:
    """Run the tasks that are not yet in OUT/lmms.json, and return all scores in that file.

    Raises:
        ConfigError: no task, or lmms-eval is not installed.
        DataError: OUT/lmms.json is another model's, or lmms-eval's results cannot be read.
        ModelError: the model's directory is missing or lacks weights, it is an adapter, or lmms-eval's name for the
            model is not known.
        ToolError: lmms-eval failed.
    """
    out_dir, model = Path(out_dir), Path(model)
    if not tasks:
        raise ConfigError("lmms: name the tasks, e.g. --lmms pope,mme,mmbench_en,mmmu_val")
    if not (model / "config.json").is_file():
        raise ModelError(f"model {model}: no model's directory (no config.json); lmms-eval reads a saved one")
    # Scores of two models or of two limits must not mix in one file.
    inputs = {"model": str(model.resolve()), "limit": options.limit}
    content: dict[str, Any] = {"inputs": inputs, "asked": [], "columns": {}}
    if (out_dir / FILE).exists():
        read_scores(out_dir / FILE)
        content = read_json(out_dir / FILE)
        if content["inputs"] != inputs:
            raise DataError(
                f"{out_dir / FILE}: holds scores of another model or limit; remove it or name another folder"
            )
    # By the tasks asked for, not the columns: a group of tasks comes back under the names of its members.
    new = [task for task in tasks if task not in content["asked"]]
    if new:
        scores = parse(_run(model, new, out_dir / FOLDER, options))
        columns = {**content["columns"], **ModelScores(scores).to_json()["columns"]}
        write_json(out_dir / FILE, {**content, "asked": [*content["asked"], *new], "columns": columns})
    return read_scores(out_dir / FILE)


class _Scores(Scores):
    """Content of `lmms.json`."""

    inputs: Mapping[str, Any]
    asked: list[str]


class _Config(TypedDict):
    """The entry of a model's `config.json` that is read here."""

    model_type: NotRequired[str]


def read_scores(file: Path) -> ModelScores:
    """Read the scores in a file that `evaluate_lmms` wrote.

    Raises:
        DataError: it cannot be read, or was changed.
    """
    return ModelScores(read_record(file, _Scores)["columns"])


def parse(results: Path) -> dict[str, dict[str, Score]]:
    """Read a results file of lmms-eval: task -> metric -> score.

    It holds `results.TASK` with `METRIC,FILTER` and `METRIC_stderr,FILTER`. A filter other than `none` becomes part of
    the metric's name. Values that are not numbers (submissions, `N/A`) are left out; a missing standard error is 0.

    Raises:
        DataError: it is no results file, or holds no number.
    """
    content = read_json(results)
    tasks = content.get("results") if isinstance(content, dict) else None
    if not isinstance(tasks, dict):
        raise DataError(f"{results}: not a results file of lmms-eval (no `results`)")
    counts = content.get("n-samples")
    counts = counts if isinstance(counts, dict) else {}
    scores: dict[str, dict[str, Score]] = {}
    for task, values in tasks.items():
        # A group of tasks has no number of questions of its own.
        task_counts = counts.get(task)
        effective = task_counts.get("effective") if isinstance(task_counts, dict) else None
        n = int(effective) if _is_number(effective) else 0
        for key, value in values.items() if isinstance(values, dict) else ():
            name, _, kind = str(key).partition(",")
            if _is_number(value) and not name.endswith(ERRORS):
                # Early versions named no filter, so that their keys have no comma.
                errors = [values.get(f"{name}{suffix},{kind}" if kind else f"{name}{suffix}") for suffix in ERRORS]
                [error, *_] = [*(float(e) for e in errors if _is_number(e)), 0.0]
                metric = name if kind in ("", "none") else f"{name} ({kind})"
                scores.setdefault(task, {})[metric] = Score(float(value), error, n)
    if not scores:
        raise DataError(f"{results}: holds no score")
    return scores


def _is_number(value: Any) -> TypeGuard[float]:
    # A bool is an int in Python, and Python's JSON may hold NaN and whole numbers that no float can be.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _run(model: Path, tasks: Sequence[str], folder: Path, options: Lmms) -> Path:
    """Call lmms-eval and return the results file that it wrote last."""
    python = options.python or sys.executable
    # Checked first, so that a missing package gets its own message and does not look like a failed evaluation.
    find_spec = "import importlib.util, sys; sys.exit(importlib.util.find_spec('lmms_eval') is None)"
    try:
        missing = subprocess.run([python, "-c", find_spec], capture_output=True, check=False).returncode
    except OSError as error:
        raise ConfigError(f"lmms_python: {python}: cannot be run ({error.strerror}); {INSTALL}") from None
    if missing:
        raise ConfigError(f"lmms_python: {python}: lmms-eval is not installed there. {INSTALL}")
    kind = read_record(model / "config.json", _Config).get("model_type", "unknown")
    name = options.model or NAMES.get(kind)
    if not name:
        raise ModelError(
            f"model {model}: lmms-eval's name for model_type {kind} is not known here; give it with --lmms_model"
        )
    from mmunlearner.models.checkpoint import check_whole  # takes seconds, which only a call of lmms-eval should pay

    check_whole(model)  # lmms-eval would fill missing weights with random numbers, or add an adapter once more
    folder.mkdir(parents=True, exist_ok=True)
    command = [python, "-m", "lmms_eval", "--model", name]
    command += ["--model_args", f"pretrained={model.resolve()}", "--tasks", ",".join(tasks)]
    command += ["--batch_size", str(options.batch_size), "--output_path", str(folder)]
    command += ["--limit", str(options.limit)] if options.limit else []
    # Results of earlier calls lie in the same folder, under names with a time that only lmms-eval knows.
    before = set(_result_files(folder))
    log = folder / "log.txt"
    with log.open("wb") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    if code or not set(_result_files(folder)) - before:
        # A Python program that fails ends with its error message.
        lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        last = lines[-1].strip()[:300] if lines else "no output"
        raise ToolError(f"lmms-eval failed or wrote no results: code {code} ({last}); its whole output: {log}")
    return max(_result_files(folder), key=lambda path: path.stat().st_mtime_ns)


def _result_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*results.json") if path.is_file()]
