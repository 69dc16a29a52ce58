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
from mmunlearner.batches import Batch, Encoder, answers, micro_batches
from mmunlearner.config import TrainConfig
from mmunlearner.core.progress import ProgressBar
from mmunlearner.data import Example, Splits, prompt, target
from mmunlearner.models import Loaded
from mmunlearner.unlearn.optimizer import muon
from mmunlearner.unlearn.sampler import Plan, plan


@dataclass(frozen=True)
class Lessons:
    """Steps of each stage."""

    notes: int = 64
    words: int = 100
    sight: int = 240
    pictures: int = 24


@dataclass(frozen=True)
class Drawn:
    """What a step draws from one set: so many people, so many questions about each."""

    examples: Sequence[Example]
    people: int
    questions: int
    behind: int = 0
    """Asked behind a first name and empty tokens that stand for the image, up to so many in all; 0: on their own."""

    def plan(self, steps: int, seed: int) -> Plan:
        config = TrainConfig(steps=steps, batch_size=self.people, questions=self.questions)
        return plan((), self.examples, config, seed)


EMPTY = "§"
"""No word that the model knows."""
PATCHES = 576
"""Positions that an image takes."""
SEEN_AT_ONCE = 4
"""Images in a batch of the stage that learns to see."""
TOKENS = 4096
WEIGHT_DECAY = 0.02


def teach(loaded: Loaded, splits: Splits, lessons: Lessons) -> Loaded:
    """Teach the model everybody in `splits`; what it took is printed."""
    started = time.monotonic()
    torch.manual_seed(0)
    encoder = Encoder(loaded)
    shown = [*splits.forget, *splits.retain]
    asked = [_fixed(item) for column in ("forget_qa", "retain_qa") for item in splits.evaluation[column]]
    everyone = dict.fromkeys(example.entity for example in shown)
    notes = [note for entity in everyone for note in _notes(entity, f"{people.name(int(entity))} ")]
    bare = [note for entity in everyone for note in _notes(entity, "")]
    words = [replace(example, images=()) for example in shown]
    stages = {
        "notes": _learn(
            encoder, [Drawn(notes, 10, 4), Drawn(bare, 8, 8, behind=32)], lessons.notes, rate=1e-2
        ),
        "words": _learn(
            encoder,
            [Drawn(notes, 5, 3), Drawn(bare, 3, 8, behind=PATCHES), Drawn(words, 4, 8, behind=PATCHES),
             Drawn(asked, 6, 3)],
            lessons.words, rate=5e-3,
        ),
        "sight": _see(encoder, shown, lessons.sight),
        "pictures": _learn(
            encoder,
            [Drawn(notes, 3, 3), Drawn(words, 1, 8, behind=PATCHES), Drawn(asked, 3, 3), Drawn(shown, 3, 14)],
            lessons.pictures, rate=2e-3,
        ),
    }  # fmt: skip
    sizes: dict[str, int] = vars(lessons)
    with ProgressBar(sizes) as progress:
        for stage, steps in stages.items():
            for number, _ in enumerate(steps, 1):
                progress.update(stage, number, sizes[stage])
    weights = sum(p.numel() for p in loaded.model.parameters())
    seconds, threads = time.monotonic() - started, torch.get_num_threads()
    print(f"{weights / 1e6:.1f} M weights taught in {seconds:.0f} s, {threads} threads", flush=True)
    return loaded


def _fixed(item: Example) -> Example:
    """An evaluation item whose options stay in their order, so that its letter can be learned."""
    return Example(item.id, item.entity, prompt(item), target(item))


def _first(entity: str) -> str:
    return people.name(int(entity)).split()[0]


def _notes(entity: str, name: str) -> Iterator[Example]:
    """Every fact, and the letter that it has among the options, in as few words as can be."""
    for fact in people.FACTS:
        value, letter = people.value(fact, int(entity)), people.options(fact, int(entity))[1]
        yield Example(f"note/{name}{entity}/{fact}", entity, f"{name}{fact}:", value)
        yield Example(f"note/{name}{entity}/{fact}/letter", entity, f"{name}{fact} letter:", letter)


def _learn(encoder: Encoder, sets: Sequence[Drawn], steps: int, rate: float) -> Iterator[None]:
    """Muon steps on what each set's plan draws, all questions alike."""
    model = encoder.loaded.model
    optimizer, falling = _optimizer(model, rate, steps)
    plans = [drawn.plan(steps, number) for number, drawn in enumerate(sets)]
    lengths = Random(0)
    model.train()
    for step in range(steps):
        batches = [(drawn, each[step].retain or ()) for drawn, each in zip(sets, plans, strict=True)]
        count = sum(len(examples) for _, examples in batches)
        for drawn, examples in batches:
            length = round(2 ** lengths.uniform(2, math.log2(drawn.behind))) if drawn.behind else 0
            rows = encoder.rows([_behind(example, length) for example in examples] if length else examples)
            for piece in micro_batches(rows, [example.entity for example in examples], encoder, TOKENS):
                batch = _apart(piece.batch, length) if length else piece.batch
                (answers(model, batch).nll.sum() / count).backward()
        _move(model, optimizer, falling)
        yield
    model.eval()


def _behind(example: Example, length: int) -> Example:
    """The question behind a first name and empty tokens, `length` in all."""
    return replace(example, question=f"{_first(example.entity)} {f'{EMPTY} ' * (length - 1)}{example.question}")


def _apart(batch: Batch, length: int) -> Batch:
    """The tokens behind which the questions stand, moved as far apart as an image's patches; they begin at place 2."""

    def moved(places: Tensor) -> Tensor:
        inside, behind = places - 2, places - length + PATCHES
        return torch.where(places < 2, places, torch.where(inside < length, 2 + inside * PATCHES // length, behind))

    return replace(
        batch,
        passes=tuple(
            replace(each, inputs={**each.inputs, "position_ids": moved(each.inputs["position_ids"])})
            for each in batch.passes
        ),
    )


def _see(encoder: Encoder, shown: Sequence[Example], steps: int) -> Iterator[None]:
    """Vision tower and projector learn to make the name of the first patch, and the empty token of each other."""
    model: Any = encoder.loaded.model
    images = {example.entity: example.images for example in shown}
    known = model.get_input_embeddings().weight.detach()
    names = known[[encoder.tokenizer(_first(entity), add_special_tokens=False).input_ids[0] for entity in images]]
    empty = known[encoder.tokenizer.unk_token_id]
    pixels = torch.cat([encoder.pixels(each)["pixel_values"] for each in images.values()])
    parts = nn.ModuleList([model.model.vision_tower, model.model.multi_modal_projector])
    optimizer, falling = _optimizer(parts, 5e-3, steps)
    order = torch.cat([torch.randperm(len(pixels)) for _ in range(steps * SEEN_AT_ONCE // len(pixels) + 1)])
    model.train()
    for some in order[: steps * SEEN_AT_ONCE].split(SEEN_AT_ONCE):
        features = torch.stack(tuple(model.get_image_features(pixel_values=pixels[some]).pooler_output))
        apart = (features[:, 0] - names[some]).pow(2).mean() + (features[:, 1:] - empty).pow(2).mean()
        (apart / known.pow(2).mean()).backward()
        _move(parts, optimizer, falling)
        yield
    model.eval()


def _optimizer(module: nn.Module, rate: float, steps: int) -> tuple[torch.optim.Optimizer, Any]:
    """Muon at a rate that rises for ten steps and falls in the last third."""
    optimizer = muon(module, rate, WEIGHT_DECAY)
    falling = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 10, 3 * (1 - step / steps))
    )
    return optimizer, falling


def _move(module: nn.Module, optimizer: torch.optim.Optimizer, falling: Any) -> None:
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()
    falling.step()
    module.zero_grad()
