"""Faces: the same bytes every time, and people apart."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.data.benchmarks.people.draw import render
from mmunlearner.data.benchmarks.people.faces import HATS, OPTIONS, Face, distance, random_face, random_view, visible
from mmunlearner.data.benchmarks.people.world import APART, world

seeds = st.integers(0, 2**31 - 1)


def face(seed: int) -> Face:
    return random_face(np.random.default_rng(seed))


@given(seeds, seeds)
def test_drawing_is_a_function_of_face_and_view(who: int, how: int) -> None:
    first, again = (render(face(who), random_view(np.random.default_rng(how))) for _ in range(2))
    assert first.size == (64, 64)
    assert first.mode == "RGB"
    assert first.tobytes() == again.tobytes()


@given(seeds, seeds)
def test_distance_is_a_metric_on_what_is_visible(a: int, b: int) -> None:
    first, second = face(a), face(b)
    assert distance(first, second) == distance(second, first) >= 0
    assert (distance(first, second) == 0) == (visible(first) == visible(second))


@pytest.mark.parametrize("feature", OPTIONS)
def test_every_value_of_every_feature_shows(feature: str) -> None:
    """Each value gives a picture of its own: no feature is lost in drawing."""
    plain = Face(0, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0)
    view = replace(random_view(np.random.default_rng(5)), noise=0.0, blur=0.0, tilt=0.0, turn=0.0)
    pictures = {
        hashlib.sha1(render(replace(plain, **{feature: value}), view).tobytes()).hexdigest()
        for value in range(OPTIONS[feature])
    }
    assert len(pictures) == OPTIONS[feature]


def test_what_is_hidden_is_not_counted() -> None:
    bare = Face(0, 0, 1, 0, 0, 0, 0, HATS.index("none"), 0, 0, 0)
    assert distance(bare, replace(bare, hat_colour=3)) == 0
    assert distance(replace(bare, hat=1), replace(bare, hat=1, hat_colour=3)) > 0


def test_named_people_are_apart_and_the_crowd_is_nobody() -> None:
    w = world()
    named = [person.face for person in (*w.people, *w.neighbours, *w.strangers)]
    assert min(distance(a, b) for a, b in combinations(named, 2)) >= APART
    assert min(distance(a, b) for a in named for b in w.crowd) > 0


def test_views_differ_and_are_stable() -> None:
    person = world().people[3]
    pictures = [person.picture(view).tobytes() for view in range(16)]
    assert len(set(pictures)) == 16
    assert pictures[7] == person.picture(7).tobytes()
