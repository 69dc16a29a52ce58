"""Folds: sets of people to forget, so that settings are chosen on some people and reported on others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmunlearner.data.benchmarks.people.world import PEOPLE, SEED, forgotten, world


def _folds() -> Mapping[str, tuple[str, ...]]:
    ids = [person.id for person in world().people]
    first = forgotten(15)
    # A random stream of its own, as each part of the world has one.
    rng = np.random.default_rng([SEED, 10])
    others = [ids[i] for i in first + rng.permutation(PEOPLE - first)]
    twelves = {f"12{letter}": tuple(others[12 * k : 12 * (k + 1)]) for k, letter in enumerate("abcd")}
    return {
        "12": tuple(ids[:first]),
        **twelves,
        "24": twelves["12c"] + twelves["12d"],
        "4": tuple(others[48:52]),
        "1": (others[52],),
    }


FOLDS = _folds()
"""Name -> ids of the people to forget. `12` is the benchmark's own set of 15 %, to which the shipped oracle belongs.
All are disjoint but `24`, which is 12c and 12d together. Fifteen people are in none."""
SHIPPED = "12"
"""Fold of the oracle that the package ships."""
CHOOSING = (SHIPPED, "12a")
"""Folds on which settings are chosen; the others are for reports."""
