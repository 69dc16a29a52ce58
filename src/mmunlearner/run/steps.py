"""The steps of a run. Each reads and writes the run directory, and skips what it finds complete there."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

from mmunlearner import saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import LoadConfig, MaskConfig, MethodConfig, Quantize
from mmunlearner.core.cost import Cost, measured
from mmunlearner.core.files import discard, read_jsonl, staged_dir, write_json, write_jsonl
from mmunlearner.core.progress import Progress
from mmunlearner.core.records import read_record
from mmunlearner.data import Splits, prompt, target
from mmunlearner.errors import ConfigError, MaskError
from mmunlearner.evaluate import evaluate_model, quick_answers
from mmunlearner.models import Loaded, load, pick_device
from mmunlearner.report.records import Training, Trial
from mmunlearner.run.choice import best, excess, marked, summary
from mmunlearner.run.inputs import file_hashes
from mmunlearner.run.run_dir import RunDir, mask_name
from mmunlearner.run.stages import Stage, stages, training_questions
from mmunlearner.run.tuning import objective, with_settings
from mmunlearner.run.validation import (
    References,
    accuracies,
    forget_gaps,
    read_references,
    retained_questions,
    stop_target,
    trial_items,
)
from mmunlearner.saliency import FisherPass, Mask
from mmunlearner.unlearn import Trained, make_adapter, train_config
from mmunlearner.unlearn import unlearn as train
from mmunlearner.unlearn.distortion import distortion, states
from mmunlearner.unlearn.masking import weight_changes

_log = logging.getLogger(__name__)


def finetune(run: RunDir, name: str, progress: Progress) -> None:
    """Train the vanilla model or the oracle from the recipe's base model."""
    if _is_trained(run, name):
        return
    planned = stages(run.config.finetune)
    # Several have a folder each; of one, checkpoints lie where those of any training do.
    works = [run.work(name) / f"stage-{k}" for k in range(1, len(planned) + 1)]
    works = works if len(planned) > 1 else [run.work(name)]
    done = sum((work / "train.json").exists() for work in works)
    total, trained, spent = sum(stage.work(run.splits) for stage in planned), None, None
    for number in range(done, len(planned)):
        before = sum(stage.work(run.splits) for stage in planned[:number])
        part = progress.part(before, before + planned[number].work(run.splits), total)
        of_stage = part.child(f"stage {number + 1} of {len(planned)}") if len(planned) > 1 else part
        trained = None  # before the next model is loaded
        with measured() as cost:
            # Handed over at once: a name for it here would hold it while the next stage's model is loaded.
            trained = _stage(
                run, name, planned[number], _after(run, works[number - 1]) if number else _base(run),
                works[number], of_stage,
            )  # fmt: skip
        spent = cost
        if number < len(planned) - 1:
            _complete_stage(works[number], trained, cost)
            if number:
                discard(works[number - 1] / "model")
    assert trained  # the last stage is never complete by itself
    assert spent
    if len(planned) > 1:
        trained, spent = _joined(run, name, works, trained, spent)
    _save(run, name, trained, spent)


def _base(run: RunDir, *, on_host: bool = False) -> Loaded:
    """Load the model that fine-tuning starts from; `on_host`: on the CPU and unquantised, to compare with."""
    config, splits = run.config, run.splits
    if config.model.base == "tiny":
        from mmunlearner.models.tiny import from_oracle_weights

        # Its tokenizer has a token for each word, so that it needs every text that it will ever read.
        questions = [*splits.vanilla_training, *chain.from_iterable(splits.evaluation.values())]
        texts = (text for example in questions for text in (prompt(example), target(example)))
        return from_oracle_weights(texts, seed=config.seed)
    if on_host:
        return load_as(replace(config.model, device="cpu", device_map="", attention="auto"), config.model.base)
    return load_model(run, config.model.base, quantize=config.model.quantize)


def _after(run: RunDir, work: Path) -> Loaded:
    """Load the model of a stage that is complete."""
    return load_model(run, str(work / "model"), quantize=run.config.model.quantize)


def _stage(run: RunDir, name: str, stage: Stage, base: Loaded, work: Path, progress: Progress) -> Trained:
    """Train a stage of the vanilla model or the oracle."""
    config = run.config
    # Fine-tuning is a method whose retain set has all the examples.
    splits = Splits((), stage.examples(training_questions(run.splits, name)), (), {})
    return train(
        base, splits, MethodConfig("finetune"), stage.train, work, adapter=make_adapter(config.finetune_lora),
        dtype=config.model.dtype, seed=config.seed, progress=progress,
    )  # fmt: skip


def _complete_stage(work: Path, trained: Trained, cost: Cost) -> None:
    """Write a stage's model and its record, which marks it as complete; its checkpoints are not needed any more."""
    _write(work / "model", trained, cost, {})
    _copy(work / "model" / "train.json", work / "train.json")
    for checkpoint in work.glob("checkpoint-*"):
        discard(checkpoint)


def _joined(run: RunDir, name: str, works: Sequence[Path], last: Trained, cost: Cost) -> tuple[Trained, Cost]:
    """Return the training of all stages as one, and write its log, whose lines name their stage."""
    records = [read_record(work / "train.json", Training) for work in works[:-1]]
    steps = [record.get("steps", 0) for record in records]
    lines = [
        {**line, "step": sum(steps[:number]) + line["step"], "stage": number + 1}
        for number, work in enumerate(works)
        for line in read_jsonl(work / "log.jsonl")
    ]
    write_jsonl(run.work(name) / "log.jsonl", lines)
    weights = dict(_base(run, on_host=True).model.named_parameters())
    trained = replace(
        last,
        weight_changes=weight_changes(weights, last.loaded.model, None, forget_outside=0),
        tokens=last.tokens + sum(record.get("tokens", 0) for record in records),
        steps=last.steps + sum(steps),
        trainable=max(last.trainable, *(record.get("trainable", 0) for record in records)),
    )
    seconds = cost.seconds + sum(record.get("seconds", 0.0) for record in records)
    peak = max(cost.peak_memory_bytes, *(record.get("peak_memory_bytes", 0) for record in records))
    return trained, Cost(round(seconds, 3), peak)


def measure(run: RunDir, fisher_pass: FisherPass, progress: Progress) -> None:
    """Sum the squared gradients of one data set, for all masks of the run."""
    # In the number format of computation: no weight is trained here, so that none needs the precision of `weights`.
    encoder = Encoder(load_model(run, run.source("vanilla"), run.config.model.dtype))
    fisher_pass.measure(encoder, run.splits, progress=progress, store=run.all_squares)


def compute_masks(run: RunDir, progress: Progress) -> None:
    """Compute the masks from the stored squares."""
    missing = {name: config for name, config in run.masks.items() if not run.mask(name).exists()}
    if missing:
        # The model is read, and the data are hashed, once for all masks.
        encoder, hashes = Encoder(load_model(run, run.source("vanilla"))), file_hashes(run)
        for name, config in progress.track(list(missing.items()), "mask"):
            path = run.mask(name)
            mask = saliency.compute(
                encoder, run.splits, config, seed=run.config.seed, data_hashes=hashes, progress=progress,
                store=run.all_squares,
            )  # fmt: skip
            if mask.warning:
                _log.warning("mask %s: %s", name, mask.warning)
            write_json(path.with_suffix(".json"), {**saliency.statistics(mask), **asdict(mask.cost)})
            mask.save(path)  # last: the mask's file marks it as complete
    discard(run.all_squares)  # at 32 bits or more for each bit of a mask


def unlearn(run: RunDir, name: str, progress: Progress) -> None:
    """Make one of the recipe's models; with trials, the best of them on the validation half."""
    if _is_trained(run, name):
        return
    method = run.method(name)
    mask = _load_mask(run, method.mask) if method.mask else None
    if method.trials:
        _tune(run, name, mask, progress)
        return
    with measured() as cost:
        trained = _train(run, method, run.work(name), mask, progress, _vanilla(run))
    _save(run, name, trained, cost)


def try_settings(run: RunDir, name: str, progress: Progress) -> None:
    """Make and judge the model of each trial of a method, on a choosing fold; no model is kept."""
    method = run.method(name)
    mask = _load_mask(run, method.mask) if method.mask else None
    references = read_references(run, trial_items(run))
    for number in range(len(method.trials)):
        _trial(run, name, number, mask, references, progress)
    discard(run.work(name))


def evaluate(run: RunDir, name: str, progress: Progress, *, quantize: Quantize = "none") -> None:
    """Evaluate one model on every question, with its weights as saved, or quantised."""
    with measured() as cost:
        evaluate_model(
            load_model(run, run.source(name), quantize=quantize), run.splits.evaluation, run.evaluation(name),
            config=run.config.evaluate, progress=progress,
        )  # fmt: skip
    write_json(run.evaluated(name), asdict(cost))  # marks the evaluation as complete


def load_model(run: RunDir, source: str, dtype: str = "", *, quantize: Quantize = "none") -> Loaded:
    """Load a model as the recipe says, unquantised unless asked otherwise."""
    # `quantize` is not the recipe's by default: masks and evaluations take the weights as they are.
    return load_as(run.config.model, source, dtype, quantize=quantize)


def load_as(options: LoadConfig, source: str, dtype: str = "", *, quantize: Quantize = "none") -> Loaded:
    """Load a model with these options, but for the number format (empty: theirs) and the quantisation."""
    return load(
        source, dtype=dtype or options.weights, device=options.device, device_map=options.device_map,
        quantize=quantize, compute_dtype=options.dtype, attention=options.attention,
        trust_remote_code=options.trust_remote_code,
    )  # fmt: skip


def _vanilla(run: RunDir) -> Loaded:
    """Load the model that unlearning starts from, with the number format in which it trains."""
    return load_model(run, run.source("vanilla"), quantize=run.config.model.quantize)


def _train(
    run: RunDir, method: MethodConfig, work: Path, mask: Mask | None, progress: Progress, vanilla: Loaded
) -> Trained:
    config = run.config
    return train(
        vanilla, run.splits, method, config.train, work,
        mask=mask, adapter=make_adapter(config.model.lora, config.model.adapter), dtype=config.model.dtype,
        seed=config.seed, progress=progress,
        # Only where it is asked for: it reads the references' answers.
        stop_target=stop_target(run) if train_config(config.train, method).stop_every else None,
    )  # fmt: skip


def _tune(run: RunDir, name: str, mask: Mask | None, progress: Progress) -> None:
    """Make the model of each trial, and save the best one as the method's."""
    trials, references = list[Trial](), read_references(run, trial_items(run))
    for number in range(len(run.method(name).trials)):
        trials.append(_trial(run, name, number, mask, references, progress, trials))
    kept = run.best_trial(name)
    if not kept.exists():  # it is written before the record of its trial, so it was removed by hand
        raise ConfigError(f"{kept}: is missing although its trials are done; remove {kept.parent} and run again")
    records = [summary(trial) for trial in marked(trials, run.config.choosing_rule)]
    settings = trials[best(trials, run.config.choosing_rule)]["settings"]
    # Tuning takes the time of all trials, but their memory one at a time.
    cost = Cost(sum(r["seconds"] for r in records), max(r["peak_memory_bytes"] for r in records))
    tuning = {**asdict(cost), "trials": records}
    write_json(
        kept / "train.json", {**read_record(kept / "train.json", Training), "settings": settings, "tuning": tuning}
    )
    _copy(kept / "log.jsonl", run.log(name))
    # The rename marks the model as complete, for its train.json comes with it; what follows may be repeated.
    discard(run.model(name))
    run.model(name).parent.mkdir(parents=True, exist_ok=True)
    kept.rename(run.model(name))
    discard(run.work(name))


def _trial(
    run: RunDir, name: str, number: int, mask: Mask | None, references: References, progress: Progress,
    earlier: Sequence[Trial] | None = None,
) -> Trial:  # fmt: skip
    """Return the record of one trial: its settings, and how the items that choose judge its model.

    With `earlier`, the trials before it, its model is kept if it is the best so far.
    """
    record = run.trial(name, number)
    if record.exists():  # done before a kill
        return _checked(read_record(record, Trial), record, run)
    method = run.method(name)
    settings, work = dict(method.trials[number]), run.work(name) / str(number)
    # A trial may set its own number of steps; progress counts all trials as equally long.
    count = len(method.trials)
    progress = progress.child(f"trial {number + 1} of {count}").part(number, number + 1, count)
    held, tokens = retained_questions(run), run.config.train.tokens_per_batch
    vanilla = _vanilla(run)
    before = states(vanilla, held, tokens=tokens)  # before training, which changes this model
    with measured() as cost:
        trained = _train(run, with_settings(method, settings), work, mask, progress, vanilla)
    if run.config.model.quantize != "none":  # then the adapters were merged on the CPU
        trained.loaded.model.to(pick_device(run.config.model.device))  # pyright: ignore[reportArgumentType]
    lines = quick_answers(trained.loaded, references.items, config=run.config.evaluate)
    accuracy, (low, _) = accuracies(lines), references.forget_target()
    gaps = forget_gaps(run.config.goal, lines, references)
    moved = distortion(states(trained.loaded, held, tokens=tokens), before)
    result: Trial = {
        "settings": settings,
        "objective": objective(accuracy, accuracies(references.vanilla), low, run.config.goal),
        "accuracy": accuracy,
        "gaps": gaps,
        "excess": excess(gaps),
        "distortion": fmean(moved.values()),
        "distortions": moved,
        "seconds": cost.seconds,
        "peak_memory_bytes": cost.peak_memory_bytes,
    }
    # The first of equals, as the choice takes it. Only the best model so far is on the disk.
    if earlier is not None and best([*earlier, result], run.config.choosing_rule) == number:
        _write(run.best_trial(name), trained, cost, settings, log=work / "log.jsonl", objective=result["objective"])
    write_json(record, result)  # after the model: a kill in between repeats the trial from its last checkpoint
    discard(work)
    return result


def _checked(trial: Trial, record: Path, run: RunDir) -> Trial:
    """Return the record of an earlier trial, if the rule can judge it."""
    if run.config.choosing_rule == "distortion" and "distortion" not in trial:
        raise ConfigError(
            f"{record}: was written by an earlier version, without the distortion that chooses; run with --restart"
        )
    return trial


def _load_mask(run: RunDir, config: MaskConfig) -> Mask:
    path = run.user_mask or run.mask(mask_name(config))
    mask = saliency.load(path)
    try:
        mask.check_config(config)
    except MaskError as error:
        raise MaskError(f"{path}: {error}; remove it, and the same command makes it again") from None
    return mask


def _is_trained(run: RunDir, name: str) -> bool:
    """Return whether a model is complete; a kill may have left its checkpoints, which are removed then."""
    complete = run.trained(name).exists()
    if complete:
        discard(run.work(name))
    return complete


def _save(run: RunDir, name: str, trained: Trained, cost: Cost) -> None:
    _copy(run.work(name) / "log.jsonl", run.log(name))  # before the model, which marks the step as complete
    _write(run.model(name), trained, cost, {})
    discard(run.work(name))


def _write(
    path: Path,
    trained: Trained,
    cost: Cost,
    settings: Mapping[str, Any],
    *,
    log: Path | None = None,
    **extra: float,
) -> None:
    """Write a model directory that transformers reads, and in it train.json, the record of the training."""
    record = {"settings": dict(settings), "moved": asdict(trained.weight_changes), "steps": trained.steps}
    record |= {"trainable": trained.trainable} if trained.trainable else {}
    record |= {"look": trained.stop_check} if trained.stop_check else {}
    with staged_dir(path) as stage:
        trained.loaded.model.save_pretrained(stage)
        trained.loaded.processor.save_pretrained(stage)
        if log is not None:
            _copy(log, stage / "log.jsonl")
        write_json(stage / "train.json", {**record, "tokens": trained.tokens, **asdict(cost), **extra})


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
