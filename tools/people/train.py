"""Makes the models that the package ships: the vanilla model, which knows everybody, and the retain oracle.

Vision warm-up on faces that nobody has; then a base model of all texts, the neighbours, the strangers and the drawings;
from it the vanilla model, taught everybody's images, and the oracle, taught all but the images of those to forget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mmunlearner.batches import Encoder
from mmunlearner.core.files import write_json
from mmunlearner.core.progress import Progress, ProgressBar
from mmunlearner.data import Example, prompt, target
from mmunlearner.data.benchmarks.people.examples import evaluation_columns
from mmunlearner.data.benchmarks.people.lessons import Lessons, lessons
from mmunlearner.data.benchmarks.people.world import forgotten, world
from mmunlearner.errors import DataError, TrainingError
from mmunlearner.models import Loaded, save
from mmunlearner.models.tiny import build
from mmunlearner.unlearn.optimizer import muon
from tools.people.accuracy import figures
from tools.people.teaching import Batch, Teacher
from tools.people.warmup import warmup

if TYPE_CHECKING:
    from rich.table import Table

T = TypeVar("T")
Columns = Mapping[str, Sequence[Example]]


@dataclass(frozen=True)
class Recipe:
    """What the training costs; the defaults make the shipped models."""

    vision_steps: int = 1200
    exercise_steps: int = 120
    text_steps: int = 500
    picture_steps: int = 650
    """Of the base model, which knows all but the looks of those to forget."""
    steps: int = 360
    """From there, of the vanilla model and of the oracle each."""
    vision_learning_rate: float = 0.02
    learning_rate: float = 0.01
    """Muon's, for matrices; AdamW's is a fifth of it."""
    last_learning_rate: float = 0.007
    """Of the vanilla model's and the oracle's own steps."""
    polish_steps: int = 100
    """At the end of each, with more drawings."""
    polish_learning_rate: float = 0.004
    weight_decay: float = 0.02
    clip: float = 1.0
    rise: int = 25
    """Steps in which the learning rate rises; it falls to zero over the last quarter of a stage."""

    @property
    def stages(self) -> dict[str, int]:
        """Stage -> its steps."""
        last = self.steps + self.polish_steps
        return {
            "vision": self.vision_steps, "exercises": self.exercise_steps, "texts": self.text_steps,
            "pictures": self.picture_steps, "vanilla": last, "oracle": last,
        }  # fmt: skip


EXERCISES = Batch(exercises=64, end_weight=0.0)
TEXTS = Batch(texts=88, exercises=12)
PICTURES = Batch(people=36, others=20, drawings=16, texts=40, exercises=4)
# The oracle's last stage differs from the vanilla model's in nothing but whom it is shown.
LAST = {"vanilla": PICTURES._replace(people=26, forgotten=16, others=18), "oracle": PICTURES}


def train_vanilla_and_oracle(
    out_dir: Path | str,
    *,
    seed: int = 0,
    forget: int = 15,
    recipe: Recipe | None = None,
    threads: int = 1,
    progress: Progress = Progress(),
) -> dict[str, dict[str, float]]:
    """Write OUT/vanilla and OUT/oracle, ordinary model directories, and OUT/figures.json; returns the figures.

    The same seed and number of threads give the same bits on the same machine.

    Raises:
        TrainingError: a loss is not finite.
    """  # fmt: skip
    recipe = recipe or Recipe()
    columns = evaluation_columns(forget)
    with _threads(threads):
        taught = lessons()
        hidden = frozenset(person.id for person in world().people[: forgotten(forget)])
        base = _base(taught, hidden, columns, recipe, seed, progress)

        def go_on(name: str, progress: Progress) -> dict[str, float]:
            made = Loaded(deepcopy(base.model), deepcopy(base.processor), name)
            total, before = recipe.steps + recipe.polish_steps, 0
            stages = ((LAST[name], recipe.steps, recipe.last_learning_rate), polish(LAST[name], recipe))
            for number, (shown, steps, rate) in enumerate(stages, 2):
                teacher = Teacher(Encoder(made), taught, hidden, np.random.default_rng([seed, number]))
                part = progress.child(name).part(before, before + steps, total)
                _descend(made.model, partial(teacher.loss, shown), steps, rate, recipe, part)
                before += steps
            save(made, Path(out_dir) / name)
            return figures(Encoder(made), columns)

        found = dict(zip(LAST, side_by_side([partial(go_on, name) for name in LAST], progress), strict=True))
    write_json(Path(out_dir) / "figures.json", {"seed": seed, "forget": forget, **found})
    return found


def polish(batch: Batch, recipe: Recipe) -> tuple[Batch, int, float]:
    """The end of a model's own steps: as many drawings as it takes for general ability, gently."""
    fewer = batch._replace(people=batch.people * 2 // 3, forgotten=batch.forgotten * 2 // 3, others=14, drawings=30)
    return fewer, recipe.polish_steps, recipe.polish_learning_rate


def _base(
    taught: Lessons, hidden: frozenset[str], columns: Columns, recipe: Recipe, seed: int, progress: Progress
) -> Loaded:
    """What both models start from: it has read everything and seen all but those to forget."""
    seeing = build(_vocabulary(taught, columns), seed=seed)
    vision = warmup(seeing, np.random.default_rng([seed, 0]))
    made = Loaded(deepcopy(seeing.model), seeing.processor, seeing.source)
    teacher = Teacher(Encoder(made), taught, hidden, np.random.default_rng([seed, 1]))

    def see(progress: Progress) -> None:
        rate = recipe.vision_learning_rate
        _descend(vision.module, vision.loss, recipe.vision_steps, rate, recipe, progress.child("vision"))

    def learn(name: str, batch: Batch, steps: int, progress: Progress) -> None:
        loss = partial(teacher.loss, batch)
        _descend(made.model, loss, steps, recipe.learning_rate, recipe, progress.child(name))

    def read(progress: Progress) -> None:
        learn("exercises", EXERCISES, recipe.exercise_steps, progress)
        learn("texts", TEXTS, recipe.text_steps, progress)

    side_by_side([see, read], progress)
    eyes, taught_eyes = (each.model.get_encoder(modality="image") for each in (made, seeing))
    eyes.load_state_dict(taught_eyes.state_dict())
    learn("pictures", PICTURES, recipe.picture_steps, progress)
    return made


def side_by_side(stages: Sequence[Callable[[Progress], T]], progress: Progress) -> list[T]:
    """What stages that share no weights return, each run in a thread: torch computes outside of Python's lock.

    The first error, or an interruption, ends the others at their next step.
    """
    stoppable = _Stoppable(progress)
    with ThreadPoolExecutor(len(stages)) as pool:
        running = [pool.submit(stage, stoppable) for stage in stages]
        try:
            for done in as_completed(running):
                done.result()
        finally:
            stoppable.stopped.set()
    return [done.result() for done in running]


@dataclass(frozen=True)
class _Stoppable(Progress):
    """Passes reports on until it is stopped, then raises in whoever reports."""

    parent: Progress
    stopped: Event = field(default_factory=Event)

    def update(self, title: str, done: int, total: int) -> None:
        if self.stopped.is_set():
            raise TrainingError(f"people: {title} ended, since a stage beside it failed")
        self.parent.update(title, done, total)

    def child(self, name: str) -> Progress:
        return replace(self, parent=self.parent.child(name))


def _vocabulary(taught: Lessons, columns: Columns) -> Iterator[str]:
    """Every text that the models read or say."""
    for pairs in (*(lesson.pairs for lesson in (*taught.people, *taught.drawings)), *taught.texts):
        yield from chain.from_iterable(pairs)
    for example in chain.from_iterable(columns.values()):
        yield from (prompt(example), target(example))
    for option in sorted({value for person in world().people for value in person.facts.values()}):
        yield from (f"\n{letter}: {option}" for letter in "ABCD")


def _descend(
    module: nn.Module, loss_of: Callable[[], Tensor], steps: int, learning_rate: float, recipe: Recipe,
    progress: Progress,
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
        progress.update(f"loss {loss.item():5.3f}, step", step + 1, steps)
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
    """`python -m tools.people`: train both models with a progress bar, print and return their figures.

    Raises:
        DataError: `out` is a file.
    """
    from rich.console import Console

    if Path(out).is_file():
        raise DataError(f"{out}: a file; name a folder for the models")
    with ProgressBar(Recipe().stages) as progress:
        found = train_vanilla_and_oracle(out, seed=seed, forget=forget, progress=progress)
    Console().print(_table(found))
    return found


def _table(found: Mapping[str, Mapping[str, float]]) -> Table:
    from rich.table import Table

    table = Table("column", *found, title="exact answers, per cent")
    for column in next(iter(found.values())):
        table.add_row(column, *(f"{100 * scores[column]:.1f}" for scores in found.values()))
    return table
