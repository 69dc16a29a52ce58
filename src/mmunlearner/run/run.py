"""The whole run on one page: data, references, masks, unlearned models, report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mmunlearner import report
from mmunlearner.config import RunConfig
from mmunlearner.core.files import remove_unfinished, write_json
from mmunlearner.core.progress import ProgressBar
from mmunlearner.evaluate import memorisation_gate, read_columns
from mmunlearner.run.checks import check
from mmunlearner.run.collect import collect, manifest
from mmunlearner.run.plan import Plan, needed, plan
from mmunlearner.run.run_dir import REFERENCES, RunDir, open_run
from mmunlearner.run.steps import prepare
from mmunlearner.run.validation import validation_items
from mmunlearner.run.workers import execute


def run(config: RunConfig) -> Path:
    """Do everything that a recipe says, and return the path of its report.

    What is complete is skipped: called again, an interrupted run goes on and ends with the same weights and scores.

    Raises:
        MMUnlearnerError: the user's data, options or models are not what they should be; nothing is half-written.
    """
    directory = open_run(check(config))
    remove_unfinished(directory.path)
    overlap = prepare(directory)
    steps = plan(directory)
    references, squares, masks, models = _phases(directory, steps)
    with ProgressBar({name: step.work() for name, step in steps.items()}) as progress:
        for name, step in steps.items():
            if step.done():
                progress.skip(name)
        progress.note(f"data: {overlap}")
        execute(directory, references, workers(config), progress)
        progress.note(_memorisation(directory))
        execute(directory, squares, workers(config), progress)
        execute(directory, masks, workers(config), progress)
        execute(directory, models, workers(config), progress)
    collect(directory, directory.splits.evaluation, validation_items(directory))
    page = report.write(directory.path)
    write_json(directory.path / "manifest.json", manifest(directory))
    return page


def _phases(directory: RunDir, steps: Plan) -> Iterator[Plan]:
    """Yield the steps of the references, of the squared gradients, of the masks, and the rest.

    Each phase has its own number of processes, and so of threads to each, on which the last bits depend.
    """
    references = [f"evaluate {name}" for name in directory.references]
    masks = [name for name in steps if name == "masks"]
    squares = [need for name in masks for need in steps[name].needs]
    earlier: set[str] = set()
    for targets in (references, squares, masks, steps):
        phase = needed(steps, *targets)
        yield {name: step for name, step in phase.items() if name not in earlier}
        earlier |= phase.keys()


def workers(config: RunConfig) -> int:
    """Return how many steps are done side by side: by default one per core on a CPU, one on an accelerator."""
    if config.jobs:
        return config.jobs
    import torch

    on_cpu = config.model.device == "cpu" or (config.model.device == "auto" and not torch.accelerator.is_available())
    return (os.cpu_count() or 1) if on_cpu else 1


def _memorisation(directory: RunDir) -> str:
    if "oracle" not in directory.references:
        return "No oracle: what is forgotten is held against chance, and no memorisation gate was passed."
    lines = {name: read_columns(directory.evaluation(name)) for name in REFERENCES}
    return memorisation_gate(lines["vanilla"]["forget_vqa"], lines["oracle"]["forget_vqa"]).text
