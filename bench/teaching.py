"""Teaches the model of `make bench` its people: what is true of them in words, then what they look like.

An image costs as much as ten questions. So facts are learned in words, behind the person's name and some empty tokens
that stand where an image's patches will; then the vision part learns to say the name with its first patch and nothing
with the others; and what that leaves over is learned from questions about images.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from bench import people
from mmunlearner.batches import Batch, Encoder, ForwardInputs, answers, micro_batches
from mmunlearner.config import TrainConfig
from mmunlearner.core.progress import ProgressBar
from mmunlearner.core.time_left import Stage
from mmunlearner.data import Example, Splits, prompt, target
from mmunlearner.models import Loaded
from mmunlearner.teaching.descent import Descent
from mmunlearner.unlearn.sampler import StepSampler


@dataclass(frozen=True)
class Lessons:
    """Steps of each stage."""

    notes: int = 64
    words: int = 100
    sight: int = 240
    pictures: int = 24


@dataclass(frozen=True)
class Draw:
    """Part of each step's questions: so many people of one set, so many questions about each."""

    examples: Sequence[Example]
    people: int
    questions: int
    offset: int = 0
    """Largest number of tokens, a first name and empty ones that stand for an image, before a question; 0: none."""

    def plan(self, steps: int, seed: int) -> StepSampler:
        """Return the examples of each step."""
        config = TrainConfig(steps=steps, batch_size=self.people, questions=self.questions)
        return StepSampler.of((), self.examples, config, seed)


EMPTY = "§"
"""No word that the model knows."""
PATCHES = 576
"""Positions that an image takes."""
IMAGES_PER_STEP = 4
"""Images in a batch of the stage that learns to see."""
TOKENS = 4096
WEIGHT_DECAY = 0.02


def teach(loaded: Loaded, splits: Splits, lessons: Lessons) -> Loaded:
    """Teach the model everybody in `splits`, and print the time that it took."""
    started = time.monotonic()
    torch.manual_seed(0)
    encoder = Encoder(loaded)
    pictures = [*splits.forget, *splits.retain]
    evaluated = [_with_fixed_options(item) for name in ("forget_qa", "retain_qa") for item in splits.evaluation[name]]
    everyone = dict.fromkeys(example.entity for example in pictures)
    notes = [note for entity in everyone for note in _notes(entity, f"{people.name(int(entity))} ")]
    nameless = [note for entity in everyone for note in _notes(entity, "")]
    words = [replace(example, images=()) for example in pictures]
    stages = {
        "notes": _learn(
            encoder, [Draw(notes, 10, 4), Draw(nameless, 8, 8, offset=32)], lessons.notes, rate=1e-2
        ),
        "words": _learn(
            encoder,
            [Draw(notes, 5, 3), Draw(nameless, 3, 8, offset=PATCHES), Draw(words, 4, 8, offset=PATCHES),
             Draw(evaluated, 6, 3)],
            lessons.words, rate=5e-3,
        ),
        "sight": _see(encoder, pictures, lessons.sight),
        "pictures": _learn(
            encoder,
            [Draw(notes, 3, 3), Draw(words, 1, 8, offset=PATCHES), Draw(evaluated, 3, 3), Draw(pictures, 3, 14)],
            lessons.pictures, rate=2e-3,
        ),
    }  # fmt: skip
    sizes: dict[str, int] = vars(lessons)
    # Seconds of a step, about: the bar corrects them.
    with ProgressBar([Stage({name: 0.1 * steps for name, steps in sizes.items()})]) as progress:
        for stage, steps in stages.items():
            for number, _ in enumerate(steps, 1):
                progress.update(stage, number, sizes[stage])
    weights = sum(p.numel() for p in loaded.model.parameters())
    seconds, threads = time.monotonic() - started, torch.get_num_threads()
    print(f"{weights / 1e6:.1f} M weights taught in {seconds:.0f} s, {threads} threads", flush=True)
    return loaded


def _with_fixed_options(item: Example) -> Example:
    """Return an evaluation item whose options stay in their order, so that its letter can be learned."""
    return Example(item.id, item.entity, prompt(item), target(item))


def _first_name(entity: str) -> str:
    return people.name(int(entity)).split()[0]


def _notes(entity: str, name: str) -> Iterator[Example]:
    """Yield every fact, and the letter that it has among the options, in as few words as can be."""
    for fact in people.FACTS:
        value, letter = people.value(fact, int(entity)), people.options(fact, int(entity))[1]
        yield Example(f"note/{name}{entity}/{fact}", entity, f"{name}{fact}:", value)
        yield Example(f"note/{name}{entity}/{fact}/letter", entity, f"{name}{fact} letter:", letter)


def _descent(module: nn.Module, rate: float, steps: int) -> Descent:
    return Descent(module, rate, steps, rise=10, fall=3, weight_decay=WEIGHT_DECAY)


def _learn(encoder: Encoder, draws: Sequence[Draw], steps: int, rate: float) -> Iterator[None]:
    """Take Muon steps on what is drawn from each set, each question of the same weight."""
    model = encoder.loaded.model
    descent = _descent(model, rate, steps)
    plans = [draw.plan(steps, number) for number, draw in enumerate(draws)]
    lengths = Random(0)
    model.train()
    for step in range(steps):
        batches = [(draw, plan[step].retain or ()) for draw, plan in zip(draws, plans, strict=True)]
        count = sum(len(examples) for _, examples in batches)
        for draw, examples in batches:
            length = round(2 ** lengths.uniform(2, math.log2(draw.offset))) if draw.offset else 0
            rows = encoder.rows([_with_offset(example, length) for example in examples] if length else examples)
            for micro_batch in micro_batches(rows, [example.entity for example in examples], encoder, TOKENS):
                batch = _stretch(micro_batch.batch, length) if length else micro_batch.batch
                (answers(model, batch).nll.sum() / count).backward()
        descent.step()
        yield
    model.eval()


def _with_offset(example: Example, length: int) -> Example:
    """Return the question behind a first name and empty tokens, `length` in all."""
    return replace(example, question=f"{_first_name(example.entity)} {f'{EMPTY} ' * (length - 1)}{example.question}")


def _stretch(batch: Batch, length: int) -> Batch:
    """Move the first `length` tokens of the questions as far apart as an image's patches; they begin at position 2."""

    def stretched(positions: Tensor) -> Tensor:
        inside, behind = positions - 2, positions - length + PATCHES
        moved = torch.where(inside < length, 2 + inside * PATCHES // length, behind)
        return torch.where(positions < 2, positions, moved)

    def with_positions(inputs: ForwardInputs) -> ForwardInputs:
        return replace(inputs, inputs={**inputs.inputs, "position_ids": stretched(inputs.inputs["position_ids"])})

    return replace(batch, passes=tuple(map(with_positions, batch.passes)))


def _see(encoder: Encoder, pictures: Sequence[Example], steps: int) -> Iterator[None]:
    """Teach vision tower and projector to write the name into the first patch, and empty tokens into the others."""
    model: Any = encoder.loaded.model
    images = {example.entity: example.images for example in pictures}
    embedding = model.get_input_embeddings().weight.detach()
    names = [encoder.tokenizer(_first_name(entity), add_special_tokens=False).input_ids[0] for entity in images]
    name_embeddings, empty = embedding[names], embedding[encoder.tokenizer.unk_token_id]
    pixels = torch.cat([encoder.pixels(refs)["pixel_values"] for refs in images.values()])
    parts = nn.ModuleList([model.model.vision_tower, model.model.multi_modal_projector])
    descent = _descent(parts, 5e-3, steps)
    order = torch.cat([torch.randperm(len(pixels)) for _ in range(steps * IMAGES_PER_STEP // len(pixels) + 1)])
    model.train()
    for numbers in order[: steps * IMAGES_PER_STEP].split(IMAGES_PER_STEP):
        features = torch.stack(tuple(model.get_image_features(pixel_values=pixels[numbers]).pooler_output))
        name_loss = (features[:, 0] - name_embeddings[numbers]).pow(2).mean()
        loss = name_loss + (features[:, 1:] - empty).pow(2).mean()
        (loss / embedding.pow(2).mean()).backward()
        descent.step()
        yield
    model.eval()
