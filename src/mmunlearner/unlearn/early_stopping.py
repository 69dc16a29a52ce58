"""Early stopping: a run ends once the model answers the forget set no better than the oracle, or than guessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any, Literal

import torch
from accelerate.utils import broadcast
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mmunlearner.config import EvaluateConfig
from mmunlearner.data import Example
from mmunlearner.errors import ConfigError
from mmunlearner.evaluate import quick_scores
from mmunlearner.models import Loaded
from mmunlearner.unlearn.log import StepLog


@dataclass(frozen=True)
class StopCheck:
    """Accuracy on what is to be forgotten at some step: fractions, by its name."""

    accuracy: Mapping[str, float]
    level: Mapping[str, float]
    """Accuracy at which training may end."""
    source: Literal["oracle", "chance"]
    """Model that has this accuracy."""
    reached: bool


@dataclass(frozen=True)
class StopTarget:
    """The questions that are asked during training, and the accuracy at which it may end."""

    items: Mapping[str, Sequence[Example]]
    """Column -> items of the validation half."""
    floor: Mapping[str, float]
    """Column -> accuracy of the oracle, or of guessing, on them."""
    groups: Mapping[str, Sequence[str]]
    """Name of what is to be forgotten -> its columns, whose mean counts."""
    source: Literal["oracle", "chance"]
    config: EvaluateConfig

    def __post_init__(self) -> None:
        if not any(self.items.values()):
            columns = ", ".join(column for group in self.groups.values() for column in group)
            raise ConfigError(
                f"train.stop_every: nothing to look at, since the data have none of {columns}; set it to 0"
            )

    def check(self, loaded: Loaded) -> StopCheck:
        """Ask a model in eval mode; it is left in the mode that it was in."""
        # All items: the limit of the recipe's evaluation is not that of its checks.
        scores = quick_scores(loaded, self.items, config=replace(self.config, limit=0))
        accuracy = self._means({column: score.value for column, score in scores.items()})
        level = self._means({column: self.floor[column] for column in scores})
        return StopCheck(accuracy, level, self.source, all(accuracy[name] <= level[name] for name in level))

    def _means(self, values: Mapping[str, float]) -> dict[str, float]:
        present = {name: [values[c] for c in group if c in values] for name, group in self.groups.items()}
        return {name: fmean(accuracies) for name, accuracies in present.items() if accuracies}


@dataclass
class EarlyStopping(TrainerCallback):
    """Checks now and then, and ends training when the target is reached.

    A check draws no random number: a run whose target is never reached ends with the bits of one without checks.
    """

    target: StopTarget
    loaded: Loaded
    every: int
    """Optimizer steps between checks."""
    log: StepLog

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # Not after the last step: there is nothing left to stop.
        if state.global_step % self.every or state.global_step >= state.max_steps:
            return
        check = self.target.check(self.loaded)
        self.log.stop_check = asdict(check)
        # All processes end together, by what the first one finds.
        if bool(broadcast(torch.tensor(int(check.reached), device=args.device))):
            # The last step is never a checkpoint, so that a resumed run comes to it again and checks again.
            control.should_training_stop, control.should_save = True, False
