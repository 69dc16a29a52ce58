"""Which questions each step sees: a pure function of the seed and the step, so that any step can be made again."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmunlearner.config import TrainConfig
from mmunlearner.data import Example, entities_in_turn, group_by, group_by_image


@dataclass(frozen=True)
class Step:
    """The examples of one step's terms; None where the term has no part in it."""

    number: int
    forget: tuple[Example, ...] | None
    retain: tuple[Example, ...] | None


@dataclass(frozen=True)
class Plan:
    """All steps of a run, as a data set that can be indexed (and so resumed) anywhere.

    An optimizer step takes `width` entries in a row. Every `retain_per_forget`-th optimizer step holds a forget batch
    in each of its entries (method step 5, with the forget term in the same step as its retain batch: eq. 4), and all
    hold retain batches; so the processes of a distributed run, which share out the entries, do alike. A batch is
    `batch_size` images, each with `questions` of its questions; images are drawn in shuffled passes, entities in turn,
    so that every entity is seen before any is seen again. Options of a multiple choice are in another order each time:
    the letter of a fixed order is learned by heart.
    """

    forget: Sequence[Sequence[Example]]
    retain: Sequence[Sequence[Example]]
    config: TrainConfig
    seed: int
    width: int = 1
    """Batches of one optimizer step: accumulation times processes."""
    texts: Sequence[Sequence[Example]] = ()
    """What joins the retain batches in a stream of its own (`config.texts` of them)."""

    @property
    def every(self) -> int:
        """Optimizer steps from one with a forget batch to the next."""
        return self.config.retain_per_forget if self.forget and self.retain else 1

    def __len__(self) -> int:
        return self.config.steps * self.every * self.width

    def __getitem__(self, i: int) -> Step:
        if not 0 <= i < len(self):
            raise IndexError(i)
        step, place = divmod(i, self.width)
        turn, without = divmod(step, self.every)
        forget = self._draw("forget", self.forget, turn * self.width + place) if self.forget and not without else None
        retain = (*self._draw("retain", self.retain, i), *self._draw("text", self.texts, i, self.config.texts))
        return Step(i, forget, retain or None)

    def _draw(
        self, term: str, groups: Sequence[Sequence[Example]], number: int, most: int | None = None
    ) -> tuple[Example, ...]:
        size = min(self.config.batch_size if most is None else most, len(groups))
        places = range(number * size, (number + 1) * size)
        passes = {
            turn: self._pass(f"{self.seed} {term} pass {turn}", groups) for turn in {p // len(groups) for p in places}
        }
        chosen: list[Example] = []
        for place in places:
            group = passes[place // len(groups)][place % len(groups)]
            chooser = random.Random(f"{self.seed} {term} image {place}")
            asked = chooser.sample(list(group), min(self.config.questions, len(group)))
            chosen += [_reordered(example, chooser) for example in asked]
        return tuple(chosen)

    @staticmethod
    def _pass(seed: str, groups: Sequence[Sequence[Example]]) -> list[Sequence[Example]]:
        """Every image once, in rounds: each round takes one image of each entity that has one left."""
        rng = random.Random(seed)
        by_entity = group_by(groups, lambda group: group[0].entity)
        for images in by_entity:
            rng.shuffle(images)
        order: list[Sequence[Example]] = []
        for number in range(max(map(len, by_entity))):
            in_round = [images[number] for images in by_entity if number < len(images)]
            rng.shuffle(in_round)
            order += in_round
        return order


def plan(
    forget: Sequence[Example], retain: Sequence[Example], config: TrainConfig, seed: int, *, processes: int = 1
) -> Plan:
    """The steps of one run; an empty set leaves its term out. Texts are drawn like images, one entity's at a time.

    Of the retain set only `config.retain_fraction` is drawn: one image of each entity before a second of any.
    """
    width = config.accumulation * processes
    apart = [e for e in retain if not e.images] if config.texts else []
    images = [e for e in retain if e.images] if config.texts else retain
    kept, kept_apart = (_share(_images_in_turn(some), config.retain_fraction) for some in (images, apart))
    return Plan(_images_in_turn(forget), kept, config, seed, width, kept_apart)


def _images_in_turn(examples: Sequence[Example]) -> list[list[Example]]:
    return entities_in_turn(group_by_image(examples))


def _share(groups: list[list[Example]], fraction: float) -> list[list[Example]]:
    """The first of these, which stand with their entities in turn; none of none."""
    return groups[: max(1, math.ceil(fraction * len(groups)))]


def _reordered(example: Example, chooser: random.Random) -> Example:
    return replace(example, choices=tuple(chooser.sample(example.choices, len(example.choices))))
