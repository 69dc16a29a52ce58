"""A job: a model, a method and all that goes with them, checked in one place before any long work starts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from torch import nn
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)

from mmunlearner.batches import Encoder
from mmunlearner.config import DType, MethodConfig, Part, TrainConfig
from mmunlearner.core.names import did_you_mean
from mmunlearner.core.progress import Progress
from mmunlearner.core.recipes import check_value
from mmunlearner.data import Splits
from mmunlearner.errors import ConfigError, DataError, MaskError
from mmunlearner.methods import METHODS, Method, Relearning, resolve
from mmunlearner.models import Loaded, check_not_offloaded
from mmunlearner.models.quantization import UNTRAINABLE
from mmunlearner.option_types import Seed
from mmunlearner.saliency import Mask
from mmunlearner.unlearn.adapters import Adapter
from mmunlearner.unlearn.early_stopping import StopTarget
from mmunlearner.unlearn.masking import trainable_parts


@dataclass(frozen=True)
class Job:
    """One method to be run on one model, which is changed in place."""

    loaded: Loaded
    splits: Splits
    method: Method
    options: Mapping[str, float]
    """The method's hyper-parameters; those left out have their defaults."""
    train: TrainConfig
    work: Path
    """Folder of checkpoints and the log."""
    mask: Mask | None = None
    adapter: Adapter | None = None
    """Replacement of the weights in training; None: they train themselves."""
    dtype: str = "float32"
    """Number format that training computes in."""
    seed: int = 0
    progress: Progress = field(default_factory=Progress)
    encoder: Encoder | None = None
    """An encoder of the model, where the caller has one."""
    stop_target: StopTarget | None = None
    """Accuracy at which training may end early (`train.stop_every`); the learning rate follows the planned steps."""

    @property
    def relearning(self) -> Relearning | None:
        """Unlearning against relearning, where it is asked for and there are two halves of entities to forget."""
        return self.method.bind_relearning(self.options) if len(self.splits.forget_entities) > 1 else None

    def check(self) -> None:
        """Raise where options do not go together, or not with the model; the mask is checked apart, by its weights.

        Raises:
            ConfigError: options that do not go together, or a method without the mask that it needs.
            DataError: a set that the method needs is empty.
            MaskError: the mask would act on nothing.
            ModelError: the model does not fit on its devices.
        """
        check_value("seed", self.seed, Seed)
        check_value("dtype", self.dtype, DType)
        if self.loaded.unquantized and not (self.adapter and self.adapter.quantized):
            raise ConfigError(f"{self.loaded.source}: {UNTRAINABLE}")
        if self.train.stop_every and self.stop_target is None and not self.method.edit:
            raise ConfigError(
                f"train.stop_every is {self.train.stop_every}, but no level is given to stop at; set it to 0"
            )
        mask_parts = self.mask.info["parts"] if self.mask else None
        check_options(self.method, self.options, self.train, mask_parts=mask_parts, adapter=self.adapter)
        check_trackers(self.train.report_to)
        check_not_offloaded(self.loaded.model, "training")
        check_sets(self.method, self.splits)

    def check_mask(self, start: nn.Module) -> None:
        """Raise where the mask was not made for the model `start`, whose weights are whole.

        Raises:
            MaskError: it was made for another model, or selects nothing.
        """
        if self.mask is not None:
            self.mask.check(start)


def planned_budget(base: TrainConfig, method: MethodConfig, splits: Splits | None) -> TrainConfig:
    """Return the budget of a method as it trains, with what the recipe leaves to it; without data, its least steps.

    Raises:
        ConfigError: an option that training does not have, or a method that does not exist.
    """
    entities = len(splits.forget_entities) if splits else 0
    return resolve(method.method, METHODS).budget.fill(train_config(base, method), entities)


def check_options(
    method: Method,
    options: Mapping[str, float],
    train: TrainConfig,
    *,
    mask_parts: Collection[Part] | None,
    adapter: Adapter | None,
) -> None:
    """Raise where a method's options do not go together, whatever the data and the model are.

    `train` is the budget as it trains; `mask_parts` are the parts of the mask, None without one.

    Raises:
        ConfigError: options that do not go together, or a method without the mask that it needs.
        MaskError: the mask would act on nothing.
    """
    if method.edit and adapter:
        raise ConfigError(f"method {method.name}: edits the weights themselves, so that no adapter can be trained")
    terms = [term for term in method.bind(options) if term]
    # The vanilla model was asked once, about images as they are.
    if train.augment == "all" and any(term.needs.vanilla for term in terms):
        raise ConfigError(f"train.augment is all: method {method.name} compares with retain images as they are")
    # Of several passes, each would see another part of the other set.
    if any(term.needs.other_set for term in terms) and (len(terms) < 2 or train.tokens_per_batch):
        raise ConfigError(
            f"method {method.name}: a term that reads the other set takes two terms, each in one pass: "
            "set train.tokens_per_batch to 0"
        )
    # Without its mask, MMUnlearner would be another method under the same name.
    if any(term.needs.mask for term in terms) and mask_parts is None:
        raise ConfigError(f"method {method.name} needs a mask: give one (`mmunlearner mask` makes it)")
    trainable = trainable_parts(train, mask_parts)
    for option in ("layers", "learning_rates"):
        for part in getattr(train, option):
            if part not in trainable:
                raise ConfigError(
                    f"train.{option}.{part}: this part does not train ({', '.join(trainable)} do); leave it out, or "
                    "name it in train.parts"
                )
    if mask_parts is None:
        return
    if not (method.forget or method.edit):
        raise MaskError(f"method {method.name} has no forget term, so the mask would act on nothing")
    if outside := sorted(set(mask_parts) - set(train.parts)):
        raise ConfigError(
            f"train.parts {', '.join(train.parts)}: the mask selects weights of {', '.join(outside)}, which do not "
            "train; name these parts too, or make a mask without them"
        )
    if train.optimizer == "muon" and not adapter:
        raise ConfigError(
            "train.optimizer muon mixes the weights of a matrix, so it cannot keep a mask: use adamw or sgd"
        )
    # Decay acts on all weights, whatever their gradient; an adapter's decay moves its own numbers alone.
    if train.free == "mask" and train.weight_decay and not adapter:
        raise ConfigError(
            f"train.weight_decay {train.weight_decay} moves weights outside the mask, which train.free mask "
            "forbids: set it to 0"
        )


def check_sets(method: Method, splits: Splits) -> None:
    """Raise where a set that a method reads is empty.

    Raises:
        DataError: it is.
    """
    reads = {"forget": method.forget or method.edit, "retain": method.retain or method.edit}
    for name, examples in (("forget", splits.forget), ("retain", splits.retain)):
        if reads[name] and not examples:
            raise DataError(f"method {method.name} needs a {name} set, which is empty")


def check_trackers(names: Sequence[str]) -> None:
    """Raise where a tracker of training is unknown or not installed.

    Raises:
        ConfigError: it is.
    """
    if tuple(names) in ((), ("all",), ("none",)):  # transformers' words for every tracker, and for no tracker
        return
    installed = get_available_reporting_integrations()
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            raise ConfigError(f"train.report_to {name}: no such tracker; {did_you_mean(name, INTEGRATION_TO_CALLBACK)}")
        if name not in installed:
            raise ConfigError(f"train.report_to {name}: it is not installed; pip install it, or leave it out")


def train_config(base: TrainConfig, method: MethodConfig) -> TrainConfig:
    """Return the recipe's budget with what differs for this method; what is left to the method is still open.

    Raises:
        ConfigError: an option that training does not have.
    """
    options = asdict(base)
    for name in method.train:
        if name not in options:
            raise ConfigError(f"train: unknown option {name}; {did_you_mean(name, options)}")
    return replace(base, **method.train)  # type: ignore[arg-type]
