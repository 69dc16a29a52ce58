"""Examples, the splits that they form, and the one rule that groups them. Independent of any model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from mmunlearner.data.images import ImageRef, image_keys

Task = Literal["generation", "cloze", "multiple_choice"]
T = TypeVar("T")


@dataclass(frozen=True)
class Example:
    """One question about one entity, with or without images of it."""

    id: str
    """Unique within its benchmark, e.g. `Full_Set/017/vqa/multiple_choice/2`."""
    entity: str
    """Person or thing that it is about; standard errors are clustered by it."""
    question: str
    """The question alone: no options, no instruction (see `prompts`). Cloze: the blank is written `__`."""
    answer: str
    """The truth in words; for multiple choice the text of the right option."""
    images: tuple[ImageRef, ...] = ()
    """Images that it asks about, in order: mostly one. Without images it is a text-only question (QA), else a VQA."""
    task: Task = "generation"
    choices: tuple[str, ...] = ()
    """Multiple choice: the options' texts in order A, B, C, ...; `answer` is one of them."""
    perturbed: tuple[str, ...] = ()
    """Wrong answers of the same form, for the truth ratio."""
    paraphrase: str = ""
    """The truth in other words, for the truth ratio; empty where there is none."""
    attribute: str = ""
    """Fact that is asked for (e.g. `Occupation`); empty if the benchmark does not tell."""
    longer: tuple[str, ...] = ()
    """Other answers to the same attribute that contain this one: `South Sudan` where it is `Sudan`."""
    shots: tuple[Example, ...] = ()
    """Few-shot: questions of the same kind about other entities, shown with their answers before this one."""

    @property
    def modality(self) -> Literal["vqa", "qa"]:
        return "vqa" if self.images else "qa"

    @property
    def image(self) -> ImageRef | None:
        """The first image, where there is one."""
        return self.images[0] if self.images else None

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Keys of its images, in order; empty for a text."""
        return image_keys(self.images)


TRAINING_SETS = ("forget", "retain", "text", "background")


@dataclass(frozen=True)
class Splits:
    """The parts of a benchmark that a run uses: training sets and evaluation columns."""

    forget: tuple[Example, ...]
    """Training VQA of the entities to forget."""
    retain: tuple[Example, ...]
    """Training VQA of the other entities, for the retain term."""
    text: tuple[Example, ...]
    """Text-only QA that protects textual knowledge, also about the entities to forget (P of the language part)."""
    evaluation: Mapping[str, tuple[Example, ...]]
    """Column -> its items: forget_vqa, forget_vqa_test, forget_qa, retain_vqa, ..., general_qa."""
    background: tuple[Example, ...] = ()
    """Further training data of vanilla model and oracle: neighbours, strangers, general. Unlearning never sees them."""

    @property
    def vanilla_training(self) -> tuple[Example, ...]:
        """Training data of the vanilla model: all there are."""
        return self.forget + self.retain + self.text + self.background

    @property
    def oracle_training(self) -> tuple[Example, ...]:
        """Training data of the retain oracle: all except the images of the entities to forget."""
        # The texts are not left out: the oracle knows in words what it never saw, which is the aim of unlearning too.
        return self.retain + self.text + self.background

    @property
    def sets(self) -> dict[str, tuple[Example, ...]]:
        """All questions: the training sets and the evaluation columns, by name."""
        return {name: getattr(self, name) for name in TRAINING_SETS} | dict(self.evaluation)

    @property
    def forget_entities(self) -> frozenset[str]:
        return frozenset(example.entity for example in self.forget)


def subject_key(images: Sequence[ImageRef], owner: str) -> tuple[str, ...]:
    """Return the key that all questions about the same images share, and all texts of one owner.

    This is the one rule for questions that belong together: they have the same images in the same order, or no images
    and the same owner (an entity, or any other name that the caller groups texts by).
    """
    # With the word `text` in front, an owner can never equal the key of an image, which is a bare hash.
    return image_keys(images) or (f"text {owner}",)


def group_by(items: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """Return the items in groups of equal key; groups and the items in them keep the order of the input."""
    # Not `itertools.groupby`: equal keys need not stand next to each other, and sorting would change the order.
    groups: defaultdict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


def group_by_image(examples: Iterable[Example]) -> list[list[Example]]:
    """Return the examples in groups that ask about the same images, or, without images, about the same entity."""
    return group_by(examples, lambda example: subject_key(example.images, example.entity))


def entities_in_turn(groups: Iterable[list[Example]]) -> list[list[Example]]:
    """Return groups of examples in turn by entity: the first group of every entity, then the second of every one, ...

    The entity of a group is that of its first example; entities keep the order in which they first appear.
    """
    queues = group_by(groups, lambda group: group[0].entity)
    rounds = max(map(len, queues), default=0)
    # An entity with few groups is left out of the later rounds.
    return [queue[number] for number in range(rounds) for queue in queues if number < len(queue)]
