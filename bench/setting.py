"""Model and data of both sides: a model that knows its people, and the few of them that a measurement is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import model, people
from bench.teaching import Lessons, teach
from mmunlearner import data
from mmunlearner.config import DataConfig
from mmunlearner.core.files import staged_dir
from mmunlearner.data import Example, Splits
from mmunlearner.models import Loaded, attention, load, save


@dataclass(frozen=True)
class Size:
    """Amount of work."""

    forget: int
    retain: int
    neighbours: int
    layers: int
    side: int
    """Of an image, in pixels: 336 makes 576 tokens."""
    lessons: Lessons


FULL = Size(forget=1, retain=19, neighbours=1, layers=11, side=336, lessons=Lessons())
QUICK = Size(forget=1, retain=1, neighbours=1, layers=1, side=112, lessons=Lessons(2, 2, 2, 2))
KEPT = 2
"""People to keep, of all there are, in measurements other than a full run."""


def prepare(work: Path, size: Size) -> Path:
    """Write people and a model that knows them to a folder below `work`, unless they are there."""
    numbers = [*(value for value in vars(size).values() if value is not size.lessons), *vars(size.lessons).values()]
    folder = work / "-".join(map(str, numbers))
    if not folder.exists():
        with staged_dir(folder) as stage:
            people.write(stage / "data", forget=size.forget, retain=size.retain, neighbours=size.neighbours)
            untrained = model.build(layers=size.layers, side=size.side)
            attend(untrained, "ours")
            save(teach(untrained, splits(stage), size.lessons), stage / "model")
    return folder


def splits(folder: Path) -> Splits:
    """Load everybody's questions."""
    return data.load(DataConfig(format="mllmu", root=str(folder / "data"), forget=5), seed=0)


def few(everybody: Splits) -> Splits:
    """Return the questions about those to forget and the neighbours, and about the first of those to keep."""
    first = list(dict.fromkeys(example.entity for example in everybody.retain))[:KEPT]
    people = {*first, *(example.entity for example in everybody.forget)}

    def chosen(examples: Sequence[Example], entities: set[str]) -> tuple[Example, ...]:
        return tuple(example for example in examples if example.entity in entities)

    strangers = {e.entity for items in everybody.evaluation.values() for e in items}
    strangers -= {e.entity for e in (*everybody.forget, *everybody.retain)}
    return replace(
        everybody,
        retain=chosen(everybody.retain, people),
        text=chosen(everybody.text, people),
        evaluation={column: chosen(items, people | strangers) for column, items in everybody.evaluation.items()},
    )


def loaded(folder: Path, side: str) -> Loaded:
    """Load the trained model, with this side's attention."""
    model = load(folder / "model", device="cpu")
    attend(model, side)
    return model


def attend(loaded: Loaded, side: str) -> None:
    """Set the language model's attention: the published procedure has transformers' own."""
    loaded.model.set_attn_implementation({"text_config": "sdpa" if side == "published" else attention.NAME})
