"""One step on its own, by paths: the plan of one target in a hidden run directory beside the result.

So a single command does exactly what the step does in a run, and resumes when it is called again.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mmunlearner import saliency
from mmunlearner.config import (
    DataConfig,
    EvaluateConfig,
    FinetuneConfig,
    LoadConfig,
    MaskConfig,
    MethodConfig,
    ModelConfig,
    Quantize,
    RunConfig,
    TrainConfig,
)
from mmunlearner.core.files import discard, write_json, write_text
from mmunlearner.core.progress import ProgressBar, waiting
from mmunlearner.core.recipes import build, check_value, config_hash, plain
from mmunlearner.core.records import read_record
from mmunlearner.errors import ChangedError, ConfigError, DataError, MMUnlearnerError
from mmunlearner.models import load_skeleton
from mmunlearner.report.card import unevaluated_card
from mmunlearner.report.figure import standalone_svg
from mmunlearner.report.plots import saliency_layers
from mmunlearner.report.records import Training
from mmunlearner.run.checks import check, examine
from mmunlearner.run.collect import unevaluated_model
from mmunlearner.run.forecast import stages, step_costs
from mmunlearner.run.inputs import record_inputs
from mmunlearner.run.plan import needed, plan
from mmunlearner.run.run_dir import RunDir, empty, mask_name, open_run, record_config
from mmunlearner.run.workers import execute

_log = logging.getLogger(__name__)
NAME = "model"  # of the single model in its run


def finetune(
    model: str,
    out: Path,
    *,
    data: DataConfig,
    train: TrainConfig,
    load: LoadConfig,
    oracle: bool = False,
    seed: int = 0,
) -> Path:
    """Train a model directory at `out` on the whole benchmark, or without the images of the targets (the oracle).

    Raises:
        MMUnlearnerError: the model, the data or an option is wrong, or `out` exists.
    """
    name = "oracle" if oracle else "vanilla"
    config = RunConfig(
        data=data, finetune=build(FinetuneConfig, plain(train)), model=_model(load, base=model), seed=seed
    )
    return _make(config, out, f"finetune {name}", lambda run: run.model(name))


def mask(model: str, out: Path, *, data: DataConfig, mask: MaskConfig, load: LoadConfig, seed: int = 0) -> Path:
    """Write the saliency mask of a model to the file `out`, and its statistics beside it (.json, .svg).

    Raises:
        MMUnlearnerError: the model, the data or an option is wrong, or `out` exists.
    """
    if load.quantize != "none":
        raise ConfigError(
            f"model.quantize {load.quantize}: such weights have no gradients to make a mask of; leave it out"
        )
    methods = {NAME: MethodConfig(mask=mask)}
    config = RunConfig(data=data, model=_model(load, vanilla=model), methods=methods, seed=seed)

    def result(run: RunDir) -> Path:
        path = run.mask(mask_name(mask))
        statistics = saliency.statistics(saliency.load(path))
        write_json(Path(out).with_suffix(".json"), statistics)
        if plot := saliency_layers(statistics):
            write_text(Path(out).with_suffix(".svg"), standalone_svg(plot, "Saliency and selected fraction by layer"))
        return path

    return _make(config, out, "masks", result)


def unlearn(
    model: str,
    out: Path,
    *,
    method: MethodConfig,
    data: DataConfig,
    train: TrainConfig,
    load: LoadConfig,
    mask: Path | None = None,
    seed: int = 0,
) -> Path:
    """Write the unlearned model to the directory `out`; its train.json records steps, time and memory.

    `mask` is a file that `single.mask` wrote; without one, a method that has mask options computes its own. With
    `train.stop_every` training ends at the level of guessing, since there is no oracle.

    Raises:
        MMUnlearnerError: the model, the data, the mask or an option is wrong, or `out` exists.
    """
    if mask:
        # The file replaces the run's own mask, and its options take the place of the method's: they are recorded.
        loaded = saliency.load(mask)
        if loaded.warning:
            _log.warning("mask %s: %s", mask, loaded.warning)
        method = replace(method, mask=loaded.config)
    config = RunConfig(data=data, train=train, model=_model(load, vanilla=model), methods={NAME: method}, seed=seed)

    def result(run: RunDir) -> Path:
        write_text(run.model(NAME) / "README.md", str(unevaluated_card(unevaluated_model(run, NAME), model)))
        return run.model(NAME)

    return _make(config, out, f"unlearn {NAME}", result, user_mask=mask)


def evaluate(
    model: str, out: Path, *, data: DataConfig, evaluate: EvaluateConfig, load: LoadConfig, seed: int = 0
) -> Path:
    """Evaluate a model on all questions; its answers and scores are written to the directory `out`.

    Raises:
        MMUnlearnerError: the model, the data or an option is wrong, or `out` exists.
    """
    config = RunConfig(data=data, evaluate=evaluate, model=_model(load, vanilla=model), seed=seed)
    if _stopped_early(Path(model) / "train.json"):
        # A run scores the other half alone.
        _log.warning("%s: half of the forget entities decided when training ended; these scores include them", model)
    return _make(
        config, out, "evaluate vanilla", lambda run: run.evaluation("vanilla"), quantize=load.quantize,
        title=f"evaluate {model}",
    )  # fmt: skip


def evaluate_against(
    model: str, against: str, out: Path, *, data: DataConfig, config: EvaluateConfig, load: LoadConfig, seed: int = 0
) -> Path:
    """Evaluate a model (if one is named) and the one that it is compared with; return the answers of the latter.

    They are kept in OUT/against-NAME, and not asked for again.

    Raises:
        MMUnlearnerError: as `evaluate`; a mistake in the second model is found before the first is evaluated.
    """
    load_skeleton(against, trust_remote_code=load.trust_remote_code)
    if model:
        evaluate(model, out, data=data, evaluate=config, load=load, seed=seed)
    earlier = out / f"against-{re.sub(r'[^A-Za-z0-9.]+', '-', against).strip('-')}"
    if not earlier.exists():
        evaluate(against, earlier, data=data, evaluate=config, load=load, seed=seed)
    return earlier


def _stopped_early(record: Path) -> bool:
    """Return whether training looked at evaluation questions; a file of another program of this name says nothing."""
    with suppress(DataError):
        return "look" in read_record(record, Training)
    return False


def _model(load: LoadConfig, **sources: str) -> ModelConfig:
    return build(ModelConfig, {**plain(load), **sources})


def _make(
    config: RunConfig,
    out: Path,
    target: str,
    result: Callable[[RunDir], Path],
    *,
    user_mask: Path | None = None,
    quantize: Quantize = "none",
    title: str = "",
) -> Path:
    """Do one step and those that it needs, then move its `result` to `out`; progress names the step by `title`."""
    out = Path(check_value("out", str(out), str))
    try:
        config = check(replace(config, out=str(out.parent)))
    except MMUnlearnerError as error:  # the user has given the method no name
        raise type(error)(str(error).removeprefix(f"methods.{NAME}: ")) from None
    if out.exists():
        raise ConfigError(f"{out}: exists already; choose another --out, or remove it")
    # Its name has a hash of all that decides the result, so that a call with other options, or with another mask, never
    # resumes from its checkpoints. Hidden and beside `out`: the result is moved within one file system.
    options = config_hash(config) + (hashlib.sha256(user_mask.read_bytes()).hexdigest()[:12] if user_mask else "")
    with open_run(config, folder=out.with_name(f".{out.name}.{options}"), user_mask=user_mask) as run:
        record_config(run)
        try:
            with waiting("reading and checking the data and the model"):
                steps = needed(plan(run, quantize), target)
                steps = {title if title and name == target else name: step for name, step in steps.items()}
                examined = examine(run)
                _record_inputs(run)
                waiting_steps = {name: step for name, step in steps.items() if not step.done()}
                forecast = stages(run, [steps], 1, step_costs(run, waiting_steps, examined))
            with ProgressBar(forecast) as progress:
                for name in steps:
                    if steps[name].done():
                        progress.skip(name)
                execute(run, steps, 1, progress)
            result(run).rename(out)
        # Any other exception, an interrupt above all, leaves the run to be resumed.
        except MMUnlearnerError:
            if not (run.path / "work").exists():  # no checkpoint to go on from
                discard(run.path)
            raise
    discard(run.path)
    return out


def _record_inputs(run: RunDir) -> None:
    """Begin anew where data or model have changed since the same command was interrupted."""
    try:
        record_inputs(run)
    except ChangedError as error:
        _log.warning("%s; so the interrupted command begins anew", str(error).partition(";")[0])
        empty(run)
        record_config(run)
        record_inputs(run)
