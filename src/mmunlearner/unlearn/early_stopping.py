"""Ending a run where the forget set has come down to what the oracle, or a guess, gets right of it."""

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
class Look:
    """How well the forgotten is known at some step. Accuracies are fractions, by what is to be forgotten."""

    accuracy: Mapping[str, float]
    level: Mapping[str, float]
    """Where they should end."""
    source: Literal["oracle", "chance"]
    """Whose level that is."""
    reached: bool


@dataclass(frozen=True)
class Level:
    """What is asked, and where training may end."""

    items: Mapping[str, Sequence[Example]]
    """Column -> items of the validation half."""
    floor: Mapping[str, float]
    """Column -> accuracy of the oracle, or of guessing, on them."""
    groups: Mapping[str, Sequence[str]]
    """What is to be forgotten -> its columns, of which the mean counts."""
    source: Literal["oracle", "chance"]
    config: EvaluateConfig

    def __post_init__(self) -> None:
        if not any(self.items.values()):
            columns = ", ".join(column for group in self.groups.values() for column in group)
            raise ConfigError(
                f"train.stop_every: nothing to look at, since the data have none of {columns}; set it to 0"
            )

    def look(self, loaded: Loaded) -> Look:
        """Ask a model in eval mode; it is left in the mode that it was in."""
        scores = quick_scores(loaded, self.items, config=replace(self.config, limit=0))
        accuracy = self._means({column: score.value for column, score in scores.items()})
        level = self._means({column: self.floor[column] for column in scores})
        return Look(accuracy, level, self.source, all(accuracy[name] <= level[name] for name in level))

    def _means(self, values: Mapping[str, float]) -> dict[str, float]:
        present = {name: [values[c] for c in group if c in values] for name, group in self.groups.items()}
        return {name: fmean(some) for name, some in present.items() if some}


@dataclass
class Stop(TrainerCallback):
    """Looks now and then, and ends training when the level is reached."""

    level: Level
    loaded: Loaded
    every: int
    """Optimizer steps between looks."""
    log: StepLog

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A step that training ends at is never a checkpoint, so that a resumed run comes to it and looks again."""
        if state.global_step % self.every or state.global_step >= state.max_steps:
            return
        look = self.level.look(self.loaded)
        self.log.look = asdict(look)
        said = broadcast(torch.tensor(int(look.reached), device=args.device))  # of the first process: all end together
        if bool(said):
            control.should_training_stop, control.should_save = True, False
