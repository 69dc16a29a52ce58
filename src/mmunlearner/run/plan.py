"""The plan of a run: the table of steps that the runner, the progress bar, the forecast and single commands read.

To add a kind of step, such as an attack that trains an unlearned model again, write a function in `steps`, its cost in
`costs`, and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from mmunlearner.config import Quantize, RunConfig, TrainConfig
from mmunlearner.core.progress import Progress
from mmunlearner.data import Splits
from mmunlearner.methods import METHODS, resolve
from mmunlearner.run import costs, steps
from mmunlearner.run.costs import Estimator, StepCost
from mmunlearner.run.run_dir import RunDir
from mmunlearner.run.stages import stages
from mmunlearner.saliency import FisherPass, fisher_passes
from mmunlearner.unlearn import planned_budget, train_config

WITH_GRADIENT = 3  # work of a question with its gradient, against 1 for reading it: a backward pass costs two forward


@dataclass(frozen=True)
class Step:
    """A row of the plan."""

    name: str
    done: Callable[[], bool]
    do: Callable[[Progress], None]
    work: Callable[[], int]
    """Questions that the model reads, each with a gradient `WITH_GRADIENT` times: for progress where there is no
    forecast."""
    cost: Callable[[Estimator], StepCost] | None = None
    """Forecast of the step; None: its cost is negligible."""
    needs: tuple[str, ...] = ()
    """Names of the steps that must be done before."""


Plan = dict[str, Step]


def plan(run: RunDir, quantize: Quantize = "none") -> Plan:
    """Return a run's steps by name, each after those that it needs.

    `quantize` is the number format of the weights in evaluations.
    """
    return {step.name: step for step in _steps(run, quantize)}


def _steps(run: RunDir, quantize: Quantize) -> Iterator[Step]:
    config = run.config
    # A reference that the recipe names by directory or hub id is not trained.
    trained = [name for name in run.references if not getattr(config.model, name)]
    for name in trained:
        yield Step(
            f"finetune {name}",
            done=partial(_is_trained, run, name),
            do=partial(steps.finetune, run, name),
            work=lambda: WITH_GRADIENT * sum(stage.work(run.splits) for stage in stages(config.finetune)),
            cost=partial(costs.finetuning, name=name),
        )
    vanilla = ("finetune vanilla",) if "vanilla" in trained else ()
    for name in run.references:
        yield _evaluation(run, name, quantize, needs=(f"finetune {name}",) if name in trained else ())
    # Masks of different parts or thresholds share the squared gradients of a data set, so each pass is a step.
    passes = fisher_passes(run.masks.values())
    for fisher_pass in passes:
        yield Step(
            f"measure {fisher_pass.name}",
            done=partial(_is_measured, run, fisher_pass),
            do=partial(steps.measure, run, fisher_pass),
            work=lambda fisher_pass=fisher_pass: WITH_GRADIENT * sum(map(len, fisher_pass.groups(run.splits))),
            cost=partial(costs.fisher, fisher_pass=fisher_pass),
            needs=vanilla,
        )
    if run.masks:
        yield Step(
            "masks",
            # A kill may come between the last mask and the removal of the squares.
            done=lambda: _are_masks_complete(run) and not run.all_squares.exists(),
            do=partial(steps.compute_masks, run),
            work=lambda: 0,  # no question is read
            cost=partial(costs.masks, configs=tuple(run.masks.values())),
            needs=tuple(f"measure {fisher_pass.name}" for fisher_pass in passes),
        )
    # The longest first, so that no worker is left with a long step at the end.
    # Without the data, which a plan can be made without.
    for name in sorted(config.methods, key=lambda name: -_unlearning_work(config, name, None)):
        method = config.methods[name]
        # Trials and early stopping compare the model with the references' answers.
        judged = method.trials or train_config(config.train, method).stop_every
        yield Step(
            f"unlearn {name}",
            done=partial(_is_tried if config.only_chooses else _is_trained, run, name),
            do=partial(steps.try_settings if config.only_chooses else steps.unlearn, run, name),
            work=lambda name=name: _unlearning_work(config, name, run.splits),
            cost=partial(costs.unlearning, name=name),
            needs=(
                *vanilla,
                *(("masks",) if method.mask and run.masks else ()),
                *(f"evaluate {reference}" for reference in run.references if judged),
            ),
        )
        if not config.only_chooses:
            yield _evaluation(run, name, quantize, needs=(f"unlearn {name}",))


def _evaluation(run: RunDir, name: str, quantize: Quantize, needs: tuple[str, ...]) -> Step:
    return Step(
        f"evaluate {name}",
        done=run.evaluated(name).exists,
        do=partial(steps.evaluate, run, name, quantize=quantize),
        work=partial(_evaluation_work, run),
        cost=partial(costs.evaluation, name=name),
        needs=needs,
    )


def needed(plan: Plan, *targets: str) -> Plan:
    """Return the target steps and all steps that they need, in the plan's order."""
    names, waiting = set[str](), list(targets)
    while waiting:
        name = waiting.pop()
        names.add(name)
        waiting += plan[name].needs
    return {name: step for name, step in plan.items() if name in names}


def _is_trained(run: RunDir, name: str) -> bool:
    # A kill may come between the model and the removal of its checkpoints.
    return run.trained(name).exists() and not run.work(name).exists()


def _is_tried(run: RunDir, name: str) -> bool:
    records = (run.trial(name, number) for number in range(len(run.method(name).trials)))
    return all(record.exists() for record in records) and not run.work(name).exists()


def _is_measured(run: RunDir, fisher_pass: FisherPass) -> bool:
    # The squares are removed after the last mask.
    return fisher_pass.path(run.all_squares).exists() or _are_masks_complete(run)


def _are_masks_complete(run: RunDir) -> bool:
    return all(run.mask(name).exists() for name in run.masks)


def _unlearning_work(config: RunConfig, name: str, splits: Splits | None) -> int:
    method = config.methods[name]
    terms = resolve(method.method, METHODS)
    train = planned_budget(config.train, method, splits)
    if terms.edit:
        return costs.EDIT_QUESTIONS * max(1, len(method.trials))
    # A method of both terms draws `retain_per_forget` retain batches to a forget batch; of retain alone, one a step.
    # Against relearning, the copy has a batch of each half beside it.
    forget = 3 if terms.bind_relearning(method.options) else 1
    batches = (forget if terms.forget else 0) + (
        (train.retain_per_forget if terms.forget else 1) if terms.retain else 0
    )
    return _training_work(train, batches * max(1, len(method.trials)))


def _training_work(train: TrainConfig, batches: int) -> int:
    """Return the work of training with so many batches to a (forget) step."""
    return WITH_GRADIENT * train.steps * train.accumulation * batches * train.batch_size * train.questions


def _evaluation_work(run: RunDir) -> int:
    limit = run.config.evaluate.limit
    return sum(min(len(items), limit or len(items)) for items in run.splits.evaluation.values())
