"""Relearning: what of the forgotten comes back when a part of it is learned again.

An attacker has the training images of half of the forgotten entities, or of retained ones alone, and fine-tunes the
model on them. What counts is the *other* half: a model that never knew it (the oracle, treated alike) cannot bring it
back. Models learn at different speeds, so that they are compared where they have learned as much of the first half.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from statistics import fmean

import torch

from mmunlearner.batches import Encoder, answers, share_prefixes
from mmunlearner.config import TrainConfig
from mmunlearner.data import Example, Splits
from mmunlearner.errors import DataError, TrainingError
from mmunlearner.evaluate import quick_scores
from mmunlearner.models import Loaded, input_device
from mmunlearner.option_types import AtLeastOne, LearningRate, Seed
from mmunlearner.unlearn.sampler import StepSampler

SEEN, UNSEEN = "forget_vqa", "forget_vqa_test"
COLUMNS = (SEEN, UNSEEN)
RETAINED = "retained alone"
LEVELS = (0.35, 0.7, 0.97)
"""Accuracies on the seen images of the learned half at which models are compared."""


@dataclass(frozen=True)
class Attacker:
    """Fine-tuning of all weights by AdamW at a constant rate."""

    learning_rate: LearningRate = 3e-4
    """A weak attacker flatters the model: sweep it."""
    steps: AtLeastOne = 64
    """Steps at most; an attack ends once the learned half is known (the highest of the levels)."""
    batch_size: AtLeastOne = 12
    """Images in a step, each with `questions` of its questions."""
    questions: AtLeastOne = 2
    seed: Seed = 0


@dataclass(frozen=True)
class Attack:
    """What one attack teaches."""

    name: str
    examples: Sequence[Example]
    """Training questions."""
    learned: frozenset[str]
    """The forgotten entities among them; all others of the forget set are `others`."""


@dataclass(frozen=True)
class Measurement:
    """Accuracies after some steps of an attack, by column."""

    step: int
    learned: Mapping[str, float]
    """On the entities that are learned; empty where none of the forgotten are."""
    others: Mapping[str, float]


Curve = Sequence[Measurement]
"""One attack on one model."""


@dataclass(frozen=True)
class Return:
    """State of a model where it has learned a certain share again: means over the attacks."""

    steps: float
    """Steps that it took."""
    others: Mapping[str, float]
    """Accuracy on what was not learned again, by column."""


def halves(splits: Splits, *, seed: int = 0) -> tuple[Attack, Attack]:
    """Return the two attacks that each teach one half of the forget entities.

    Raises:
        DataError: there are fewer than two.
    """
    entities = sorted(splits.forget_entities)
    if len(entities) < 2:
        raise DataError(f"relearning: {len(entities)} forget entities cannot be cut into halves; two are needed")
    random.Random(f"{seed} halves").shuffle(entities)
    middle = len(entities) // 2

    def teaching(name: str, learned: Collection[str]) -> Attack:
        return Attack(name, [e for e in splits.forget if e.entity in learned], frozenset(learned))

    return teaching("first half", entities[:middle]), teaching("second half", entities[middle:])


def retained(splits: Splits) -> Attack:
    """Return the attack that teaches retained entities alone: fine-tuning by somebody who means no harm."""
    return Attack(RETAINED, splits.retain, frozenset())


def relearn(
    loaded: Loaded, attack: Attack, evaluation: Mapping[str, Sequence[Example]], attacker: Attacker
) -> Iterator[Measurement]:
    """Fine-tune a copy of a model and yield how much it knows before, and after a few steps each time.

    Raises:
        DataError: nothing is asked about the entities that the attack leaves out.
        TrainingError: the loss is not finite.
    """
    columns = {name: evaluation[name] for name in COLUMNS if name in evaluation}
    learned = {n: [item for item in items if item.entity in attack.learned] for n, items in columns.items()}
    others = {n: [item for item in items if item.entity not in attack.learned] for n, items in columns.items()}
    if not any(others.values()):
        raise DataError(
            f"relearning: none of the columns {', '.join(COLUMNS)} asks about an entity that is not learned"
        )
    copy = replace(loaded, model=deepcopy(loaded.model))
    encoder = Encoder(copy)
    train = TrainConfig(steps=attacker.steps, batch_size=attacker.batch_size, questions=attacker.questions)
    optimizer = torch.optim.AdamW(copy.model.parameters(), attacker.learning_rate, weight_decay=0.0)

    def measurement(step: int) -> Measurement:
        values = ({n: s.value for n, s in quick_scores(copy, half).items()} for half in (learned, others))
        return Measurement(step, *values)

    yield measurement(0)
    due = 1
    sampler = StepSampler.of((), attack.examples, train, attacker.seed)
    for number in range(1, attacker.steps + 1):
        batch = share_prefixes(encoder.rows(sampler[number - 1].retain or ()), encoder).to(input_device(copy.model))
        copy.model.train()
        optimizer.zero_grad()
        loss = answers(copy.model, batch).nll.mean()
        if not torch.isfinite(loss):
            raise TrainingError(f"relearning at {attacker.learning_rate:g}: the loss of step {number} is {loss.item()}")
        loss.backward()
        optimizer.step()
        if number < min(due, attacker.steps):
            continue
        # Each time a quarter more: a model that gives way at once is seen step by step, a firm one costs no more.
        due = number + max(1, number // 4)
        point = measurement(number)
        yield point
        if point.learned.get(SEEN, 0.0) >= max(LEVELS):
            return


def returned(attacked: Sequence[Curve], level: float) -> Return | None:
    """Return what has come back where `level` of the seen images' questions are learned, mean over the attacks.

    Between two measurements it is interpolated. None where no attack comes to that level.
    """
    reached = [value for curve in attacked if (value := _at(curve, level))]
    if not reached:
        return None
    means = {column: fmean(value.others[column] for value in reached) for column in reached[0].others}
    return Return(fmean(value.steps for value in reached), means)


def _at(curve: Curve, level: float) -> Return | None:
    before: Measurement | None = None
    for point in curve:
        if point.learned.get(SEEN, 0.0) >= level:
            if before is None:
                return Return(point.step, point.others)
            low, high = before.learned[SEEN], point.learned[SEEN]
            share = (level - low) / (high - low)
            others = {n: before.others[n] + share * (value - before.others[n]) for n, value in point.others.items()}
            return Return(before.step + share * (point.step - before.step), others)
        before = point
    return None
