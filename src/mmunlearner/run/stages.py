"""Stages of fine-tuning: trainings one after the other, each with its own data, parts and budget.

A stage that is complete leaves its model and a record in the working folder of the step, from which the next begins; so
a killed run goes on within the stage that it was in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from mmunlearner.config import DataOfStage, FinetuneConfig, MethodConfig, StageConfig, TrainConfig
from mmunlearner.core.recipes import build, plain
from mmunlearner.data import Example, Splits
from mmunlearner.errors import DataError
from mmunlearner.unlearn import planned_budget


@dataclass(frozen=True)
class Stage:
    """One training of fine-tuning."""

    train: TrainConfig
    data: DataOfStage = "both"

    def examples(self, examples: Sequence[Example]) -> tuple[Example, ...]:
        """Return those of the training questions that the stage has."""
        if self.data == "both":
            return tuple(examples)
        return tuple(example for example in examples if bool(example.images) == (self.data == "images"))

    def budget(self, splits: Splits | None) -> TrainConfig:
        """Return the stage's options with those filled in that the recipe leaves open."""
        return planned_budget(self.train, MethodConfig("finetune"), splits)

    def work(self, splits: Splits | None) -> int:
        """Return the questions that the stage draws."""
        train = self.budget(splits)
        return train.steps * train.accumulation * train.batch_size * train.questions


def training_questions(splits: Splits, name: str) -> Sequence[Example]:
    """Return the training questions of the vanilla model or of the oracle."""
    return splits.vanilla_training if name == "vanilla" else splits.oracle_training


def stages(config: FinetuneConfig) -> list[Stage]:
    """Return the stages of fine-tuning in their order; without stages of its own it is one.

    Raises:
        ConfigError: an option of a stage is out of range.
    """
    common = plain(config)
    common = {field.name: common[field.name] for field in fields(TrainConfig)}
    if not config.stages:
        return [Stage(build(TrainConfig, common))]
    built = [build(StageConfig, {**common, **plain(options)}) for options in config.stages]
    return [Stage(stage, stage.data) for stage in built]


def check_stages(config: FinetuneConfig, splits: Splits, name: str) -> None:
    """Raise where a stage of the vanilla model or of the oracle has no question.

    Raises:
        DataError: it has none.
    """
    for number, stage in enumerate(stages(config), 1):
        if not stage.examples(training_questions(splits, name)):
            raise DataError(
                f"finetune.stages, stage {number}: the {name} model's training set has no {stage.data}; leave it out"
            )
