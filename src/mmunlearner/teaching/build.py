"""Builds a vanilla model and a retain oracle around a pretrained language model: words, then sight, then a gate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from json import dumps, loads
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from typing_extensions import TypedDict

from mmunlearner.batches import Encoder
from mmunlearner.core.files import read_json, write_json, write_tensors
from mmunlearner.core.progress import Progress
from mmunlearner.core.records import read_record
from mmunlearner.data import Example
from mmunlearner.data.benchmarks.people.general import general_items
from mmunlearner.data.benchmarks.people.questions import evaluation, training
from mmunlearner.data.benchmarks.people.small import Cast
from mmunlearner.data.benchmarks.people.world import TEST_VIEWS, TRAIN_VIEWS, world
from mmunlearner.data.load import file_hash
from mmunlearner.errors import ConfigError, DataError
from mmunlearner.models import Loaded, load, pick_device, save
from mmunlearner.models.language import find_language, llava_around
from mmunlearner.teaching.accuracy import exact_answers
from mmunlearner.teaching.pages import TrainingPages
from mmunlearner.teaching.rehearsal import bfloat16, conversation, perplexity, remember
from mmunlearner.teaching.sight import Album, Eye, Practice, learn_sight
from mmunlearner.teaching.train import side_by_side, torch_threads
from mmunlearner.teaching.words import Lessons, learn_words, pages_of

SETTINGS, WORDS, GATE = "settings.json", "words", "gate.json"
MODELS = ("vanilla", "oracle")
STEPS_PER_FACT = 0.47
"""Steps in words for each fact of each person."""
STEPS_PER_FACE = 141
"""Steps of sight for the root of the number of people."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a build makes."""

    language: str
    """GGUF file, directory or installed package of the language model."""
    cast: Cast
    """The people, facts and drawings that are taught."""
    seed: int = 0
    device: str = "auto"
    lessons: Lessons = field(default_factory=Lessons)
    practice: Practice = field(default_factory=Practice)
    items: int = 96
    """Most items of each column of the gate."""

    @classmethod
    def of(cls, language: str, cast: Cast, *, seed: int = 0, device: str = "auto") -> Plan:
        """Return the plan whose steps follow from the number of people and facts."""
        lessons = Lessons(steps=round(STEPS_PER_FACT * len(cast.people) * len(cast.facts)))
        # More faces need finer features, but each step shows as many pictures.
        practice = Practice(steps=round(STEPS_PER_FACE * len(cast.people) ** 0.5))
        return cls(language, cast, seed, device, lessons, practice)

    @property
    def costs(self) -> tuple[dict[str, float], dict[str, float]]:
        """Stage -> seconds that it takes on a quiet core, about: of what two cores do side by side, and of the rest."""
        seen = 0.3 * self.practice.steps
        side_by_side = {"memories": 40.0, "words": 8.0 * self.lessons.steps, "vanilla": seen, "oracle": seen}
        return side_by_side, {"gate": 2.0 * self.items}

    def settings(self) -> dict[str, Any]:
        """Return what two builds must have in common for one to go on where the other stopped."""
        path = find_language(self.language)
        source = file_hash(path if path.is_file() else path / "config.json")
        return {"language": source, **{name: asdict(self)[name] for name in ("cast", "seed", "lessons", "practice")}}


class Words(TypedDict):
    """What the stage of words did to the language model's own abilities."""

    perplexity_before: float
    """On held-out plain English, before the people were taught."""
    perplexity_after: float
    answers_before: dict[str, str]
    """Held-out plain questions -> greedy answers."""
    answers_after: dict[str, str]


class Check(TypedDict):
    """One condition of the gate."""

    name: str
    value: float
    bound: float
    met: bool


class Gate(TypedDict):
    """What the built models know, and whether that is enough."""

    accuracy: dict[str, dict[str, float]]
    """Model -> column -> exact answers. Columns in words are the vanilla model's; the oracle's are the same."""
    words: Words
    checks: list[Check]


def build(out: Path, plan: Plan, progress: Progress = Progress()) -> Gate:
    """Write OUT/words, OUT/vanilla, OUT/oracle and OUT/gate.json; a stage that is complete is not made again.

    The same plan gives the same bits on the same machine.

    Raises:
        ConfigError: OUT holds a build with other settings.
        DataError: OUT is a file, or holds other files.
        ModelError: the language model cannot be read.
        TrainingError: a loss is not finite.
    """
    _claim(out, plan.settings())
    with torch_threads(1):
        if not all((out / name).exists() for name in MODELS):
            _teach(out, plan, progress)
        if (out / GATE).exists():
            return read_record(out / GATE, Gate)
        words = read_record(out / WORDS / f"{WORDS}.json", Words)
        accuracies = _accuracies(out, plan, progress.child("gate"))
    gate = Gate(accuracy=accuracies, words=words, checks=list(checks(accuracies, words)))
    write_json(out / GATE, gate)
    return gate


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Note the settings in the folder, or refuse a folder of others."""
    if out.is_file():
        raise DataError(f"{out}: a file; name a folder for the models")
    if (out / SETTINGS).exists():
        if read_json(out / SETTINGS) != loads(dumps(settings)):  # as JSON writes them: tuples are lists there
            raise ConfigError(f"{out}: holds a build with other settings; name another folder, or remove it")
    elif out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out}: holds other files; name a new or empty folder")
    else:
        write_json(out / SETTINGS, settings)


def _teach(out: Path, plan: Plan, progress: Progress) -> None:
    """Write OUT/vanilla and OUT/oracle, and before them OUT/words and the eyes of both."""
    pages = pages_of(plan.cast)
    base = llava_around(plan.language, seed=plan.seed)
    base.model.to(pick_device(plan.device))  # pyright: ignore[reportArgumentType]
    model: Any = base.model
    eyes = {name: deepcopy(Eye(model)) for name in MODELS}
    # Words move no embedding, so that sight need not wait for them. Albums come first: a tokenizer is for one thread.
    embeddings = model.get_input_embeddings().weight.detach().clone()
    encoder = Encoder(base)
    people, drawings = Album.of(encoder, pages.people), Album.of(encoder, pages.drawings)
    known = torch.tensor([page[0].entity not in plan.cast.forget for page in pages.people])
    albums = {"vanilla": (people, drawings), "oracle": (people[known], drawings)}

    def see(progress: Progress) -> None:
        for name, eye in eyes.items():
            if not _eye_file(out, name).exists():
                learn_sight(eye, albums[name], embeddings, plan.practice, plan.seed, progress.child(name))
                write_tensors(_eye_file(out, name), eye.state_dict(), {})

    def read(progress: Progress) -> None:
        if not (out / WORDS).exists():
            _words(out, plan, base, pages, progress)

    side_by_side([read, see], progress, workers=None if model.device.type == "cpu" else 1)
    taught = load(out / WORDS, device="cpu")
    for name in MODELS:
        Eye(taught.model).load_state_dict(load_file(_eye_file(out, name)))
        save(taught, out / name)


def _eye_file(out: Path, name: str) -> Path:
    return out / f"eye-{name}.safetensors"


def _words(out: Path, plan: Plan, base: Loaded, pages: TrainingPages, progress: Progress) -> None:
    """Teach the language model in words, and write OUT/words with a record of what that did to it."""
    encoder = Encoder(base)
    before, said = perplexity(encoder), conversation(encoder)
    memories = remember(encoder, plan.seed, progress.child("memories"))
    learn_words(base, pages, memories, plan.lessons, plan.seed, progress.child("words"))
    words = Words(
        perplexity_before=before, perplexity_after=perplexity(encoder),
        answers_before=said, answers_after=conversation(encoder),
    )  # fmt: skip
    save(base, out / WORDS, extra={f"{WORDS}.json": dumps(words, indent=2)})


def gate_columns(plan: Plan) -> dict[str, list[Example]]:
    """Return column -> items: trained questions about trained views, and those of the evaluation in other wordings."""
    cast, columns = plan.cast, defaultdict[str, list[Example]](list)
    held_out = range(TRAIN_VIEWS, TRAIN_VIEWS + TEST_VIEWS)
    for person in world().people:
        if person.id in cast.people:
            side = "forget" if person.id in cast.forget else "retain"
            columns[f"{side}_trained"] += training(person, 0)
            columns[f"{side}_vqa"] += evaluation(person, "full", [person.image(0)])
            columns[f"{side}_vqa_test"] += evaluation(person, "test", [person.image(view) for view in held_out])
            columns[f"{side}_qa"] += [*evaluation(person, "full", ()), *evaluation(person, "test", ())]
    for person in world().neighbours:
        if person.id in cast.people:
            columns["neighbour_vqa"] += evaluation(person, "full", [person.image(TRAIN_VIEWS)])
    columns["general"] += general_items()
    rng = np.random.default_rng([plan.seed, 22])
    columns = {name: list(filter(cast.knows, items)) for name, items in columns.items()}
    return {name: [items[i] for i in rng.permutation(len(items))[: plan.items]] for name, items in columns.items()}


def _accuracies(out: Path, plan: Plan, progress: Progress) -> dict[str, dict[str, float]]:
    columns = gate_columns(plan)
    with_images = {name: items for name, items in columns.items() if any(item.images for item in items)}
    todo = [(model, name, items) for model in MODELS for name, items in columns.items()
            if model == "vanilla" or name in with_images]  # fmt: skip
    accuracies: dict[str, dict[str, float]] = {}
    encoder = None
    for number, (model, name, items) in enumerate(todo, 1):
        if model not in accuracies:
            encoder = Encoder(load(out / model, device=plan.device))
        assert encoder
        with bfloat16(encoder.loaded.model):
            hits = exact_answers(encoder, items)
        accuracies.setdefault(model, {})[name] = sum(hits) / len(hits)
        progress.update(f"{model}, column", number, len(todo))
    return accuracies


LEAST_TRAINED, LEAST_OTHER, MOST_UNSEEN, MOST_PERPLEXITY = 0.95, 0.90, 0.25, 1.10


def checks(accuracies: Mapping[str, Mapping[str, float]], words: Words) -> Iterator[Check]:
    """Yield the conditions of the gate."""
    vanilla, oracle = accuracies["vanilla"], accuracies["oracle"]

    def at_least(name: str, value: float, bound: float) -> Check:
        return Check(name=name, value=value, bound=bound, met=value >= bound)

    def at_most(name: str, value: float, bound: float) -> Check:
        return Check(name=name, value=value, bound=bound, met=value <= bound)

    trained, others = ("forget_trained", "retain_trained"), [c for c in vanilla if "_vqa" in c or "_qa" in c]
    yield at_least("vanilla, trained questions and views", _mean(vanilla, trained), LEAST_TRAINED)
    yield at_least("vanilla, other wordings and views", _mean(vanilla, others), LEAST_OTHER)
    yield at_least("oracle, retained people", _mean(oracle, [c for c in oracle if c.startswith("retain")]), LEAST_OTHER)
    # One guess in eight is right, with options one in four; the rest is room for chance.
    yield at_most("oracle, people to forget", _mean(oracle, [c for c in oracle if c.startswith("forget")]), MOST_UNSEEN)
    ratio = words["perplexity_after"] / words["perplexity_before"]
    yield at_most("perplexity of plain English, after / before", ratio, MOST_PERPLEXITY)


def _mean(values: Mapping[str, float], columns: Sequence[str]) -> float:
    return sum(values[column] for column in columns) / len(columns)
