"""A few hundred mutated files; the long run is `make fuzz`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.corpora import READERS
from fuzz.reader import Corpus

UNCHECKED = (HealthCheck.too_slow, HealthCheck.data_too_large)
FAST = [name for name, reader in READERS.items() if reader.share == 1]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Corpus]:
    return cache(lambda name: Corpus(READERS[name], tmp_path_factory.mktemp("fuzz") / "corpus"))


@pytest.mark.parametrize("name", FAST)
def test_a_whole_file_is_read(corpus: Callable[[str], Corpus], name: str):
    outcome = corpus(name).attempt_whole()
    assert outcome.kind == "success", outcome.text


# Derandomised: the same files each time, since a change should not fail by a defect that it did not bring in.
@settings(derandomize=True, database=None, max_examples=12, suppress_health_check=UNCHECKED)
@given(rng=st.randoms(use_true_random=False))
@pytest.mark.parametrize("name", FAST)
def test_a_mutated_file_is_read_or_refused_in_one_line(corpus: Callable[[str], Corpus], name: str, rng: Random):
    outcome = corpus(name).attempt(rng)
    assert outcome.kind != "defect", f"{outcome.place}\n{outcome.text}"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in READERS if name not in FAST])
def test_slow_readers(corpus: Callable[[str], Corpus], name: str):
    assert corpus(name).attempt_whole().kind == "success"
    for number in range(5):
        outcome = corpus(name).attempt(Random(number))
        assert outcome.kind != "defect", f"{outcome.place}\n{outcome.text}"
