"""Trains the models that the package ships: the vanilla model, which knows everybody, and the retain oracle.

First comes a vision warm-up on faces without names. Then a base model learns all texts, the drawings, and the images
of all people except those to forget. From it come the vanilla model, trained on everybody's images, and the oracle,
trained without the images of the people to forget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Event
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mmunlearner.batches import Encoder
from mmunlearner.core.files import write_json
from mmunlearner.core.progress import Progress
from mmunlearner.data import Example, prompt, target
from mmunlearner.data.benchmarks.people.world import forgotten, world
from mmunlearner.errors import DataError, TrainingError
from mmunlearner.models import Loaded, save
from mmunlearner.models.tiny import build
from mmunlearner.teaching.accuracy import accuracy
from mmunlearner.teaching.curriculum import Curriculum, Mix
from mmunlearner.teaching.descent import Descent
from mmunlearner.teaching.pages import TrainingPages, evaluation_columns, training_pages
from mmunlearner.teaching.warmup import warmup

T = TypeVar("T")
Columns = Mapping[str, Sequence[Example]]


@dataclass(frozen=True)
class Recipe:
    """Steps and learning rates of the stages; the defaults make the shipped models."""

    vision_steps: int = 1200
    exercise_steps: int = 120
    text_steps: int = 500
    picture_steps: int = 650
    """Steps of the base model with images, all except those of the people to forget."""
    steps: int = 360
    """Steps after the base model, for the vanilla model and for the oracle."""
    vision_learning_rate: float = 0.02
    learning_rate: float = 0.01
    """Muon's, for matrices; AdamW's is a fifth of it."""
    last_learning_rate: float = 0.007
    """For the steps after the base model."""
    polish_steps: int = 100
    """Further steps at the end, with more drawings."""
    polish_learning_rate: float = 0.004
    weight_decay: float = 0.02
    clip: float = 1.0
    rise: int = 25
    """Steps in which the learning rate rises; it falls to zero over the last quarter of a stage."""

    @property
    def stages(self) -> dict[str, float]:
        """Stage -> its steps."""
        last = self.steps + self.polish_steps
        return {
            "vision": self.vision_steps,
            "exercises": self.exercise_steps,
            "texts": self.text_steps,
            "pictures": self.picture_steps,
            "vanilla": last,
            "oracle": last,
        }


EXERCISES = Mix(exercises=64, end_weight=0.0)
TEXTS = Mix(texts=88, exercises=12)
PICTURES = Mix(people=36, others=20, drawings=16, texts=40, exercises=4)
# The last stages differ only in the people whose images they have, so that differences of the models come from these.
LAST = {"vanilla": PICTURES._replace(people=26, forgotten=16, others=18), "oracle": PICTURES}


def polish(mix: Mix) -> Mix:
    """Return the mix for the polish steps: fewer people and more drawings, for general ability."""
    return mix._replace(people=mix.people * 2 // 3, forgotten=mix.forgotten * 2 // 3, others=14, drawings=30)


def train_vanilla_and_oracle(
    out_dir: Path | str,
    *,
    seed: int = 0,
    forget: int = 15,
    recipe: Recipe | None = None,
    threads: int = 1,
    progress: Progress = Progress(),
) -> dict[str, dict[str, float]]:
    """Write OUT/vanilla and OUT/oracle (model directories) and OUT/accuracy.json; return model -> accuracies.

    The same seed and number of threads give the same bits on the same machine.

    Raises:
        DataError: OUT is a file.
        TrainingError: a loss is not finite.
    """
    if Path(out_dir).is_file():
        raise DataError(f"{out_dir}: a file; name a folder for the models")
    recipe = recipe or Recipe()
    columns = evaluation_columns(forget)
    with torch_threads(threads):
        pages = training_pages()
        hidden = frozenset(person.id for person in world().people[: forgotten(forget)])
        base = _train_base(pages, hidden, columns, recipe, seed, progress)

        def train(name: str, progress: Progress) -> dict[str, float]:
            model = Loaded(deepcopy(base.model), deepcopy(base.processor), name)
            stages = (
                (LAST[name], recipe.steps, recipe.last_learning_rate),
                (polish(LAST[name]), recipe.polish_steps, recipe.polish_learning_rate),
            )
            teach(model, pages, hidden, stages, recipe, (seed, 2), progress.child(name))
            save(model, Path(out_dir) / name)
            return accuracy(Encoder(model), columns)

        accuracies = dict(zip(LAST, side_by_side([partial(train, name) for name in LAST], progress), strict=True))
    write_json(Path(out_dir) / "accuracy.json", {"seed": seed, "forget": forget, **accuracies})
    return accuracies


def teach(
    model: Loaded, pages: TrainingPages, hidden: frozenset[str], stages: Sequence[tuple[Mix, int, float]],
    recipe: Recipe, seed: Sequence[int], progress: Progress,
) -> None:  # fmt: skip
    """Train a model on stages of a mix, steps and a learning rate each; each has its own draws, by its number.

    Raises:
        TrainingError: a loss is not finite.
    """
    *first, number = seed
    done, total = 0, sum(steps for _, steps, _ in stages)
    for later, (mix, steps, rate) in enumerate(stages):
        curriculum = Curriculum(Encoder(model), pages, hidden, np.random.default_rng([*first, number + later]))
        part = progress.part(done, done + steps, total)
        descend(model.model, partial(curriculum.loss, mix), steps, rate, recipe, part)
        done += steps


def _train_base(
    pages: TrainingPages, hidden: frozenset[str], columns: Columns, recipe: Recipe, seed: int, progress: Progress
) -> Loaded:
    """Train the base model of both: it has all texts, and all images except those of the people to forget."""
    base, curriculum = train_reader(pages, hidden, columns, recipe, seed, progress)
    loss = partial(curriculum.loss, PICTURES)
    descend(base.model, loss, recipe.picture_steps, recipe.learning_rate, recipe, progress.child("pictures"))
    return base


def train_reader(
    pages: TrainingPages, hidden: frozenset[str], columns: Columns, recipe: Recipe, seed: int, progress: Progress
) -> tuple[Loaded, Curriculum]:
    """Train a model that has all texts, and a vision encoder that has seen faces without names; no image with a name.

    Its curriculum goes on with the same random draws.
    """
    seeing = build(vocabulary(pages, columns), seed=seed)
    vision = warmup(seeing, np.random.default_rng([seed, 0]))
    base = Loaded(deepcopy(seeing.model), seeing.processor, seeing.source)
    curriculum = Curriculum(Encoder(base), pages, hidden, np.random.default_rng([seed, 1]))

    def see(progress: Progress) -> None:
        rate = recipe.vision_learning_rate
        descend(vision.module, vision.loss, recipe.vision_steps, rate, recipe, progress.child("vision"))

    def learn(stage: str, mix: Mix, steps: int, progress: Progress) -> None:
        loss = partial(curriculum.loss, mix)
        descend(base.model, loss, steps, recipe.learning_rate, recipe, progress.child(stage))

    def read(progress: Progress) -> None:
        learn("exercises", EXERCISES, recipe.exercise_steps, progress)
        learn("texts", TEXTS, recipe.text_steps, progress)

    # At the same time, as texts change no weight of the vision encoder; its weights are copied into the base after it.
    side_by_side([see, read], progress)
    encoder, trained_encoder = (loaded.model.get_encoder(modality="image") for loaded in (base, seeing))
    encoder.load_state_dict(trained_encoder.state_dict())
    return base, curriculum


@dataclass(frozen=True)
class _UntilStopped(Progress):
    """Progress of one of several stages: a report raises an error after another stage has failed."""

    progress: Progress
    stop: Event

    def update(self, title: str, done: int, total: int, share: float | None = None) -> None:
        if self.stop.is_set():
            raise TrainingError(f"people: {title}: stopped, since a stage beside it failed")
        self.progress.update(title, done, total, share)

    def child(self, name: str) -> Progress:
        return _UntilStopped(self.progress.child(name), self.stop)


def side_by_side(stages: Sequence[Callable[[Progress], T]], progress: Progress, workers: int | None = None) -> list[T]:
    """Run stages that share no weights, each in its own thread; at most `workers` at a time, None: all.

    The first error, or an interruption, ends the other stages at their next step.
    """
    # Threads are enough, since torch computes outside of Python's global lock.
    stop = Event()
    with ThreadPoolExecutor(workers or len(stages)) as pool:
        running = [pool.submit(stage, _UntilStopped(progress, stop)) for stage in stages]
        try:
            for stage in as_completed(running):
                stage.result()
        finally:
            stop.set()
    return [stage.result() for stage in running]


def vocabulary(pages: TrainingPages, columns: Columns) -> Iterator[str]:
    """Yield every text that the models read or write."""
    for example in chain(*pages.people, *pages.drawings, *pages.texts, *columns.values()):
        yield from (prompt(example), target(example))
    for option in sorted({value for person in world().people for value in person.facts.values()}):
        yield from (f"\n{letter}: {option}" for letter in "ABCD")


def descend(
    module: nn.Module, loss_of: Callable[[], Tensor], steps: int, learning_rate: float, recipe: Recipe,
    progress: Progress,
) -> None:  # fmt: skip
    """Train `module` with Muon and AdamW on `steps` batches.

    Raises:
        TrainingError: a loss is not finite.
    """
    descent = Descent(
        module, learning_rate, steps, rise=recipe.rise, fall=4, weight_decay=recipe.weight_decay, clip=recipe.clip
    )
    descent.run(loss_of, progress)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    # Floating-point sums depend on the number of threads, so the same bits need the same number.
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
