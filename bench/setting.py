"""What both sides work on: a model, people, and how much of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from bench import model, people
from mmunlearner import data
from mmunlearner.config import DataConfig, MethodConfig, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.files import staged_dir
from mmunlearner.models import Loaded, load, save
from mmunlearner.people import export
from mmunlearner.unlearn import unlearn


@dataclass(frozen=True)
class Size:
    """How much work there is."""

    forget: int
    retain: int
    neighbours: int
    layers: int
    side: int
    """Of an image, in pixels: 336 makes 576 tokens."""
    lessons: int
    """Steps that teach the model the form of an answer, so that its answers end."""


FULL = Size(forget=1, retain=2, neighbours=1, layers=11, side=336, lessons=30)
QUICK = Size(forget=1, retain=1, neighbours=1, layers=1, side=112, lessons=2)


def prepare(work: Path, size: Size) -> Path:
    """Write people and model to a folder below `work`, unless they are there."""
    folder = work / "-".join(str(number) for number in vars(size).values())
    if not folder.exists():
        with staged_dir(folder) as stage:
            people.write(stage / "data", forget=size.forget, retain=size.retain, neighbours=size.neighbours)
            save(
                _taught(model.build(layers=size.layers, side=size.side), splits(stage), size, stage / "work"),
                stage / "model",
            )
    return folder


def splits(folder: Path) -> Splits:
    return data.load(DataConfig(format="mllmu", root=str(folder / "data"), forget=5), seed=0)


def loaded(folder: Path) -> Loaded:
    return load(folder / "model", device="cpu")


def known(work: Path) -> Path:
    """The embedded benchmark in a folder below `work`: people whom its vanilla model knows."""
    folder = work / "people"
    if not folder.exists():
        with staged_dir(folder) as stage:
            export.prepare(stage / "data")
            save(load("people:vanilla", device="cpu"), stage / "model")
    return folder


def known_splits(folder: Path) -> Splits:
    return data.load(DataConfig(root=str(folder / "data")), seed=0)


def _taught(untaught: Loaded, known: Splits, size: Size, work: Path) -> Loaded:
    config = TrainConfig(steps=size.lessons, optimizer="muon", learning_rate=1e-2, batch_size=1, questions=99)
    taught = Splits((), (*known.forget, *known.retain, *known.text), (), {})
    started = time.monotonic()
    made = unlearn(untaught, taught, MethodConfig("finetune"), config, work).loaded
    weights = sum(p.numel() for p in made.model.parameters())
    threads = torch.get_num_threads()
    print(f"{weights / 1e6:.1f} M weights taught in {time.monotonic() - started:.0f} s, {threads} threads", flush=True)
    return made
