"""Models in memory: as many as fit, the longest unused goes first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import VOCABULARY, llava

from mmunlearner.models import Loaded
from mmunlearner.web.shelf import Shelf, free_bytes, weight_bytes

MODEL = llava(VOCABULARY)
SIZE = weight_bytes(MODEL)


@pytest.fixture(autouse=True, scope="module")
def no_collection() -> Iterator[None]:
    """A collection takes a second where much is loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmunlearner.web.shelf.gc.collect", lambda: 0)
        yield


def shelf(places: float) -> tuple[Shelf, list[str]]:
    """A shelf in a memory of so many models' size, and the names that it loaded, in order."""
    loads: list[str] = []

    def load(name: str) -> Loaded:
        loads.append(name)
        return MODEL

    made = Shelf(load)
    made.free = lambda _: int((places - len(made.models)) * SIZE)
    return made, loads


@given(st.lists(st.sampled_from("abcd"), min_size=1), st.integers(1, 5))
def test_as_many_as_fit(names: Sequence[str], places: int) -> None:
    """Those used last are in memory, and only what is not there is loaded."""
    models, loads = shelf(places + 0.5)
    for number, name in enumerate(names, 1):
        before = set(models.models)
        assert models.take(name) is MODEL
        assert (loads[-1:] == [name]) or name in before
        recent = list(dict.fromkeys(reversed(names[:number])))[:places]
        assert list(models.models) == recent[::-1]


def test_one_after_the_other() -> None:
    """Where only one fits."""
    models, loads = shelf(1.2)
    for name in "abab":
        models.take(name)
        assert list(models.models) == [name]
    assert loads == list("abab")


def test_free_memory() -> None:
    assert free_bytes(torch.device("cpu")) > 0
    assert pytest.approx(sum(p.numel() for p in MODEL.model.parameters()) * 4) == SIZE
