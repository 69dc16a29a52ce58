"""The one training loop: transformers' Trainer, with a training step that keeps the two terms apart."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel, Trainer, TrainerState, TrainingArguments

from mmunlearner.batches import Answers, answers, image_features
from mmunlearner.config import TrainConfig
from mmunlearner.errors import ConfigError, TrainingError, reason
from mmunlearner.methods import BoundTerm, Relearning, TermName
from mmunlearner.methods.method import mean_nll
from mmunlearner.models import Loaded
from mmunlearner.models.checkpoint import load_weights
from mmunlearner.unlearn.collate import StepBatch, TermBatch
from mmunlearner.unlearn.feature_cache import FeatureCache
from mmunlearner.unlearn.log import StepLog
from mmunlearner.unlearn.masking import Masking
from mmunlearner.unlearn.reference import decoder_layers
from mmunlearner.unlearn.relearner import Relearner

_log = logging.getLogger(__name__)
CHECK_EVERY = 50
"""Forget steps between counts of what the forget term reached outside the mask."""
ADAPTER_FILE = "adapter.safetensors"
"""File of a checkpoint of a model with an adapter: the weights that train."""
RELEARNING_FILE = "relearning.safetensors"
"""File of a checkpoint of a training against relearning: the copy and its optimizer's state."""
LEAST_SHARE = 0.9
"""Training warns where a smaller share of the weights can move."""


class UnlearnTrainer(Trainer):
    """Runs a method's two terms, each with its own backward pass, so that the mask acts on the forget term alone."""

    def __init__(
        self,
        *,
        terms: Mapping[TermName, BoundTerm | None],
        masking: Masking,
        feature_caches: Mapping[TermName, FeatureCache],
        log: StepLog,
        learning_rate_share: Callable[[int], float],
        prepare_optimizer: Callable[[Optimizer], None] | None = None,
        relearning: Relearning | None = None,
        **kwargs: Any,
    ):
        super().__init__(callbacks=[log], **kwargs)
        self.terms, self.masking, self.feature_caches, self.step_log = terms, masking, feature_caches, log
        self.layers = {
            name: decoder_layers(self.inner_model, term.needs) if term else [] for name, term in terms.items()
        }
        self.relearner = Relearner(self.inner_model, relearning) if relearning else None
        self.learning_rate_share, self.prepare_optimizer = learning_rate_share, prepare_optimizer
        self.forget_steps = 0
        self.forget_outside = 0
        self.model_accepts_loss_kwargs = False  # the terms are scaled for accumulation here

    @property
    def inner_model(self) -> nn.Module:
        """The model without what distributes it over processes."""
        return self.accelerator.unwrap_model(self.model)  # pyright: ignore

    def create_optimizer(self, *arguments: Any) -> Optimizer:  # pyright: ignore[reportIncompatibleMethodOverride]
        optimizer = super().create_optimizer(*arguments)
        if self.prepare_optimizer:
            self.prepare_optimizer(optimizer)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        if self.lr_scheduler is None:
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, self.learning_rate_share)  # pyright: ignore
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Add -m * grad L_forget + grad L_retain to the gradients (method step 4), one graph alive at a time."""
        model.train()
        total = torch.zeros((), device=self.args.device)
        distributed = isinstance(model, DistributedDataParallel)
        # Not in each backward pass: processes may have different numbers of them (`average_gradients`).
        with model.no_sync() if distributed else nullcontext():
            for name in ("forget", "retain"):
                total += self._term_step(model, name, inputs)
        if distributed and self.accelerator.sync_gradients:
            average_gradients(model, self.accelerator)
        return total

    def _term_step(self, model: nn.Module, name: TermName, step: StepBatch) -> Tensor:
        """Run the passes of a term, whose losses and gradients add up."""
        batches, other_batches = step[name], step["retain" if name == "forget" else "forget"]
        fresh = all(p.grad is None for p in model.parameters())  # otherwise the retain term's gradients would count
        total = torch.zeros((), device=self.args.device)
        for batch in batches:
            total += self._pass(model, name, batch, other_batches)
        if name == "forget" and self.relearner and batches:
            total += self._relearning_step(model, self.relearner, step)
        if name == "forget" and batches:
            # Only now and then, since it reads every gradient: what did the term reach outside the mask?
            if fresh and self.forget_steps % CHECK_EVERY == 0:
                self.forget_outside = max(self.forget_outside, self.masking.reached_outside(self.inner_model))
            self.forget_steps += 1
        return total

    def _relearning_step(self, model: nn.Module, relearner: Relearner, step: StepBatch) -> Tensor:
        """Let the copy learn a batch of one half, and lower the other half's forget loss at its weights."""
        with relearner.learning() as learn:
            for part in step["relearned"]:
                with self.compute_loss_context_manager():
                    loss = part.share * mean_nll(answers(model, part.batch.to(self.args.device)))
                if not torch.isfinite(loss):
                    raise TrainingError(
                        f"step {self.state.global_step + 1}: the loss of the copy that relearns is {loss.item()} "
                        f"(batch starting at {part.first}); lower the method's option relearn_rate"
                    )
                learn(loss)
                self.step_log.tokens += part.batch.size
        weight, total = relearner.options.relearn_weight, torch.zeros((), device=self.args.device)
        with relearner.in_place():
            for part in step["others"]:
                total += self._pass(model, "forget", replace(part, share=weight * part.share), (), at_copy=True)
        return total

    def _pass(
        self,
        model: nn.Module,
        name: TermName,
        part: TermBatch,
        other_batches: Sequence[TermBatch],
        *,
        at_copy: bool = False,
    ) -> Tensor:
        """Run a forward and a backward pass of a term; `at_copy` where the weights are those of the copy."""
        term = self.terms[name]
        if term is None:  # the collator leaves such terms out
            raise TrainingError(f"no {name} term to train on")
        batch = part.batch.to(self.args.device)
        reference = part.reference.to(self.args.device) if part.reference else None
        with self.masking.on(name):
            with self.compute_loss_context_manager():
                # Features of a cache belong to one batch, so that the other set's pass stays outside; those of the
                # copy are not the model's.
                cache = None if at_copy else self.feature_caches.get(name)
                with cache.used_by(batch) if cache else nullcontext():
                    if term.needs.language_model:
                        output = answers(model, batch, self.layers[name])
                        if part.second:  # about the same images
                            output = replace(output, second=answers(model, part.second.to(self.args.device)))
                    else:
                        output = Answers.none(image_features(model, batch), self.args.device)
                if term.needs.language_model and term.needs.other_set and other_batches:
                    with torch.no_grad():  # the other set's own term differentiates its questions
                        output = replace(output, other=answers(model, other_batches[0].batch.to(self.args.device)))
                loss = part.share * term(output, reference)
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"step {self.state.global_step + 1}: the {name} loss is {loss.item()} (batch starting at "
                    f"{part.first}); lower train.learning_rate; checkpoints of earlier steps are kept"
                )
            if loss.requires_grad:  # texts alone touch nothing where only the vision part may move
                self.accelerator.backward(loss / self.current_gradient_accumulation_steps)
        log, scaled = self.step_log, loss.detach() / self.current_gradient_accumulation_steps
        logged = "relearning" if at_copy else name
        log.losses[logged] = log.losses.get(logged, 0.0) + loss.item() / self.current_gradient_accumulation_steps
        log.tokens += batch.size if term.needs.language_model or output.features is None else len(output.features)
        return scaled

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not self.masking.adapted:
            super()._save(output_dir, state_dict)
            return
        if not self.args.should_save:
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        trained = {name: p.detach().contiguous() for name, p in self.inner_model.named_parameters() if p.requires_grad}
        save_file(trained, folder / ADAPTER_FILE)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint to its end, or leave no part of it."""
        folder = Path(self.args.output_dir or ".") / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
        # torch's writer names no cause, and safetensors' is of no class of the system's errors.
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            free = shutil.disk_usage(folder.parent).free / 2**20
            raise TrainingError(
                f"{folder}: the checkpoint cannot be written ({reason(error)}; {free:.0f} MiB are free); "
                "free some space, the same command goes on from the checkpoint before it"
            ) from error

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Load weights by their names on disk, which differ from those in memory: the Trainer would ignore them all."""
        inner: Any = model or self.model
        with resuming(resume_from_checkpoint):
            if self.masking.adapted:
                saved = load_file(Path(resume_from_checkpoint) / ADAPTER_FILE)
                trained = {name for name, p in self.inner_model.named_parameters() if p.requires_grad}
                if saved.keys() != trained:
                    raise ValueError(f"{min(saved.keys() ^ trained)} is in {ADAPTER_FILE} or in the model alone")
                # Not strict: the file has no base weights, which are those that the run starts from.
                inner.load_state_dict(saved, strict=False)
            elif self.is_fsdp_enabled or not isinstance(inner, PreTrainedModel):
                super()._load_from_checkpoint(resume_from_checkpoint, model)
            else:
                inner.load_state_dict(load_weights(type(inner), resume_from_checkpoint, dtype=inner.dtype).state_dict())

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.relearner:
            save_file(self.relearner.state(), Path(output_dir) / RELEARNING_FILE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with resuming(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)
            if self.relearner and checkpoint:
                self.relearner.load(load_file(Path(checkpoint) / RELEARNING_FILE))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with resuming(checkpoint):
            super()._load_rng_state(checkpoint)

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # the Trainer's estimate reads `input_ids`, which a step of several passes does not have

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        # `StepSampler` has shuffled already.
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)  # pyright: ignore


@contextmanager
def own_forward_afterwards(model: nn.Module) -> Iterator[None]:
    """Take off a model, at the end of the block, the forward pass in bfloat16 that accelerate puts on the instance."""
    # Not by accelerate's `unwrap_model`, which also takes off the decorators of transformers.
    attributes = vars(model)
    before = attributes.get("forward")
    try:
        yield
    finally:
        for name in ("forward", "_original_forward"):
            attributes.pop(name, None)
        if before is not None:
            attributes["forward"] = before


@contextmanager
def resuming(checkpoint: str | None) -> Iterator[None]:
    """Name the checkpoint that cannot be resumed.

    Raises:
        TrainingError: anything was raised; a damaged file can make its reader fail in any way.
    """
    try:
        yield
    except Exception as error:
        raise TrainingError(
            f"{checkpoint}: training cannot resume from it ({reason(error)}); remove this folder, and the same command "
            "goes on from an earlier checkpoint, or from the start"
        ) from error


@torch.no_grad()
def average_gradients(model: nn.Module, accelerator: Accelerator) -> None:
    """Average every weight's gradient over the processes; a weight that none of them reached stays without one.

    DDP would do it in each backward pass, and would wait for gradients that the other processes do not send: a process
    with texts alone reaches no vision weight, none reaches the language model where it is skipped, and numbers of
    passes may differ.
    """
    weights = [p for p in model.parameters() if p.requires_grad]
    # Every process takes part in every reduction, or the others would wait for ever: they agree on the weights first.
    reached = torch.tensor([p.grad is not None for p in weights], dtype=torch.int32, device=accelerator.device)
    for weight, processes in zip(weights, accelerator.reduce(reached).tolist(), strict=True):  # pyright: ignore[reportAttributeAccessIssue]
        if processes:
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            weight.grad = accelerator.reduce(gradient, "mean")  # pyright: ignore[reportAttributeAccessIssue]


def training_arguments(
    config: TrainConfig, work: Path, *, steps: int, seed: int, dtype: str, device: torch.device
) -> TrainingArguments:
    """Return a recipe's options in the Trainer's terms."""
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        per_device_train_batch_size=1,  # one `Step`, which has a whole batch of each term
        gradient_accumulation_steps=config.accumulation,
        learning_rate=config.learning_rate,
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
        logging_nan_inf_filter=False,  # `StepLog` raises where a gradient is not finite
        report_to=list(config.report_to) or "none",
        remove_unused_columns=False,  # a `Step` has no columns
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    # Without a launcher, the Trainer would split batches over all visible GPUs (DataParallel): its copies of the model
    # read weights past the mask, and the collator takes one step at a time.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def share_of_weights_that_move(model: nn.Module, step: float) -> float:
    """Return the share of a model's weights that differ after `step` has been added to them, in their number format.

    AdamW moves a weight by about the learning rate, and one of bfloat16 stays as it is where that is less than half the
    distance to its neighbour: 2^-9 of its size.
    """
    moved = [int((p + step != p).sum()) for p in model.parameters()]
    return sum(moved) / max(sum(p.numel() for p in model.parameters()), 1)


@torch.no_grad()
def warn_if_updates_round_to_zero(loaded: Loaded, learning_rate: float) -> None:
    """Log a warning where training would leave many weights as they are, for the number format they are held in."""
    share = share_of_weights_that_move(loaded.model, learning_rate)
    if share < LEAST_SHARE:
        _log.warning(
            "%s: a step of the learning rate %g moves %.0f %% of its weights (%s); hold them in float32 "
            "(model.weights) or train adapters (model.lora.rank)",
            loaded.source,
            learning_rate,
            100 * share,
            str(loaded.model.dtype).removeprefix("torch."),
        )


def check_checkpointing(model: Any) -> None:
    """Raise where a model cannot compute its activations again.

    Raises:
        ConfigError: it cannot.
    """
    if not model.supports_gradient_checkpointing:
        raise ConfigError(f"train.checkpointing: {type(model).__name__} does not support it; leave it out")


def enable_checkpointing(loaded: Loaded) -> None:
    """Let a model compute its activations again in the backward pass.

    Raises:
        ConfigError: the model does not support it.
    """
    model: Any = loaded.model
    check_checkpointing(model)
    # transformers 5.23 renamed it
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    # Reentrant recomputation would build a second graph in the backward pass, from weights without the mask's hook.
    enable({"use_reentrant": False})


def last_checkpoint(work: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end; its state file is the last to be written."""
    # By number: as texts, checkpoint-9 would come after checkpoint-10.
    newest_first = sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for path in newest_first:
        # A kill left no state file, or a part of it.
        with suppress(OSError, ValueError, TypeError, RecursionError):
            if TrainerState.load_from_json(str(path / "trainer_state.json")).global_step:
                return path
    return None
