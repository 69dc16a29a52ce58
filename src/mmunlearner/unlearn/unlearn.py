"""Runs a method, from a vanilla model to an unlearned one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn
from transformers import PrinterCallback
from transformers.utils import logging as transformers_logging

from mmunlearner.batches import Encoder
from mmunlearner.batches.augmentation import can_augment
from mmunlearner.config import MethodConfig, Part, TrainConfig
from mmunlearner.core.files import write_jsonl
from mmunlearner.core.progress import Progress
from mmunlearner.core.recipes import check
from mmunlearner.data import Splits
from mmunlearner.errors import ConfigError
from mmunlearner.methods import METHODS, BoundTerm, TermName, resolve
from mmunlearner.models import Loaded, chosen_layers, input_device, layers, part_of
from mmunlearner.unlearn.adapters import Adapted, WholeWeights
from mmunlearner.unlearn.collate import Collator
from mmunlearner.unlearn.early_stopping import EarlyStopping
from mmunlearner.unlearn.feature_cache import FeatureCache, features_are_frozen
from mmunlearner.unlearn.job import Job, train_config
from mmunlearner.unlearn.log import StepLog, summarize
from mmunlearner.unlearn.masking import Masking, WeightChanges, trainable_names, weight_changes
from mmunlearner.unlearn.optimizer import learning_rate_share, muon, part_of_trained, set_rates_by_part
from mmunlearner.unlearn.reference import ReferenceCache, VanillaNeeds, cache_reference, guesses, second_answers
from mmunlearner.unlearn.sampler import StepSampler
from mmunlearner.unlearn.trainer import (
    UnlearnTrainer,
    enable_checkpointing,
    last_checkpoint,
    own_forward_afterwards,
    training_arguments,
    warn_if_updates_round_to_zero,
)

FACES = 16
"""Retained entities about whose images a forgotten answer is asked, to know how probable it is as a guess."""
Terms = Mapping[TermName, BoundTerm | None]
Weights = Mapping[str, Tensor]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """The unlearned model and what it took."""

    loaded: Loaded
    weight_changes: WeightChanges
    seconds: float
    tokens: int = 0
    steps: int = 0
    stop_check: Mapping[str, Any] | None = None
    """The last check of early stopping (`StopCheck`), with its `step` and the steps planned (`of`), where there was
    one."""
    trainable: int = 0
    """Weights that trained (numbers of an adapter, where there was one)."""


def unlearn(
    loaded: Loaded, splits: Splits, config: MethodConfig, base: TrainConfig, work: Path, **more: Any
) -> Trained:
    """Run one method on `loaded` (changed in place), with checkpoints and logs under `work`.

    `more` are fields of `Job`: mask, adapter, dtype, seed, progress, encoder, stop_target. Called again with the same
    arguments after an interruption, it continues from the last checkpoint and ends with the weights of an uninterrupted
    run.

    Raises:
        ConfigError: options that do not go together or not with the model, or a method without the mask that it needs.
        ModelError: the model does not fit on its devices.
        DataError: a set that the method needs is empty.
        MaskError: the mask belongs to another model, or would act on nothing.
        TrainingError: a loss is not finite.
    """
    config, train = check(config), check(train_config(base, config))
    method = resolve(config.method, METHODS)
    return run_job(Job(loaded, splits, method, config.options, train, work, **more))


def run_job(job: Job) -> Trained:
    """Check a job, then train or edit its model; raises as `unlearn` does."""
    train_options = job.method.budget.fill(job.train, len(job.splits.forget_entities))
    if job.train.augment == "auto" and train_options.augment != "none" and not _can_augment(job):
        _log.warning(
            "%s: its images cannot be turned or shifted after the processor, so that train.augment is off",
            job.loaded.source,
        )
        train_options = replace(train_options, augment="none")
    job = replace(job, train=train_options)
    job.check()
    if job.method.bind_relearning(job.options) and not job.relearning:
        _log.warning(
            "%s is the only entity to forget, and relearning is of a half: relearn_weight does nothing",
            *job.splits.forget_entities,
        )
    start = job.loaded.unquantized().model if job.loaded.unquantized else job.loaded.model
    job.check_mask(start)
    before = {name: p.detach().cpu().clone() for name, p in start.named_parameters()}
    del start  # of a quantised model, the whole weights: they are loaded again to be merged into
    return edit(job, before) if job.method.edit else train(job, before)


def edit(job: Job, before: Weights) -> Trained:
    """Change the weights by the method's edit, without gradient steps."""
    started = time.monotonic()
    mask, none = job.mask, torch.zeros((), dtype=torch.bool)
    may_change = (lambda name: mask.of(name) if name in mask else none) if mask else None
    function = job.method.bind_edit(job.options)
    function(job.encoder or Encoder(job.loaded), job.splits, may_change, job.progress)
    write_jsonl(job.work / "log.jsonl", [])  # there are no steps
    changes = weight_changes(before, job.loaded.model, job.mask, forget_outside=0)
    return Trained(job.loaded, changes, time.monotonic() - started)


def train(job: Job, before: Weights) -> Trained:
    """Train the model by the method's terms; `before` are its weights, unquantised."""
    config = job.train
    # Its answers, before training and at checks within it, are computed as training computes.
    loaded = replace(job.loaded, compute_dtype=job.dtype)
    forget, retain = job.method.bind(job.options)
    terms: Terms = {"forget": forget, "retain": retain}
    encoder = replace(job.encoder, loaded=loaded) if job.encoder else Encoder(loaded)
    sampler = _sampler(job)
    arguments = training_arguments(
        config, job.work, steps=sampler.optimizer_steps, seed=job.seed, dtype=job.dtype,
        device=input_device(loaded.model),
    )  # fmt: skip
    if job.relearning and arguments.world_size > 1:
        raise ConfigError(
            f"method {job.method.name}: option relearn_weight takes one process, since the copy that relearns is one; "
            "set it to 0, or start without a launcher"
        )
    # The number of processes is known only now; the number of optimizer steps does not depend on it.
    sampler = replace(sampler, width=config.accumulation * arguments.world_size)
    if loaded.model.dtype != torch.float32 and not job.adapter:
        smallest = min(config.learning_rates.get(part, config.learning_rate) for part in config.parts)
        warn_if_updates_round_to_zero(loaded, smallest)
    if config.checkpointing:
        enable_checkpointing(loaded)
    reference, share = _reference(encoder, sampler, terms, job.progress)  # before anything is put on the model
    started = time.monotonic()
    owner = part_of(loaded.model)
    adapted = _adapt(job)
    trainable = sum(p.numel() for p in adapted.model.parameters() if p.requires_grad)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # steps are shown by `job.progress`
    is_muon = config.optimizer == "muon"
    trainer = UnlearnTrainer(
        model=adapted.model,
        args=arguments,
        train_dataset=sampler,
        data_collator=Collator(encoder, terms, reference, config.augment, job.seed, config.tokens_per_batch),
        # None: the Trainer makes its own.
        optimizers=(muon(adapted.model, config.learning_rate, config.weight_decay) if is_muon else None, None),
        terms=terms,
        masking=_masking(job, adapted),
        feature_caches=_feature_caches(encoder, sampler, config),
        log=StepLog(job.work / "log.jsonl", job.progress.part(share, 1.0)),
        relearning=job.relearning,
        learning_rate_share=partial(learning_rate_share, config=config, steps=sampler.optimizer_steps),
        prepare_optimizer=_rates_by_part(config, adapted.model, owner),
    )
    trainer.remove_callback(PrinterCallback)
    if job.stop_target is not None and config.stop_every:
        every = config.stop_every * sampler.every
        trainer.add_callback(EarlyStopping(job.stop_target, loaded, every, trainer.step_log))
    checkpoint = last_checkpoint(job.work)
    with own_forward_afterwards(adapted.model):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    # Merged first: what an adapter moved is only then in weights that can be compared.
    model = adapted.merge(loaded.unquantized().model if loaded.unquantized else None)
    changes = weight_changes(before, model, job.mask, trainer.forget_outside)
    unlearned = replace(loaded, model=model.eval().requires_grad_(True), unquantized=None)
    tokens, stop_check = summarize(job.work / "log.jsonl", trainer.state.max_steps)
    return Trained(
        unlearned, changes, time.monotonic() - started, tokens, trainer.state.global_step, stop_check, trainable
    )  # fmt: skip


def _can_augment(job: Job) -> bool:
    images = next((example.images for example in job.splits.forget if example.images), ())
    encoder = job.encoder or Encoder(job.loaded)
    pixels = encoder.pixels(images).get("pixel_values") if images else None
    return pixels is not None and can_augment(pixels)


def _sampler(job: Job) -> StepSampler:
    retain = (*job.splits.retain, *(job.splits.text if job.train.keep_text else ())) if job.method.retain else ()
    relearning = job.relearning
    return StepSampler.of(
        job.splits.forget if job.method.forget else (), retain, job.train, job.seed,
        relearn_steps=int(relearning.relearn_steps) if relearning else 0,
    )  # fmt: skip


def _adapt(job: Job) -> Adapted:
    """Put the job's adapter on the parts that its mask is of, or let the weights train that `train.free` names."""
    if job.adapter is None:
        return WholeWeights(trainable_names(job.loaded.model, job.mask, job.train)).wrap(job.loaded.model)
    parts: Sequence[Part] = job.mask.info["parts"] if job.mask else job.train.parts
    torch.manual_seed(job.seed)  # adapters may draw their weights
    model = job.loaded.model
    chosen, modules = chosen_layers(model, job.train.layers), dict(model.named_modules())
    others = [modules[name] for part in chosen for name in layers(model)[part] if name not in chosen[part]]
    adapted = job.adapter.wrap(model, parts)
    for layer in others:  # the same modules, with adapters in them
        layer.requires_grad_(False)
    return adapted


def _rates_by_part(
    config: TrainConfig, model: nn.Module, owner: Mapping[str, Part]
) -> Callable[[torch.optim.Optimizer], None] | None:
    """Return what gives an optimizer the learning rates of parts; None where all parts have the same."""
    if not config.learning_rates:
        return None
    shares: dict[Part, float] = {part: rate / config.learning_rate for part, rate in config.learning_rates.items()}
    return partial(set_rates_by_part, parts=part_of_trained(model, owner), shares=shares)


def _masking(job: Job, adapted: Adapted) -> Masking:
    # The numbers that an adapter trains are no entries of the mask, so that the retain term cannot be kept to it.
    both = job.train.free == "mask" and not job.adapter
    return Masking(adapted.weights, job.mask, ("forget", "retain") if both else ("forget",), bool(job.adapter))


def _reference(
    encoder: Encoder, sampler: StepSampler, terms: Terms, progress: Progress
) -> tuple[ReferenceCache | None, float]:
    """Ask the model, before it trains, every question that the sampler will draw; None if no term needs it.

    Also returns the share of the training's whole work that this is.
    """
    needs = VanillaNeeds.of([term.needs for term in terms.values() if term], encoder.loaded.model)
    if not needs:
        return None, 0.0
    # The sampler is a pure function of the step: drawn here and again in training, questions are the same.
    steps = [sampler[i] for i in range(len(sampler))]
    questions = [
        example for step in steps for example in (*(step.forget or ()), *(step.retain or ()), *(step.others or ()))
    ]
    # With the choices, which are shuffled each time: another order is another question.
    distinct = list({(example.id, example.choices): example for example in questions}.values())
    rows = encoder.rows(distinct)
    rows += [row for term in terms.values() if term for row in second_answers(encoder, distinct, term.needs)]
    # Features alone are computed once for each image, by the smaller part of the model.
    asked = len(rows) if needs.answers or needs.layers else len({row.group for row in rows})
    share = asked / (asked + 3 * len(questions))  # a backward pass takes as long as two forward ones
    progress, tokens = progress.part(0.0, share), sampler.config.tokens_per_batch
    halfway = 0.5 if needs.guess else 1.0
    cache = cache_reference(encoder, rows, needs, tokens=tokens, progress=progress.part(0.0, halfway))
    if needs.guess:
        # Of the first images in turn: each of another retained entity.
        faces = [group[0] for group in sampler.retain if group[0].images][:FACES]
        forgotten = [example for example in distinct if example.entity in sampler.forgotten]
        of_faces = guesses(encoder, forgotten, faces, tokens=tokens, progress=progress.part(halfway, 1.0))
        cache = replace(cache, guesses=of_faces)
    return cache, share


def _feature_caches(encoder: Encoder, sampler: StepSampler, config: TrainConfig) -> dict[TermName, FeatureCache]:
    """Return a cache for the terms whose images are not augmented; none where weights that make features train."""
    if not config.keep_features or not features_are_frozen(encoder.loaded.model):
        return {}
    questions = (example for groups in (sampler.forget, sampler.retain) for group in groups for example in group)
    images = {example.image_keys: example.images for example in questions if example.images}
    cache = FeatureCache(encoder, images, int(config.keep_features * 2**30))
    return {name: cache for name in get_args(TermName) if config.augment not in ("all", name)}
