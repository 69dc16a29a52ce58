"""General ability by lmms-eval (POPE, MME, MMBench, MMMU, ...), in a separate environment, since it has exact pins.

`PYTHON -m lmms_eval` is run on the model's directory; its results file becomes `OUT/lmms.json`, with columns, metrics
and scores as in `scores.json`. Tasks that the file holds already are not run again.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from mmunlearner.core.files import read_json, write_json
from mmunlearner.errors import ConfigError, DataError, ModelError, ToolError
from mmunlearner.evaluate.scores import ModelScores, Score

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
    """Python of the environment that has it; empty: this one."""
    model: str = ""
    """Name of the model in lmms-eval; empty: by the `model_type` of its configuration."""
    limit: int = 0
    """At most so many questions per task; 0: all."""
    batch_size: int = 1


def evaluate_lmms(model: Path | str, tasks: Sequence[str], out_dir: Path | str, options: Lmms = Lmms()) -> ModelScores:
    """Run the tasks that OUT/lmms.json does not hold yet, and return all scores that it holds then.

    Raises:
        ConfigError: no task, or lmms-eval is not installed.
        DataError: OUT/lmms.json is another model's, or lmms-eval's results cannot be read.
        ModelError: the model's directory is missing, or lmms-eval's name for the model is not known.
        ToolError: lmms-eval failed.
    """
    out_dir, model = Path(out_dir), Path(model)
    if not tasks:
        raise ConfigError("lmms: name the tasks, e.g. --lmms pope,mme,mmbench_en,mmmu_val")
    if not (model / "config.json").is_file():
        raise ModelError(f"model {model}: no model's directory (no config.json); lmms-eval reads a saved one")
    inputs = {"model": str(model.resolve()), "limit": options.limit}
    content = {"inputs": inputs, "asked": [], "columns": {}}
    if (out_dir / FILE).exists():
        content = read_json(out_dir / FILE)
        if content.get("inputs") != inputs:
            raise DataError(
                f"{out_dir / FILE}: holds scores of another model or limit; remove it or name another folder"
            )
    new = [task for task in tasks if task not in content["asked"]]
    if new:
        scores = parse(_run(model, new, out_dir / FOLDER, options))
        columns = {**content["columns"], **ModelScores(scores).to_json()["columns"]}
        write_json(out_dir / FILE, {**content, "asked": [*content["asked"], *new], "columns": columns})
    return ModelScores.from_json(read_json(out_dir / FILE))


def parse(results: Path) -> dict[str, dict[str, Score]]:
    """Read a results file of lmms-eval: task -> metric -> score.

    It holds `results.TASK` with `METRIC,FILTER` and `METRIC_stderr,FILTER`. A metric of another filter than `none` is
    named with it. Values that are no numbers (submissions, `N/A`) are left out; a missing standard error is 0.

    Raises:
        DataError: it is no results file, or holds no number.
    """
    content = read_json(results)
    tasks = content.get("results") if isinstance(content, dict) else None
    if not isinstance(tasks, dict):
        raise DataError(f"{results}: not a results file of lmms-eval (no `results`)")
    counts = content.get("n-samples") or {}
    scores = {task: _task_scores(values, counts.get(task)) for task, values in tasks.items()}
    scores = {task: by_metric for task, by_metric in scores.items() if by_metric}
    if not scores:
        raise DataError(f"{results}: holds no score")
    return scores


def _task_scores(values: Any, counts: Any) -> dict[str, Score]:
    """Return metric -> score; `counts.effective` is the number of questions, which groups of tasks do not have."""
    n = int(counts.get("effective") or 0) if isinstance(counts, dict) else 0
    scores: dict[str, Score] = {}
    for key, value in values.items() if isinstance(values, dict) else ():
        name, _, kind = str(key).partition(",")
        if _is_number(value) and not name.endswith(ERRORS):
            errors = [values.get(f"{name}{suffix},{kind}" if kind else f"{name}{suffix}") for suffix in ERRORS]
            [error, *_] = [*(float(e) for e in errors if _is_number(e)), 0.0]
            scores[name if kind in ("", "none") else f"{name} ({kind})"] = Score(float(value), error, n)
    return scores


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _run(model: Path, tasks: Sequence[str], folder: Path, options: Lmms) -> Path:
    """Call lmms-eval and return the results file that it wrote last."""
    python = options.python or sys.executable
    _check_installed(python)
    kind = str(read_json(model / "config.json").get("model_type") or "unknown")
    name = options.model or NAMES.get(kind)
    if not name:
        raise ModelError(
            f"model {model}: lmms-eval's name for model_type {kind} is not known here; give it with --lmms_model"
        )
    folder.mkdir(parents=True, exist_ok=True)
    command = [python, "-m", "lmms_eval", "--model", name]
    command += ["--model_args", f"pretrained={model.resolve()}", "--tasks", ",".join(tasks)]
    command += ["--batch_size", str(options.batch_size), "--output_path", str(folder)]
    command += ["--limit", str(options.limit)] if options.limit else []
    before = set(_result_files(folder))
    log = folder / "log.txt"
    with log.open("wb") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    if code or not set(_result_files(folder)) - before:
        lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        last = lines[-1].strip()[:300] if lines else "no output"
        raise ToolError(f"lmms-eval ended with code {code} and without results ({last}); its whole output: {log}")
    return max(_result_files(folder), key=lambda path: path.stat().st_mtime_ns)


def _result_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*results.json") if path.is_file()]


def _check_installed(python: str) -> None:
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('lmms_eval') is None)"
    try:
        process = subprocess.run([python, "-c", code], capture_output=True, check=False)
    except OSError as error:
        raise ConfigError(f"lmms_python: {python}: cannot be run ({error.strerror}); {INSTALL}") from None
    if process.returncode:
        raise ConfigError(f"lmms_python: {python}: lmms-eval is not installed there. {INSTALL}")
