"""Forecast of a recipe: counts, tokens, steps, memory, time. Reads no weights, writes no run.

Where data, processor or configuration are missing, the forecast lists what it could not count, and why.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mmunlearner import data
from mmunlearner.batches import Encoder
from mmunlearner.config import Part, RunConfig
from mmunlearner.core import machine
from mmunlearner.core.time_left import Stage
from mmunlearner.data import Example
from mmunlearner.errors import reason
from mmunlearner.models import pick_device
from mmunlearner.report.template import plural
from mmunlearner.run import memory
from mmunlearner.run.checks import Examined, check, examine
from mmunlearner.run.costs import SAMPLED_ITEMS, Estimator, StepCost, sample
from mmunlearner.run.plan import Plan, plan
from mmunlearner.run.repeat import choosing_runs, repetitions
from mmunlearner.run.run_dir import RunDir
from mmunlearner.run.validation import trial_items
from mmunlearner.run.workers import threads_of_worker, width

_log = logging.getLogger(__name__)
GUESS = 0.01  # seconds of a question, where nothing can be forecast
DISTURBED = 0.8  # share of the cores below which a measured speed is not the machine's


@dataclass(frozen=True)
class SetCount:
    """Counts of one data set or evaluation column."""

    name: str
    questions: int
    images: int
    entities: int
    tokens: float | None
    """Mean tokens of a row, image tokens included; None where no processor is at hand."""

    @classmethod
    def of(cls, name: str, examples: Sequence[Example], encoder: Encoder | None) -> SetCount:
        """Count a set; its mean tokens are those of a sample."""
        images = {key for example in examples for key in example.image_keys}
        entities = {example.entity for example in examples}
        tokens = None
        if encoder is not None and examples:
            rows = encoder.rows(sample(examples, SAMPLED_ITEMS))
            tokens = sum(len(row.input_ids) for row in rows) / len(rows)
        return cls(name, len(examples), len(images), len(entities), tokens)


@dataclass(frozen=True)
class Forecast:
    """Figures of a recipe that need no weights."""

    name: str
    sets: tuple[SetCount, ...]
    overlap: str
    steps: tuple[StepCost, ...]
    weights: Mapping[Part, int]
    """Part -> weights; empty where no configuration is at hand."""
    speed: float
    """Floating-point operations per second that times are computed with."""
    speed_source: str
    on_host: bool
    """True if the models are in the host's memory, on a CPU."""
    unknown: tuple[str, ...]
    """Things that could not be counted, and why."""
    before: Forecast | None = None
    """Forecast of the choosing folds, where there are any."""

    @property
    def seconds(self) -> float | None:
        """Time of all counted operations at `speed`, a lower bound: no run reaches that speed throughout."""
        operations = [step.operations for step in self.steps if step.operations is not None]
        return sum(operations) / self.speed if operations else None


def forecast(config: RunConfig, *, speed: float = 0.0) -> Forecast:
    """Estimate what a recipe takes, or one of its repetitions; `speed` (FLOP/s) is measured here where it is 0.

    Raises:
        ConfigError: the recipe is wrong: an option, a method, no model to unlearn.
    """
    config = check(config, installed=False)
    if repeated := repetitions(config):
        before = None
        if choosing := choosing_runs(config):
            title = f"{config.name}, each of {plural(len(choosing), 'choosing fold')}"
            before = replace(_of_one(choosing[0], config, speed), name=title)
        one = _of_one(repeated[0], config, speed)
        return replace(one, name=f"{config.name}, each of {plural(len(repeated), 'repetition')}", before=before)
    with tempfile.TemporaryDirectory() as folder:  # where the embedded benchmark makes its data
        run = RunDir(Path(folder), config)
        examined = examine(run, strict=False)
        estimator = _estimator(run, examined)
        splits, sizes, encoder = estimator.splits, estimator.sizes, estimator.encoder
        steps = tuple(step.cost(estimator) for step in plan(run).values() if step.cost)
        # Before the folder goes: images are read only where their tokens are counted.
        sets = splits.sets if splits else {}
        counts = tuple(SetCount.of(name, examples, encoder) for name, examples in sets.items())
    speed_source = f"the speed that --flops names ({speed:.3g} FLOP/s)"
    if not speed:
        here = measured_speed(config.model.device, config.model.dtype)
        speed = here.operations
        speed_source = f"the speed of a matrix product in {config.model.dtype} on this machine ({speed:.3g} FLOP/s)"
        if here.is_disturbed:
            speed_source += (
                f", measured beside other programs, which left it {here.share:.0%} of its cores: on a quiet machine "
                "less time is needed"
            )
    overlap, weights = str(data.overlap(splits)) if splits else "", dict(sizes.weights) if sizes else {}
    on_host = pick_device(config.model.device).type == "cpu"
    return Forecast(config.name, counts, overlap, steps, weights, speed, speed_source, on_host, examined.unknown)


def _of_one(part: RunConfig, whole: RunConfig, speed: float) -> Forecast:
    # The embedded data that all parts share are not there yet: each makes its own for a forecast.
    return forecast(replace(part, data=replace(part.data, root=whole.data.root)), speed=speed)


def step_costs(run: RunDir, steps: Plan, examined: Examined | None) -> dict[str, StepCost]:
    """Return the costs of steps by name; of none, with a word in the log, where they cannot be told.

    `examined` may be None where no step is left.
    """
    try:
        if not any(step.cost and not step.done() for step in steps.values()):
            return {}
        estimator = _estimator(run, examined or examine(run, strict=False))
        return {name: step.cost(estimator) for name, step in steps.items() if step.cost}
    # Of any kind, since a model or processor of the user's may lack what the forecast asks of it: an estimate of the
    # time is not worth a run.
    except Exception as error:
        _log.warning("the time is not forecast (%s); the estimate begins with a guess", reason(error))
        return {}


def stages(run: RunDir, phases: Iterable[Plan], workers: int, costs: Mapping[str, StepCost]) -> list[Stage]:
    """Return the phases of a run as progress shows them: the seconds of each step, and how many run at once.

    A step without a cost is taken to be as fast, for the questions that the model reads, as those that have one.
    """
    phases = list(phases)
    steps = {name: step for phase in phases for name, step in phase.items()}
    operations = {name: cost.operations for name, cost in costs.items() if name in steps}
    speed = measured_speed(run.config.model.device, run.config.model.dtype).operations if operations else 1.0
    seconds = {name: count / speed for name, count in operations.items() if count}
    work = {name: step.work() for name, step in steps.items()}
    counted = sum(work[name] for name in seconds)
    each = sum(seconds.values()) / counted if counted else GUESS
    on_cpu = pick_device(run.config.model.device).type == "cpu"
    result = []
    for phase in phases:
        at_once = min(workers, width(phase))
        # The speed is that of the whole machine, or of all threads that this process has.
        slower = at_once
        if at_once > 1 and on_cpu:
            slower = torch.get_num_threads() / threads_of_worker(at_once)
        of_phase = {name: slower * seconds.get(name, each * work[name]) for name in phase}
        result.append(Stage(of_phase, max(1, at_once)))
    return result


@dataclass(frozen=True)
class Speed:
    """Speed of this machine at a moment."""

    operations: float
    """Floating-point operations per second."""
    share: float
    """Share of the time that this process had of the cores that it asked for; less than 1 where others compute too."""

    @property
    def is_disturbed(self) -> bool:
        """True if other programs took a good part of the cores."""
        return self.share < DISTURBED


def measured_speed(device: str, dtype: str, side: int = 1024) -> Speed:
    """Return the speed of the best of some products of square matrices."""
    where = pick_device(device)  # by default large enough that launching a kernel does not count
    # Nothing is drawn, so that the draws of a run stay what they were.
    a = torch.full((side, side), 0.01, device=where, dtype=getattr(torch, dtype))
    best, own, began = 0.0, time.process_time(), time.perf_counter()
    for _ in range(4):  # the first one warms up
        started = time.perf_counter()
        float((a @ a).flatten()[0])  # reading a number waits for the accelerator
        best = max(best, 2 * side**3 / (time.perf_counter() - started))
    if where.type != "cpu":
        return Speed(best, 1.0)
    threads = min(torch.get_num_threads(), machine.cores())
    return Speed(best, min(1.0, (time.process_time() - own) / (threads * (time.perf_counter() - began))))


def _estimator(run: RunDir, examined: Examined) -> Estimator:
    """Return what the costs of a run's steps are computed from."""
    splits, model = examined.splits, examined.model
    sizes = memory.sizes(model) if model is not None else None
    return Estimator(run.config, splits, sizes, examined.encoder, model, trial_items(run) if splits else {})
