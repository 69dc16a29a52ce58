from __future__ import annotations

import gc
import weakref

import pytest

from mmunlearner.core.cost import measured


class Node:
    """Something that refers to itself, as a model does whose forward pass was replaced."""

    def __init__(self) -> None:
        self.itself = self
        self.content = bytearray(2**26)


@pytest.fixture
def without_collector():
    gc.disable()
    yield
    gc.enable()


def test_what_earlier_work_has_left_is_let_go_of(without_collector: None) -> None:
    with measured() as baseline:
        pass
    reference = weakref.ref(Node())
    assert reference() is not None
    with measured() as cost:
        assert reference() is None
    assert cost.peak_memory_bytes < baseline.peak_memory_bytes + 2**25
