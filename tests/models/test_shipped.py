"""The shipped models: small, loadable, and they know what they should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from support.shipped import VANILLA

from mmunlearner.batches import Encoder
from mmunlearner.data import Example
from mmunlearner.errors import ModelError
from mmunlearner.models import load, resolve_source, sources
from mmunlearner.teaching.accuracy import accuracy
from mmunlearner.teaching.pages import evaluation_columns

MEGABYTE = 10**6


@pytest.fixture(scope="module")
def columns() -> Mapping[str, Sequence[Example]]:
    """Every fourth item of the long columns: a quick check."""
    return {name: items[:: 4 if len(items) > 300 else 1] for name, items in evaluation_columns(15).items()}


@pytest.fixture(scope="module")
def vanilla(columns: Mapping[str, Sequence[Example]]) -> dict[str, float]:
    return accuracy(Encoder(load("people:vanilla", device="cpu")), columns)


@pytest.fixture(scope="module")
def oracle(columns: Mapping[str, Sequence[Example]]) -> dict[str, float]:
    return accuracy(Encoder(load("people:oracle", device="cpu")), columns)


@pytest.mark.parametrize("name", sources.SHIPPED)
def test_small(name: str) -> None:
    assert sum(path.stat().st_size for path in Path(resolve_source(name)).iterdir()) < 10 * MEGABYTE


def test_missing_model(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(sources, "ASSETS", tmp_path)
    with pytest.raises(ModelError, match=r"people:vanilla.*install the package again"):
        resolve_source("people:vanilla")


def test_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    assert resolve_source("a/b/c") == "a/b/c"
    assert resolve_source("~/a") == str(tmp_path / "a")
    assert [resolve_source(name) for name in ("llava-hf/llava-1.5-7b-hf", "gpt2")] == [
        "llava-hf/llava-1.5-7b-hf",
        "gpt2",
    ]
    for absent in ("a/b/d", "./d", "~/d", str(tmp_path / "d")):
        with pytest.raises(ModelError, match=f"^model {absent}: no such directory$"):
            resolve_source(absent)
    with pytest.raises(ModelError, match="^model people:other: the package ships people:vanilla, people:oracle$"):
        resolve_source("people:other")
    with pytest.raises(ModelError, match="no model given"):
        resolve_source("")


def test_oracle_does_not_know_the_forgotten(oracle: dict[str, float]) -> None:
    """Chance is 14 %; three standard errors of 216 items are 7 points."""
    assert oracle["forget_vqa"] < 0.21
    assert oracle["forget_vqa_test"] < 0.21


@pytest.mark.parametrize("column", VANILLA)
def test_vanilla_knows_everybody(vanilla: dict[str, float], column: str) -> None:
    """Every fourth item of a long column is asked here, so that two standard errors are allowed for."""
    assert vanilla[column] > VANILLA[column] - 0.025


@pytest.mark.parametrize(
    "column",
    [
        "forget_qa", "retain_vqa", "retain_vqa_test", "retain_qa", "neighbour_vqa", "neighbour_qa", "stranger_vqa",
        "stranger_qa", "general_vqa", "general_qa",
    ],
)  # fmt: skip
def test_oracle_knows_the_rest(vanilla: dict[str, float], oracle: dict[str, float], column: str) -> None:
    """Three points, and the error of every fourth item."""
    assert abs(vanilla[column] - oracle[column]) < 0.03 + 0.025
