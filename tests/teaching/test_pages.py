"""Training pages: nothing of the evaluation is trained on, and every wording is trained on strangers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from mmunlearner.data import prompt, target
from mmunlearner.data.benchmarks.people.questions import PHRASES, Phrasing, evaluation, generic, subject_of
from mmunlearner.data.benchmarks.people.world import world
from mmunlearner.models import resolve_source
from mmunlearner.models.tiny import build_tokenizer
from mmunlearner.teaching.pages import TrainingPages, evaluation_columns, training_pages, with_new_options
from mmunlearner.teaching.train import vocabulary


@pytest.fixture(scope="module")
def pages() -> TrainingPages:
    return training_pages()


def test_what_the_models_are_taught_never_changes(pages: TrainingPages) -> None:
    """The shipped models and the oracles of all folds were taught on these pages; numbers decide the pictures."""
    digest = hashlib.sha256()
    for page in (*pages.people, *pages.drawings, *pages.texts):
        for e in page:
            names = [image.path for image in e.images]
            fields = [e.entity, e.question, e.answer, e.task, e.choices, e.attribute, names, prompt(e), target(e)]
            digest.update(json.dumps(fields).encode())
    assert digest.hexdigest() == "0d043b74e5811be92c8a6a87a02b9fb0148032635467c79ab9606c7db412eba2"
    # Pixels as far as all releases of the libraries that draw them agree.
    for kind, brightness in ((pages.people, 130.458), (pages.drawings, 127.274)):
        pixels = [np.asarray(page[0].images[0].open()).mean() for page in kind]
        assert np.mean(pixels) == pytest.approx(brightness, abs=0.01)


def test_the_words_of_the_shipped_models_are_those_of_pages_and_columns(pages: TrainingPages) -> None:
    """Further evaluation items bring no new word, so that a model taught today has the same vocabulary."""
    taught = build_tokenizer(vocabulary(pages, {})).get_vocab()
    assert build_tokenizer(vocabulary(pages, evaluation_columns())).get_vocab() == taught
    shipped = json.loads((Path(resolve_source("people:vanilla")) / "tokenizer.json").read_text())["model"]["vocab"]
    assert taught == shipped


def test_no_evaluation_item_is_trained_on(pages: TrainingPages) -> None:
    asked_of_images = {(example.entity, prompt(example)) for page in pages.people for example in page}
    texts = {prompt(example) for page in pages.texts for example in page}
    for person in (*world().people, *world().neighbours):
        phrasings: tuple[Phrasing, ...] = ("full",) if person in world().neighbours else ("full", "test")
        for phrasing in phrasings:
            by_image = evaluation(person, phrasing, [person.image(0)])
            assert not {(person.id, prompt(item)) for item in by_image} & asked_of_images
            assert not {prompt(item) for item in evaluation(person, phrasing, ())} & texts


def test_every_wording_is_trained_on_strangers(pages: TrainingPages) -> None:
    strangers = {person.id for person in world().strangers}
    questions = {example.question for page in pages.people for example in page if example.entity in strangers}
    phrasings: tuple[Phrasing, ...] = ("full", "test")
    for wordings in PHRASES.values():
        for phrasing in phrasings:
            question = wordings[phrasing][0].format(who=subject_of(phrasing))
            assert question[0].upper() + question[1:] in questions


def test_new_options_have_the_same_truth() -> None:
    """A model that met the same options each time would learn letters by heart."""
    rng = np.random.default_rng(0)
    person = world().people[3]
    choice = generic(person, "Pet", "choice", person.name, rng)
    redrawn = [with_new_options(choice, rng) for _ in range(20)]
    assert len({example.choices for example in redrawn}) > 15
    for example in redrawn:
        assert example.question == choice.question
        assert f"{target(example)}: {person.facts['Pet']}" in prompt(example).splitlines()
    question = generic(person, "Pet", "open", person.name, rng)
    assert with_new_options(question, rng) == question
