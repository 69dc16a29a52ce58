"""The whole run on one page: data, references, masks, unlearned models, report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from mmunlearner import report
from mmunlearner.config import RunConfig
from mmunlearner.core import machine
from mmunlearner.core.files import remove_unfinished, write_json
from mmunlearner.core.progress import ProgressBar, waiting
from mmunlearner.run.checks import Examined, check, examine
from mmunlearner.run.collect import collect, gate, manifest
from mmunlearner.run.costs import StepCost
from mmunlearner.run.forecast import stages, step_costs
from mmunlearner.run.inputs import record_inputs
from mmunlearner.run.memory import LIBRARIES
from mmunlearner.run.plan import Plan, needed, plan
from mmunlearner.run.repeat import run_repetitions
from mmunlearner.run.run_dir import RunDir, empty, open_run, record_config
from mmunlearner.run.workers import execute


def run(config: RunConfig, *, restart: bool = False) -> Path:
    """Carry out a recipe, and return the path of its report; of a choosing fold's own recipe, that of its trials.

    With folds or seeds it is repeated for each, and the report is over all.

    Complete steps are skipped: an interrupted run, called again, resumes and ends with the same weights and scores.
    With `restart`, what an earlier run has written to the same directory is removed first.

    Raises:
        MMUnlearnerError: the data, an option or a model is wrong, or has changed since the run began; no file is left
            half-written.
    """
    config = check(config)
    if config.folds or config.seeds:
        return run_repetitions(config, partial(run, restart=restart))
    with open_run(config) as directory:
        if restart:
            examine(directory)  # a mistake removes nothing
            empty(directory)
        record_config(directory)
        remove_unfinished(directory.path)  # of an earlier call that was killed
        with waiting("reading and checking the data and the models"):
            steps = plan(directory)
            complete = all(step.done() for step in steps.values())
            examined = None if complete else examine(directory)
            overlap = record_inputs(directory, complete=complete)
        _execute(directory, steps, examined, str(overlap))
        if config.only_chooses:
            return directory.path / "trials"  # models of trials are not kept: there is nothing to report
        # Cheap, and done again in every call: a report never lags behind the evaluations.
        with waiting("writing the report"):
            collect(directory)
            page = report.write(directory.path)
        write_json(directory.path / "manifest.json", manifest(directory))
        return page


def _execute(directory: RunDir, steps: Plan, examined: Examined | None, overlap: str) -> None:
    config = directory.config
    with waiting("forecasting the time"):
        phases = list(_phases(directory, steps))
        # For the workers, of steps that are done too: a run that goes on must have as many as before.
        relevant = steps if not config.jobs else {name: step for name, step in steps.items() if not step.done()}
        costs = step_costs(directory, relevant, examined)
        at_once = workers(config, costs)
        forecast = stages(directory, phases, at_once, costs)
    references, squares, masks, models = phases
    with ProgressBar(forecast) as progress:
        for name, step in steps.items():
            if step.done():
                progress.skip(name)
        progress.note(f"data: {overlap}")
        execute(directory, references, at_once, progress)
        # Before hours of unlearning the user learns whether there is anything to forget.
        if "oracle" in directory.references:
            progress.note(gate(directory).text)
        else:
            progress.note("No oracle: forgetting is compared with chance, and memorisation is not checked.")
        execute(directory, squares, at_once, progress)
        execute(directory, masks, at_once, progress)
        execute(directory, models, at_once, progress)


def _phases(directory: RunDir, steps: Plan) -> Iterator[Plan]:
    """Yield the steps of the references, of the squared gradients, of the masks, and the rest.

    Each phase has its own number of processes, and so of threads in each, on which the last bits of sums depend.
    """
    references = [f"evaluate {name}" for name in directory.references]
    masks = [name for name in steps if name == "masks"]
    squares = [need for name in masks for need in steps[name].needs]
    earlier: set[str] = set()
    for targets in (references, squares, masks, steps):  # `steps`: all that is left
        phase = needed(steps, *targets)
        yield {name: step for name, step in phase.items() if name not in earlier}
        earlier |= phase.keys()


def workers(config: RunConfig, costs: Mapping[str, StepCost]) -> int:
    """Return the number of steps to run at the same time: `jobs`, or on a CPU one per core, as many as memory holds.

    On an accelerator it is one. `costs` are those of all steps, as far as they are known.
    """
    if config.jobs:
        return config.jobs
    import torch

    on_cpu = config.model.device == "cpu" or (config.model.device == "auto" and not torch.accelerator.is_available())
    if not on_cpu:
        return 1
    needed = max((cost.memory.total for cost in costs.values() if cost.memory), default=0)
    memory = machine.memory()
    fitting = memory // (needed + LIBRARIES) if memory else machine.cores()
    return max(1, min(machine.cores(), fitting))
