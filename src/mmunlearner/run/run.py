"""The whole run on one page: data, models, masks, unlearning, evaluation, report."""

from __future__ import annotations

import os
from pathlib import Path

from mmunlearner import data, report
from mmunlearner.config import RunConfig
from mmunlearner.core.files import sweep, write_json
from mmunlearner.core.progress import Progress, ProgressBar
from mmunlearner.errors import ConfigError
from mmunlearner.evaluate import memorisation_gate, read_columns
from mmunlearner.models.quantization import check_quantization, require_bitsandbytes
from mmunlearner.run import collect as results
from mmunlearner.run.checks import check_methods
from mmunlearner.run.run_dir import REFERENCES, RunDir, open_run
from mmunlearner.run.steps import NO_MODEL, Steps
from mmunlearner.run.workers import Job, run_jobs


def run(config: RunConfig) -> Path:
    """Do everything that a recipe says, and return the path of its report.

    What is complete is skipped: called again, an interrupted run goes on and ends with the same weights and scores.

    Raises:
        MMUnlearnerError: the user's data, options or models are not what they should be; nothing is half-written.
    """
    folder = open_run(config)
    sweep(folder.path)
    with ProgressBar(work(folder)) as progress:
        for name in folder.config.methods:
            if folder.trained(name).exists():
                progress.skip(name)
        steps = Steps(folder, progress)
        progress.note(f"data: {_check(folder, steps)}")
        references = _references(folder, steps)
        workers = _workers(config)
        _do(folder, [("finetune", name) for name in references], workers, progress)
        _do(folder, [("evaluate", name) for name in references], workers, progress)
        progress.note(_gate(folder))
        if any(map(folder.needs_mask, folder.config.methods)):
            _do(folder, [("measure", name) for name in steps.passes], workers, progress)
        steps.masks()
        _do(folder, [("make", name) for name in _longest_first(folder)], workers, progress)
        results.collect(folder, steps.splits.evaluation, steps.validation)
    page = report.write(folder.path)
    write_json(folder.path / "manifest.json", results.manifest(folder))
    return page


def _check(folder: RunDir, steps: Steps) -> data.Overlap:
    """What can be wrong is found before anything long begins; returns which evaluated questions are trained on."""
    check_methods(folder.config)
    check_quantization(folder.config)
    require_bitsandbytes(folder.config.model.quantize)
    overlap = data.overlap(steps.splits)
    if not (folder.path / "data.json").exists():
        hashes = data.data_hashes(folder.root) if folder.root else {}
        write_json(folder.path / "data.json", {"hashes": hashes, "overlap": overlap._asdict()})
    return overlap


def _references(folder: RunDir, steps: Steps) -> list[str]:
    if not steps.source("vanilla"):
        raise ConfigError(NO_MODEL)
    return [name for name in REFERENCES if steps.source(name)]


def _workers(config: RunConfig) -> int:
    if config.jobs:
        return config.jobs
    import torch

    on_cpu = config.model.device == "cpu" or (config.model.device == "auto" and not torch.accelerator.is_available())
    return (os.cpu_count() or 1) if on_cpu else 1


def _do(folder: RunDir, jobs: list[Job], workers: int, progress: Progress) -> None:
    left = [job for job in jobs if not _is_done(folder, job)]
    if left:
        run_jobs(folder.path, left, min(workers, len(left)), progress)


def _is_done(folder: RunDir, job: Job) -> bool:
    step, name = job
    given = name in REFERENCES and bool(getattr(folder.config.model, name) or not folder.config.model.base)
    done = {
        "finetune": given or folder.trained(name).exists(),
        "evaluate": (folder.evaluation(name) / "cost.json").exists(),
        "measure": folder.squares(name).exists(),
        "make": (folder.evaluation(name) / "cost.json").exists(),
    }
    return done[step]


def _longest_first(folder: RunDir) -> list[str]:
    """So that no worker is left with a long job at the end."""
    return sorted(folder.config.methods, key=lambda name: -folder.work_units(name))


def work(folder: RunDir) -> dict[str, int]:
    """Optimizer steps of each model that the run trains: what its progress is measured in."""
    references = [name for name in REFERENCES if not getattr(folder.config.model, name) and folder.config.model.base]
    return dict.fromkeys(references, folder.config.finetune.steps) | {
        name: folder.work_units(name) for name in folder.config.methods
    }


def _gate(folder: RunDir) -> str:
    if not folder.evaluation("oracle").exists():
        return "No oracle: what is forgotten is held against chance, and no memorisation gate was passed."
    lines = {name: read_columns(folder.evaluation(name)) for name in REFERENCES}
    return memorisation_gate(lines["vanilla"]["forget_vqa"], lines["oracle"]["forget_vqa"]).text
