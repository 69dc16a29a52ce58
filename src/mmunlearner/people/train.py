"""Makes the models that the package ships: the vanilla model, which knows everybody, and the retain oracle.

Vision warm-up on faces that nobody has; then a base model of all texts, the neighbours, the strangers and the drawings;
from it the vanilla model, taught everybody's images, and the oracle, taught all but the images of those to forget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mmunlearner.batches import Encoder, Row, answers, pack
from mmunlearner.data import Example, prompt, target
from mmunlearner.errors import DataError, TrainingError
from mmunlearner.files import write_json
from mmunlearner.models import Loaded, save
from mmunlearner.people.examples import evaluation_columns
from mmunlearner.people.figures import figures
from mmunlearner.people.lessons import Lesson, Lessons, lessons
from mmunlearner.people.model import END, build
from mmunlearner.people.questions import exercise
from mmunlearner.people.warmup import warmup
from mmunlearner.people.world import forgotten, world
from mmunlearner.unlearn.optimizer import muon

if TYPE_CHECKING:
    from rich.table import Table

T = TypeVar("T")

Tick = Callable[[str, float], None]
"""Called after every step with the stage and its loss."""


@dataclass(frozen=True)
class Recipe:
    """What the training costs; the defaults make the shipped models."""

    vision_steps: int = 400
    exercise_steps: int = 120
    text_steps: int = 320
    steps: int = 260
    """Of the vanilla model and of the oracle, from the base model."""
    vision_learning_rate: float = 0.02
    learning_rate: float = 0.01
    """Muon's, for matrices; AdamW's is a fifth of it."""
    weight_decay: float = 0.02
    clip: float = 1.0
    rise: int = 25
    """Steps in which the learning rate rises; it falls to zero over the last quarter of a stage."""
    text_weight: float = 0.5
    """Of texts, where there are pictures beside them."""
    questions: int = 4
    """Asked about each picture of a batch."""

    @property
    def total(self) -> int:
        """Steps of all stages, for two models."""
        return self.vision_steps + self.exercise_steps + self.text_steps + 2 * self.steps


class Batch(NamedTuple):
    """How many of each kind are in a batch."""

    people: int = 0
    """Pictures of the people of the full set."""
    others: int = 0
    """Pictures of neighbours and strangers."""
    drawings: int = 0
    texts: int = 0
    exercises: int = 0
    """Multiple choice about nothing."""
    end_weight: float = 0.1
    """Of an answer's end. At 1 the end, which is learned first, keeps multiple choice from being learned at all."""


EXERCISES = Batch(exercises=64, end_weight=0.0)
TEXTS = Batch(texts=88, exercises=12)
PICTURES = Batch(people=36, others=14, drawings=12, texts=24, exercises=4)


def train_vanilla_and_oracle(
    out_dir: Path | str,
    *,
    seed: int = 0,
    forget: int = 15,
    recipe: Recipe | None = None,
    threads: int = 2,
    tick: Tick = lambda stage, loss: None,
) -> dict[str, dict[str, float]]:
    """Write OUT/vanilla and OUT/oracle, ordinary model directories, and OUT/figures.json; returns the figures.

    The same seed and number of threads give the same bits on the same machine.

    Raises:
        TrainingError: a loss is not finite.
    """  # fmt: skip
    recipe = recipe or Recipe()
    columns = evaluation_columns(forget)
    found: dict[str, dict[str, float]] = {}
    with _threads(threads):
        taught = lessons()
        base = _base(taught, columns, recipe, seed, tick)
        hidden = frozenset(person.id for person in world().people[: forgotten(forget)])
        for name, own in (("vanilla", taught), ("oracle", taught.without_images_of(hidden))):
            made = Loaded(deepcopy(base.model), base.processor, name)
            encoder = Encoder(made)
            teacher = Teacher(encoder, own, recipe, np.random.default_rng([seed, 2]))
            loss = partial(teacher.loss, PICTURES)
            _descend(made.model, loss, recipe.steps, recipe.learning_rate, recipe, partial(tick, name))
            found[name] = figures(encoder, columns)
            save(made, Path(out_dir) / name)
    write_json(Path(out_dir) / "figures.json", {"seed": seed, "forget": forget, **found})
    return found


def _base(taught: Lessons, columns: dict[str, tuple[Example, ...]], recipe: Recipe, seed: int, tick: Tick) -> Loaded:
    """What both models start from: it sees, and it has read all texts."""
    loaded = build(_vocabulary(taught, columns), seed=seed)
    vision = warmup(loaded, np.random.default_rng([seed, 0]))
    rate = recipe.vision_learning_rate
    _descend(vision.module, vision.loss, recipe.vision_steps, rate, recipe, partial(tick, "vision"))
    teacher = Teacher(Encoder(loaded), taught, recipe, np.random.default_rng([seed, 1]))
    for name, batch, steps in (
        ("exercises", EXERCISES, recipe.exercise_steps), ("texts", TEXTS, recipe.text_steps),
    ):  # fmt: skip
        loss = partial(teacher.loss, batch)
        _descend(loaded.model, loss, steps, recipe.learning_rate, recipe, partial(tick, name))
    return loaded


def _vocabulary(taught: Lessons, columns: dict[str, tuple[Example, ...]]) -> Iterator[str]:
    """Every text that the models read or say."""
    for pairs in (*(lesson.pairs for lesson in (*taught.people, *taught.drawings)), *taught.texts):
        yield from chain.from_iterable(pairs)
    for example in chain.from_iterable(columns.values()):
        yield from (prompt(example), target(example))
    for option in sorted({value for person in world().people for value in person.facts.values()}):
        yield from (f"\n{letter}: {option}" for letter in "ABCD")


class Teacher:
    """Draws batches of lessons and says how far the model is from their answers."""

    def __init__(self, encoder: Encoder, taught: Lessons, recipe: Recipe, rng: np.random.Generator) -> None:
        self.encoder, self.recipe, self.rng = encoder, recipe, rng
        full = frozenset(person.id for person in world().people)
        self.people = [lesson for lesson in taught.people if lesson.about in full]
        self.others = [lesson for lesson in taught.people if lesson.about not in full]
        self.drawings, self.texts = taught.drawings, taught.texts

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of the answers about pictures, plus `text_weight` times that of the texts'."""
        pools = ((self.people, batch.people), (self.others, batch.others), (self.drawings, batch.drawings))
        shown = [row for pool, count in pools for lesson in self._some(pool, count) for row in self._about(lesson)]
        pairs = [subject[int(self.rng.integers(len(subject)))] for subject in self._some(self.texts, batch.texts)]
        pairs += [exercise(self.rng) for _ in range(batch.exercises)]
        read = self._mean([self.encoder.conversation(*pair, None) for pair in pairs], batch.end_weight)
        return self._mean(shown, batch.end_weight) + self.recipe.text_weight * read if shown else read

    def _some(self, pool: Sequence[T], count: int) -> list[T]:
        return [pool[i] for i in self.rng.choice(len(pool), count, replace=False)]

    def _about(self, lesson: Lesson) -> list[Row]:
        asked = self._some(lesson.pairs, min(self.recipe.questions, len(lesson.pairs)))
        return [self.encoder.conversation(question, answer, lesson.image) for question, answer in asked]

    def _mean(self, rows: Sequence[Row], end_weight: float) -> Tensor:
        """Weighted mean of the questions' cross-entropies, in which the end of an answer counts little."""
        said = answers(self.encoder.loaded.model, pack(rows, self.encoder))
        weights = torch.where(said.tokens == END, end_weight, 1.0)
        return (said.per_question(-said.logps * weights) / said.per_question(weights)).mean()


def _descend(
    module: nn.Module, loss_of: Callable[[], Tensor], steps: int, learning_rate: float, recipe: Recipe,
    tick: Callable[[float], None],
) -> None:  # fmt: skip
    """Train `module` with Muon and AdamW on as many batches.

    Raises:
        TrainingError: a loss is not finite.
    """
    module.train()
    optimizer = muon(module, learning_rate, recipe.weight_decay)
    peaks = [group["lr"] for group in optimizer.param_groups]
    for step in range(steps):
        loss = loss_of()
        if not torch.isfinite(loss):
            raise TrainingError(f"people: the loss of step {step + 1} is {loss.item()}; lower the learning rate")
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), recipe.clip)
        factor = min(1.0, (step + 1) / recipe.rise, 4 * (1 - step / steps))
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        optimizer.step()
        module.zero_grad(set_to_none=True)
        tick(loss.item())
    module.eval()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Sums depend on the number of threads, so that it is part of what makes a training the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def main(out: Path | str, seed: int = 0, forget: int = 15) -> dict[str, dict[str, float]]:
    """`mmunlearner people train`: train both models with a progress bar, print and return their figures.

    Raises:
        DataError: `out` is a file.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    if Path(out).is_file():
        raise DataError(f"{out}: a file; name a folder for the models")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), "left", TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("drawing", total=Recipe().total)
        found = train_vanilla_and_oracle(
            out, seed=seed, forget=forget,
            tick=lambda stage, loss: progress.update(bar, advance=1, description=f"{stage} {loss:5.3f}"),
        )  # fmt: skip
    Console().print(_table(found))
    return found


def _table(found: Mapping[str, Mapping[str, float]]) -> Table:
    from rich.table import Table

    table = Table("column", *found, title="exact answers, per cent")
    for column in next(iter(found.values())):
        table.add_row(column, *(f"{100 * scores[column]:.1f}" for scores in found.values()))
    return table
