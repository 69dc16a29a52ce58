"""General ability by lmms-eval (POPE, MME, MMBench, MMMU, ...), in an environment of its own: it has exact pins.

`PYTHON -m lmms_eval` is run on the model's directory; its results file becomes `OUT/lmms.json`, with columns, metrics
and scores as in `scores.json`. Tasks that stand there already are not run again.
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
"""Where lmms-eval writes its own files, and what it prints (log.txt)."""
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
"""`model_type` of a configuration -> the name under which lmms-eval knows the model."""
ERRORS = ("_stderr_clustered", "_stderr", "_stderr_clt")
"""Endings of standard errors' names, the best first."""
INSTALL = (
    "lmms-eval needs an environment of its own: `python -m venv lmms`, `lmms/bin/pip install lmms-eval`, "
    "then --lmms_python lmms/bin/python"
)


@dataclass(frozen=True)
class Lmms:
    """How lmms-eval is called."""

    python: str = ""
    """Python of the environment that has it; empty: this one."""
    model: str = ""
    """The model's name there; empty: by the `model_type` of its configuration."""
    limit: int = 0
    """At most so many questions per task; 0: all."""
    batch_size: int = 1


def evaluate_lmms(model: Path | str, tasks: Sequence[str], out_dir: Path | str, how: Lmms | None = None) -> ModelScores:
    """Run the tasks that OUT/lmms.json does not hold, and return the scores of all that it holds then.

    Raises:
        ConfigError: no task, or lmms-eval is not installed.
        DataError: OUT/lmms.json is another model's, or lmms-eval's results cannot be read.
        ModelError: the model's directory is missing, or it is not known under which name lmms-eval has it.
        ToolError: lmms-eval failed.
    """
    how, out_dir, model = how or Lmms(), Path(out_dir), Path(model)
    if not tasks:
        raise ConfigError("lmms: name the tasks, e.g. --lmms pope,mme,mmbench_en,mmmu_val")
    if not (model / "config.json").is_file():
        raise ModelError(f"model {model}: no model's directory (no config.json); lmms-eval reads a saved one")
    done = _done(out_dir / FILE, model, how)
    left = [task for task in tasks if task not in done["asked"]]
    if left:
        found = parse(_newest(_run(model, left, out_dir / FOLDER, how)))
        scores = {**done["columns"], **ModelScores(found).to_json()["columns"]}
        write_json(out_dir / FILE, {**done, "asked": [*done["asked"], *left], "columns": scores})
    return ModelScores.from_json(read_json(out_dir / FILE))


def parse(results: Path) -> dict[str, dict[str, Score]]:
    """Task -> metric -> score, of a results file: `results.TASK`, with `METRIC,FILTER` and `METRIC_stderr,FILTER`.

    A metric of another filter than `none` is named with it. Values that are no numbers (submissions, `N/A`) are left
    out; a standard error that lmms-eval does not give is 0.

    Raises:
        DataError: it is no results file, or holds no number.
    """
    content = read_json(results)
    tasks = content.get("results") if isinstance(content, dict) else None
    if not isinstance(tasks, dict):
        raise DataError(f"{results}: not a results file of lmms-eval (no `results`)")
    counts = content.get("n-samples") or {}
    scores = {task: _scores(values, _effective(counts.get(task))) for task, values in tasks.items()}
    found = {task: some for task, some in scores.items() if some}
    if not found:
        raise DataError(f"{results}: holds no score")
    return found


def _scores(values: Any, n: int) -> dict[str, Score]:
    scores: dict[str, Score] = {}
    for key, value in values.items() if isinstance(values, dict) else ():
        name, _, kind = str(key).partition(",")
        if _is_number(value) and not name.endswith(ERRORS):
            errors = [values.get(f"{name}{ending},{kind}" if kind else f"{name}{ending}") for ending in ERRORS]
            [error, *_] = [*(float(e) for e in errors if _is_number(e)), 0.0]
            scores[name if kind in ("", "none") else f"{name} ({kind})"] = Score(float(value), error, n)
    return scores


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _effective(counts: Any) -> int:
    """Questions behind a task's scores; 0 where they are not told (groups)."""
    return int(counts.get("effective") or 0) if isinstance(counts, dict) else 0


def _done(path: Path, model: Path, how: Lmms) -> dict[str, Any]:
    """What the file holds already of this model."""
    inputs = {"model": str(model.resolve()), "limit": how.limit}
    if not path.exists():
        return {"inputs": inputs, "asked": [], "columns": {}}
    found = read_json(path)
    if found.get("inputs") != inputs:
        raise DataError(f"{path}: holds scores of another model or limit; remove it or name another folder")
    return found


def _run(model: Path, tasks: Sequence[str], folder: Path, how: Lmms) -> Path:
    """Call lmms-eval; returns the folder that it wrote to."""
    python = how.python or sys.executable
    _check_installed(python)
    name = how.model or _name(model)
    folder.mkdir(parents=True, exist_ok=True)
    command = [python, "-m", "lmms_eval", "--model", name, "--model_args", f"pretrained={model.resolve()}"]
    command += ["--tasks", ",".join(tasks), "--batch_size", str(how.batch_size), "--output_path", str(folder)]
    command += ["--limit", str(how.limit)] if how.limit else []
    before = set(_results(folder))
    log = folder / "log.txt"
    with log.open("wb") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    if code or not set(_results(folder)) - before:
        said = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        last = said[-1].strip()[:300] if said else "it said nothing"
        raise ToolError(f"lmms-eval ended with code {code} and without results ({last}); all that it said: {log}")
    return folder


def _check_installed(python: str) -> None:
    try:
        found = subprocess.run(
            [python, "-c", "import importlib.util, sys; sys.exit(importlib.util.find_spec('lmms_eval') is None)"],
            capture_output=True, check=False,
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(f"lmms_python: {python}: cannot be run ({error.strerror}); {INSTALL}") from None
    if found.returncode:
        raise ConfigError(f"lmms_python: {python}: lmms-eval is not installed there. {INSTALL}")


def _name(model: Path) -> str:
    kind = str(read_json(model / "config.json").get("model_type") or "unknown")
    if kind not in NAMES:
        raise ModelError(
            f"model {model}: lmms-eval's name for model_type {kind} is not known here; give it with --lmms_model"
        )
    return NAMES[kind]


def _results(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*results.json") if path.is_file()]


def _newest(folder: Path) -> Path:
    return max(_results(folder), key=lambda path: path.stat().st_mtime_ns)
