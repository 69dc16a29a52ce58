"""The one training loop: transformers' Trainer, with a training step that keeps the two terms apart."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset, SequentialSampler
from transformers import PreTrainedModel, Trainer, TrainingArguments

from mmunlearner.batches import Answers, Batch, Encoder, answers, image_features, micro_batches
from mmunlearner.batches.augmentation import augment
from mmunlearner.config import Augment, TrainConfig
from mmunlearner.data import Example
from mmunlearner.errors import ConfigError, TrainingError
from mmunlearner.methods import BoundTerm, Reference
from mmunlearner.unlearn.feature_cache import Kept
from mmunlearner.unlearn.log import StepLog
from mmunlearner.unlearn.masking import Scope, TermName, reached_outside
from mmunlearner.unlearn.reference import ReferenceCache
from mmunlearner.unlearn.sampler import Plan, Step

CHECK_EVERY = 50
"""Forget steps between counts of what the forget term reached outside the mask."""


@dataclass(frozen=True)
class TermBatch:
    """Some of one term's questions in one step: those of one forward and backward pass."""

    batch: Batch
    reference: Reference | None
    first: str
    """Id of the first question, to name the batch in an error."""
    share: float
    """Of the term's questions in this step, those that are in this pass."""


StepBatch = dict[str, tuple[TermBatch, ...]]
"""What the data loader hands to a training step: the passes of `forget` and `retain`."""


@dataclass(frozen=True)
class Collator:
    """One `Step` of the plan -> tensors."""

    encoder: Encoder
    terms: Mapping[TermName, BoundTerm | None]
    reference: ReferenceCache | None
    augment: Augment = "none"
    """Whose images are changed a little each time."""
    seed: int = 0
    """Of how."""
    tokens: int = 0
    """In one pass (`train.tokens_per_batch`)."""

    def __call__(self, steps: Sequence[Step]) -> StepBatch:
        (step,) = steps
        return {
            "forget": self._term("forget", step.forget, step.number),
            "retain": self._term("retain", step.retain, step.number),
        }

    def _term(self, name: TermName, examples: Sequence[Example] | None, number: int) -> tuple[TermBatch, ...]:
        if not examples or self.terms[name] is None:
            return ()
        rows = self.encoder.rows(examples)
        rng = np.random.default_rng([self.seed, number, name == "forget"])
        parts: list[TermBatch] = []
        for piece in micro_batches(rows, [example.entity for example in examples], self.encoder, self.tokens):
            said = self.reference.of([rows[i] for i in piece.numbers], piece.batch.images) if self.reference else None
            batch = _changed(piece.batch, rng) if self.augment in ("all", name) else piece.batch
            parts.append(TermBatch(batch, said, examples[piece.numbers[0]].id, len(piece.numbers) / len(rows)))
        return tuple(parts) if len(parts) == 1 else tuple(_relative(parts))


def _relative(parts: Sequence[TermBatch]) -> Iterator[TermBatch]:
    """Distances of features are relative to those of all images, not weighted by the questions about them."""
    known = [part.reference.features for part in parts if part.reference and part.reference.features is not None]
    whole = sum(float(features.float().pow(2).sum()) for features in known)
    for part in parts:
        relative = replace(part.reference, square=torch.tensor(part.share * whole)) if part.reference else None
        yield replace(part, reference=relative)


def _changed(batch: Batch, rng: np.random.Generator) -> Batch:
    """The batch with each of its images changed a little."""

    def changed(pixels: Tensor) -> Tensor:
        if pixels.dim() != 4:
            shape = list(pixels.shape)
            raise ConfigError(f"train.augment: this model's images are no [N, C, H, W] but {shape}; leave it off")
        return augment(pixels, rng)

    def seen(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: changed(values) if name == "pixel_values" else values for name, values in inputs.items()}

    return replace(batch, passes=tuple(replace(each, inputs=seen(each.inputs)) for each in batch.passes))


class PlanDataset(Dataset[Step]):
    """The plan as torch wants it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Step:
        return self.plan[index]


class UnlearnTrainer(Trainer):
    """Runs a method's two terms, each with its own backward pass, so that the mask acts on the forget term alone."""

    def __init__(
        self,
        *,
        terms: Mapping[TermName, BoundTerm | None],
        scope: Scope,
        contexts: Mapping[str, Any],
        log: StepLog,
        kept: Mapping[TermName, Kept],
        **kwargs: Any,
    ):
        super().__init__(callbacks=[log], **kwargs)
        self.terms, self.scope, self.contexts, self.step_log, self.kept = terms, scope, contexts, log, kept
        log.trainer = self
        self.losses: dict[str, float] = {}
        self.tokens = 0
        self.forget_steps = 0
        self.forget_outside = 0
        self.model_accepts_loss_kwargs = False  # the terms are scaled for accumulation here

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """-m * grad L_forget + grad L_retain (method step 4), one graph alive at a time."""
        model.train()
        total = torch.zeros((), device=self.args.device)
        copies = isinstance(model, DistributedDataParallel)
        with model.no_sync() if copies else contextlib.nullcontext():
            for name in ("forget", "retain"):
                total += self._term_step(model, name, inputs[name])
        if copies and self.accelerator.sync_gradients:
            average_gradients(model, self.accelerator)
        return total

    def _term_step(self, model: nn.Module, name: TermName, parts: Sequence[TermBatch]) -> Tensor:
        """Passes whose losses and gradients add up to the term's."""
        fresh = all(p.grad is None for p in model.parameters())
        total = torch.zeros((), device=self.args.device)
        for part in parts:
            total += self._pass(model, name, part)
        if name == "forget" and parts:
            self._count_outside(model, fresh)
        return total

    def _pass(self, model: nn.Module, name: TermName, part: TermBatch) -> Tensor:
        term = self.terms[name]
        if term is None:  # the collator leaves such terms out
            raise TrainingError(f"no {name} term to train on")
        batch = part.batch.to(self.args.device)
        with self.scope.acting(name), self.contexts.get(name, contextlib.nullcontext)():
            showing = self.kept[name].showing(batch) if name in self.kept else contextlib.nullcontext()
            with showing, self.compute_loss_context_manager():
                said = (
                    answers(model, batch)
                    if term.words
                    else Answers.none(image_features(model, batch), batch.tokens.device)
                )
                loss = part.share * term(said, _to(part.reference, self.args.device))
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"step {self.state.global_step + 1}: the {name} loss is {loss.item()} (batch starting at "
                    f"{part.first}); lower train.learning_rate; checkpoints of earlier steps are kept"
                )
            if loss.requires_grad:  # texts alone touch nothing where only the vision part may move
                self.accelerator.backward(loss / self.current_gradient_accumulation_steps)
        self.losses[name] = self.losses.get(name, 0.0) + loss.item() / self.current_gradient_accumulation_steps
        self.tokens += batch.size if term.words or said.features is None else len(said.features)
        return loss.detach() / self.current_gradient_accumulation_steps

    def _count_outside(self, model: nn.Module, fresh: bool) -> None:
        """Now and then, while no other gradient is there: what did the forget term reach outside the mask?"""
        if fresh and self.scope.mask is not None and self.forget_steps % CHECK_EVERY == 0:
            self.forget_outside = max(self.forget_outside, reached_outside(model, self.scope.mask))
        self.forget_steps += 1

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Weights are named otherwise on disk than in memory, and the Trainer would pass over all of them silently."""
        whole = model or self.model
        if self.is_fsdp_enabled or not isinstance(whole, PreTrainedModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved = type(whole).from_pretrained(resume_from_checkpoint, dtype=whole.dtype, use_safetensors=True)
        whole.load_state_dict(saved.state_dict())

    def floating_point_ops(self, inputs: Any) -> int:
        return 0

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)  # pyright: ignore


@torch.no_grad()
def average_gradients(model: nn.Module, accelerator: Accelerator) -> None:
    """Every weight's gradient averaged over the processes, once a step; what none of them reached stays without one.

    DDP would do it in each backward pass and waits for what the other processes do not send: one that has texts alone
    reaches no vision weight, where the language model is skipped nobody reaches it, and numbers of passes may differ.
    """
    weights = [p for p in model.parameters() if p.requires_grad]
    mine = torch.tensor([p.grad is not None for p in weights], dtype=torch.int32, device=accelerator.device)
    for weight, processes in zip(weights, accelerator.reduce(mine).tolist(), strict=True):  # pyright: ignore[reportAttributeAccessIssue]
        if processes:
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad = accelerator.reduce(gradient, "mean")  # pyright: ignore[reportAttributeAccessIssue]


def _to(reference: Reference | None, device: torch.device) -> Reference | None:
    if reference is None:
        return None
    parts = (reference.logp_sum, reference.topk_logps, reference.topk_ids, reference.features, reference.square)
    return Reference(*(None if part is None else part.to(device) for part in parts))  # pyright: ignore[reportArgumentType]


def arguments(
    config: TrainConfig, work: Path, *, steps: int, seed: int, dtype: str, device: torch.device
) -> TrainingArguments:
    """Our few options in the Trainer's terms."""
    schedule = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}[config.schedule]
    return TrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=config.accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=round(config.warmup * steps),
        weight_decay=config.weight_decay,
        max_grad_norm=config.clip,
        optim="sgd" if config.optimizer == "sgd" else "adamw_torch",
        bf16=dtype == "bfloat16",
        use_cpu=device.type == "cpu",
        seed=seed,
        save_strategy="steps",
        save_steps=config.save_every,
        save_total_limit=2,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=list(config.report_to) or "none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )


def last_checkpoint(work: Path) -> Path | None:
    """The newest checkpoint that was written to its end; its state file is the last to be written."""
    found = sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((path for path in found if _readable(path / "trainer_state.json")), None)


def _readable(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False
