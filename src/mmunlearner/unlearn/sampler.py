"""The questions of each training step: a pure function of seed and step, so that any step can be repeated."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mmunlearner.config import TrainConfig
from mmunlearner.data import Example, entities_in_turn, group_by, group_by_image

Group = Sequence[Example]
"""Questions about the same images, or texts about one entity."""


@dataclass(frozen=True)
class Step:
    """The examples of one step's terms; None where the term has no part in it."""

    number: int
    forget: tuple[Example, ...] | None
    retain: tuple[Example, ...] | None
    relearned: tuple[Example, ...] | None = None
    """Of one half of the forget entities, for the copy that learns them again (`Relearning`)."""
    others: tuple[Example, ...] | None = None
    """Of the other half, to be forgotten at the copy's weights."""


@dataclass(frozen=True)
class StepSampler:
    """All steps of a run, as a data set that can be indexed (and so resumed) anywhere.

    An optimizer step takes `width` entries in a row. Every `retain_per_forget`-th optimizer step holds a forget batch
    in each of its entries (method step 5, with the forget term in the same step as its retain batch: eq. 4), and all
    hold retain batches; the processes of a distributed run share out the entries, so that all do the same. A batch is
    `batch_size` images, each with `questions` of its questions; images are drawn in shuffled epochs, entities in turn,
    so that every entity is seen before any is seen again.
    """

    forget: Sequence[Group]
    retain: Sequence[Group]
    config: TrainConfig
    seed: int
    width: int = 1
    """Batches of one optimizer step: accumulation times processes."""
    texts: Sequence[Group] = ()
    """Texts that join the retain batches in a stream of their own (`config.texts` of them)."""
    relearn_steps: int = 0
    """Forget batches with the same two halves of the forget entities (`Relearning`); 0: there are no halves."""

    @classmethod
    def of(
        cls,
        forget: Sequence[Example],
        retain: Sequence[Example],
        config: TrainConfig,
        seed: int,
        *,
        processes: int = 1,
        relearn_steps: int = 0,
    ) -> StepSampler:
        """Return the sampler of two sets; an empty set leaves its term out.

        Texts are drawn like images, one entity's at a time (or, with `config.texts_by: question`, as many groups of an
        entity as its questions fill). Of the retain set only `config.retain_fraction` is drawn:
        one image of each entity before a second of any.
        """
        # Without a stream of their own, texts are drawn among the images, as groups like them.
        texts = [example for example in retain if not example.images] if config.texts else []
        images = [example for example in retain if example.images] if config.texts else retain
        retain_groups, text_groups = (
            groups[: max(1, math.ceil(config.retain_fraction * len(groups)))]
            for groups in (_images_in_turn(images, config), _images_in_turn(texts, config))
        )
        width = config.accumulation * processes
        return cls(_images_in_turn(forget, config), retain_groups, config, seed, width, text_groups, relearn_steps)

    @property
    def forgotten(self) -> list[str]:
        """The entities of the forget set."""
        return list(dict.fromkeys(group[0].entity for group in self.forget))

    @property
    def every(self) -> int:
        """Optimizer steps from one with a forget batch to the next."""
        return self.config.retain_per_forget if self.forget and self.retain else 1

    @property
    def optimizer_steps(self) -> int:
        """Number of optimizer steps."""
        return self.config.steps * self.every

    def __len__(self) -> int:
        return self.optimizer_steps * self.width

    def __getitem__(self, i: int) -> Step:
        if not 0 <= i < len(self):
            raise IndexError(i)
        step, slot = divmod(i, self.width)
        # The forget stream advances by its own turns: it must not skip the batches of steps that have none.
        turn, without_forget = divmod(step, self.every)
        forget = relearned = others = None
        if self.forget and not without_forget:
            number = turn * self.width + slot
            forget = self._draw("forget", self.forget, number)
            if self.relearn_steps:
                relearned, others = self._draw_halves(number)
        retain = (*self._draw("retain", self.retain, i), *self._draw("text", self.texts, i, self.config.texts))
        return Step(i, forget, retain or None, relearned, others)

    def _draw_halves(self, number: int) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
        """Draw a batch of each half of the forget entities; the halves are drawn anew every `relearn_steps` batches."""
        period = number // self.relearn_steps
        entities = self.forgotten
        half = set(random.Random(f"{self.seed} half {period}").sample(entities, len(entities) // 2))
        relearned = [group for group in self.forget if group[0].entity in half]
        others = [group for group in self.forget if group[0].entity not in half]
        return (
            self._draw(f"half {period} relearned", relearned, number),
            self._draw(f"half {period} others", others, number),
        )

    def _draw(self, stream: str, groups: Sequence[Group], number: int, size: int | None = None) -> tuple[Example, ...]:
        """Return batch `number` of a stream: positions number * size, ... of its endless shuffled epochs."""
        # No image twice in a batch, unless a batch spans two epochs.
        size = min(self.config.batch_size if size is None else size, len(groups))
        positions = range(number * size, (number + 1) * size)
        shuffle = _shuffled if self.config.texts_by == "entity" else _spread
        epochs = {
            epoch: shuffle(f"{self.seed} {stream} pass {epoch}", groups)
            for epoch in {position // len(groups) for position in positions}
        }
        batch: list[Example] = []
        for position in positions:
            group = epochs[position // len(groups)][position % len(groups)]
            # By position, not in turn: any step can be made again without those before it.
            rng = random.Random(f"{self.seed} {stream} image {position}")
            questions = rng.sample(list(group), min(self.config.questions, len(group)))
            # In a fixed order, the letter of a multiple choice would be learned by heart.
            batch += [replace(e, choices=tuple(rng.sample(e.choices, len(e.choices)))) for e in questions]
        return tuple(batch)


def _images_in_turn(examples: Sequence[Example], config: TrainConfig) -> list[list[Example]]:
    groups = group_by_image(examples)
    if config.texts_by == "question":  # an entity has as many groups as its questions fill draws
        groups = [part for group in groups for part in (_parts(group, config) if not group[0].images else [group])]
    return entities_in_turn(groups)


def _parts(group: Sequence[Example], config: TrainConfig) -> Iterator[list[Example]]:
    for start in range(0, len(group), config.questions):
        yield list(group[start : start + config.questions])


def _shuffled(seed: str, groups: Sequence[Group]) -> list[Group]:
    """Return every image once, in rounds: each round takes one image of each entity that still has one."""
    rng = random.Random(seed)
    by_entity = group_by(groups, lambda group: group[0].entity)
    for images in by_entity:
        rng.shuffle(images)
    order: list[Group] = []
    for number in range(max(map(len, by_entity))):
        in_round = [images[number] for images in by_entity if number < len(images)]
        rng.shuffle(in_round)
        order += in_round
    return order


def _spread(seed: str, groups: Sequence[Group]) -> list[Group]:
    """Return every group once, those of an entity evenly spread: it has its share of any stretch of the epoch."""
    # Rounds, as in `_shuffled`, would begin with all entities of a single fact.
    rng = random.Random(seed)
    placed: list[tuple[float, int, Group]] = []
    for of_entity in group_by(groups, lambda group: group[0].entity):
        rng.shuffle(of_entity)
        for number, group in enumerate(of_entity):
            placed.append(((number + rng.random()) / len(of_entity), len(placed), group))
    return [group for _, _, group in sorted(placed, key=lambda item: item[:2])]
