"""Runs a method from a vanilla model to an unlearned one."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn
from transformers import PrinterCallback
from transformers.utils import logging as transformers_logging

from mmunlearner.batches import Encoder
from mmunlearner.config import LoraConfig, MethodConfig, TrainConfig
from mmunlearner.core.files import read_jsonl
from mmunlearner.core.progress import Progress
from mmunlearner.data import Splits
from mmunlearner.errors import ConfigError, DataError, MaskError
from mmunlearner.methods import METHODS, BoundTerm, Method, resolve
from mmunlearner.models import Loaded, check_not_offloaded, input_device
from mmunlearner.models.quantization import UNTRAINABLE
from mmunlearner.saliency import Mask
from mmunlearner.unlearn.adapters import lora
from mmunlearner.unlearn.early_stopping import Level, Stop
from mmunlearner.unlearn.feature_cache import Kept, frozen
from mmunlearner.unlearn.log import StepLog
from mmunlearner.unlearn.masking import Moved, TermName, moved, scope
from mmunlearner.unlearn.optimizer import muon
from mmunlearner.unlearn.precision import checkpoint, warn_of_stuck
from mmunlearner.unlearn.reference import ReferenceCache, cache
from mmunlearner.unlearn.sampler import Plan, plan
from mmunlearner.unlearn.trainer import Collator, PlanDataset, UnlearnTrainer, arguments, last_checkpoint


@dataclass(frozen=True)
class Trained:
    """The unlearned model and what it took."""

    loaded: Loaded
    moved: Moved
    seconds: float
    tokens: int
    steps: int
    look: Mapping[str, Any] | None = None
    """The last look at what was to be forgotten (`stopping.Look`), with `step` and the steps planned (`of`); None where
    nobody looked."""


def train_config(base: TrainConfig, method: MethodConfig) -> TrainConfig:
    """The recipe's budget with what differs for this method.

    Raises:
        ConfigError: an option that training does not have.
    """
    unknown = set(method.train) - set(asdict(base))
    if unknown:
        raise ConfigError(f"train: unknown option {sorted(unknown)[0]}; there are {', '.join(asdict(base))}")
    return replace(base, **method.train)  # type: ignore[arg-type]


def unlearn(
    loaded: Loaded,
    splits: Splits,
    config: MethodConfig,
    base: TrainConfig,
    work: Path,
    *,
    mask: Mask | None = None,
    lora_config: LoraConfig | None = None,
    dtype: str = "float32",
    seed: int = 0,
    progress: Progress = Progress(),
    encoder: Encoder | None = None,
    level: Level | None = None,
) -> Trained:
    """Run one method on `loaded` (changed in place), with checkpoints and logs under `work`.

    Called again after an interruption with the same arguments, it goes on at the last checkpoint and ends with the
    weights of an uninterrupted run. `level` is where training may end early (`train.stop_every`); the learning rate
    follows the planned number of steps all the same.

    Raises:
        ConfigError: options that do not go together or not with the model, or a method without a mask that needs one.
        ModelError: the model does not fit on its devices.
        DataError: a set that the method needs is empty.
        MaskError: the mask belongs to another model, or would act on nothing.
        TrainingError: a loss is not finite.
    """
    method = resolve(config.method, METHODS)
    train = train_config(base, config)
    terms = dict(zip(("forget", "retain"), method.bind(config.options), strict=True))
    adapters = lora_config if lora_config and lora_config.rank else None
    words, features = method.needs_reference, method.wants_features(config.options)
    _check_options(loaded, method, train, adapters, level, compares=words or features)
    check_not_offloaded(loaded.model, "training")
    start = loaded.unquantized() if loaded.unquantized else loaded
    _check_sets(method, mask, splits, start.model)
    encoder = encoder or Encoder(loaded)
    retain = (*splits.retain, *(splits.text if train.keep_text else ())) if method.retain else ()
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # as torchrun and accelerate launch say it
    steps = plan(splits.forget if method.forget else (), retain, train, seed, processes=processes)
    if loaded.model.dtype != torch.float32 and adapters is None:
        warn_of_stuck(loaded, train.learning_rate)
    if train.checkpointing:
        checkpoint(loaded)
    reference = _reference(encoder, steps, words=words, features=features) if words or features else None
    started = time.monotonic()
    before = {name: p.detach().cpu().clone() for name, p in start.model.named_parameters()}
    del start
    trainer = _trainer(loaded, encoder, terms, reference, steps, mask, train, work, adapters, dtype, seed, progress)
    if level is not None and train.stop_every:
        trainer.add_callback(Stop(level, loaded, train.stop_every * steps.every, trainer.step_log))
    trainer.train(resume_from_checkpoint=str(found) if (found := last_checkpoint(work)) else None)
    ended = _ended(trainer, loaded, mask, adapters)
    change = moved(before, ended, mask, trainer.forget_outside)
    model = replace(loaded, model=ended.eval().requires_grad_(True), unquantized=None)
    tokens, look = _logged(work, trainer.state.max_steps)
    return Trained(model, change, time.monotonic() - started, tokens, trainer.state.global_step, look)


def _check_options(
    loaded: Loaded,
    method: Method,
    train: TrainConfig,
    adapters: LoraConfig | None,
    level: Level | None,
    *,
    compares: bool,
) -> None:
    """Raise where options do not go together; `compares`: the method asks what vanilla made of a batch."""
    if loaded.unquantized and adapters is None:
        raise ConfigError(f"{loaded.source}: {UNTRAINABLE}")
    if train.stop_every and level is None:
        raise ConfigError(f"train.stop_every is {train.stop_every}, but no level is given to stop at; set it to 0")
    if train.augment == "all" and compares:
        raise ConfigError(f"train.augment is all: method {method.name} compares with retain images as they are")


def _check_sets(method: Method, mask: Mask | None, splits: Splits, model: nn.Module) -> None:
    """Raise where the method lacks a mask or a set, or the mask is not this model's."""
    if method.needs_mask and mask is None:
        raise ConfigError(f"method {method.name} needs a mask: give one (`mmunlearner mask` makes it)")
    if mask is not None:
        mask.check(model)
        if method.forget is None:
            raise MaskError(f"method {method.name} has no forget term, so the mask would act on nothing")
    for name, term, examples in (("forget", method.forget, splits.forget), ("retain", method.retain, splits.retain)):
        if term is not None and not examples:
            raise DataError(f"method {method.name} needs a {name} set, which is empty")


def _logged(work: Path, planned: int) -> tuple[int, Mapping[str, Any] | None]:
    """Tokens of all steps, those before an interruption too, and the last look."""
    lines = read_jsonl(work / "log.jsonl")
    looks = [{"step": line["step"], "of": planned, **line["look"]} for line in lines if "look" in line]
    return sum(line["tokens"] for line in lines), looks[-1] if looks else None


def _ended(trainer: UnlearnTrainer, loaded: Loaded, mask: Mask | None, adapters: LoraConfig | None) -> Any:
    """The trained model, its adapters merged into whole weights."""
    ended = trainer.accelerator.unwrap_model(trainer.model)
    if adapters and loaded.unquantized:
        return lora.merged(ended, loaded.unquantized().model, adapters, _adapted(mask))
    return ended.merge_and_unload() if adapters else ended


def _adapted(mask: Mask | None) -> list[str]:
    """The parts that adapters are put on."""
    return list(mask.info["parts"]) if mask else ["vision", "projector", "language"]


def _reference(encoder: Encoder, steps: Plan, *, words: bool, features: bool) -> ReferenceCache:
    """Of every question that the plan will ask."""
    asked = (
        example
        for step in (steps[i] for i in range(len(steps)))
        for example in (*(step.forget or ()), *(step.retain or ()))
    )
    return cache(
        encoder,
        encoder.rows(list({(example.id, example.choices): example for example in asked}.values())),
        words=words,
        features=features,
        tokens=steps.config.tokens_per_batch,
    )


def _kept(encoder: Encoder, steps: Plan, train: TrainConfig) -> dict[TermName, Kept]:
    """Of the terms whose images are shown as they are; empty where the vision part trains."""
    if not train.keep_features or not frozen(encoder.loaded.model):
        return {}
    asked = (example for groups in (steps.forget, steps.retain) for group in groups for example in group)
    shown = {example.image_keys: example.images for example in asked if example.images}
    kept = Kept(encoder, shown, int(train.keep_features * 2**30))
    names: tuple[TermName, ...] = get_args(TermName)
    return {name: kept for name in names if train.augment not in ("all", name)}


def _trainer(
    loaded: Loaded,
    encoder: Encoder,
    terms: Mapping[Any, BoundTerm | None],
    reference: ReferenceCache | None,
    steps: Plan,
    mask: Mask | None,
    train: TrainConfig,
    work: Path,
    adapters: LoraConfig | None,
    dtype: str,
    seed: int,
    progress: Progress,
) -> UnlearnTrainer:
    model: Any = loaded.model
    contexts: dict[str, Any] = {}
    if adapters:
        torch.manual_seed(seed)
        model = lora.wrap(model, adapters, _adapted(mask))
        acts = scope(model, None, train, ())
        contexts = {"forget": partial(lora.masked, model, mask)} if mask else {}
    else:
        acts = scope(model, mask, train, list(mask.info["parts"]) if mask else ())
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    log = StepLog(work / "log.jsonl", progress)
    total = len(steps) // steps.width
    trainer = UnlearnTrainer(
        model=model,
        args=arguments(train, work, steps=total, seed=seed, dtype=dtype, device=input_device(loaded.model)),
        train_dataset=PlanDataset(steps),
        data_collator=Collator(encoder, terms, reference, train.augment, seed, train.tokens_per_batch),
        log=log,
        optimizers=(muon(model, train.learning_rate, train.weight_decay), None)
        if train.optimizer == "muon"
        else (None, None),
        terms=terms,
        scope=acts,
        contexts=contexts,
        kept=_kept(encoder, steps, train),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
