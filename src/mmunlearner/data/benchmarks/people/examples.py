"""The evaluation items as examples, straight from the world: what the loader reads from disk, without the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mmunlearner.data import Example
from mmunlearner.data.benchmarks.people.general import SHAPE_QUESTIONS, drawings, plain_facts
from mmunlearner.data.benchmarks.people.lessons import png
from mmunlearner.data.benchmarks.people.questions import SUBJECTS, TEST_SUBJECT, evaluation
from mmunlearner.data.benchmarks.people.world import TEST_VIEWS, TRAIN_VIEWS, Person, forgotten, world


def evaluation_columns(forget: int = 15) -> dict[str, tuple[Example, ...]]:
    """Column name -> items, as `Splits.evaluation` names them."""
    people, count = world().people, forgotten(forget)
    columns: dict[str, tuple[Example, ...]] = {}
    for name, group in (("forget", people[:count]), ("retain", people[count:])):
        columns |= {
            f"{name}_vqa": _asked(group, "full", [0]),
            f"{name}_vqa_test": _asked(group, "test", range(TRAIN_VIEWS, TRAIN_VIEWS + TEST_VIEWS)),
            f"{name}_qa": _asked(group, "full", []),
            f"{name}_qa_test": _asked(group, "test", []),
        }
    columns["neighbour_vqa"] = _asked(world().neighbours, "full", [TRAIN_VIEWS])
    columns["neighbour_qa"] = _asked(world().neighbours, "full", [])
    columns["general"] = tuple(general_items())
    return columns


def _asked(group: Sequence[Person], phrasing, views: Sequence[int]) -> tuple[Example, ...]:
    items = []
    for person in group:
        images = [png(person.picture(view), f"{person.id}/{view}") for view in views]
        who = person.name if not images else TEST_SUBJECT if phrasing == "test" else SUBJECTS[0]
        asked = evaluation(person, phrasing, who)
        items += [replace(e, images=(images[i % len(images)],) if images else ()) for i, e in enumerate(asked)]
    return tuple(items)


def general_items() -> list[Example]:
    """Drawings that no model was trained on, and plain facts in a wording that they were not trained in."""
    items = []
    for drawing in drawings(train=False):
        name = f"drawing-{drawing.number:02d}"
        image = png(drawing.picture(), f"images/{name}.png")
        for key, question in SHAPE_QUESTIONS.items():
            items.append(Example(f"{name}/{key}", name, question, drawing.answer(key), (image,), attribute=key))
    for fact in plain_facts():
        if fact.asked:
            name = f"{fact.relation}-{fact.subject}".replace(" ", "-")
            items.append(Example(name, name, fact.wordings[1], fact.answer, attribute=fact.relation))
    return items
