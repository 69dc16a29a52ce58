"""The example of a method and the example of a benchmark work where their names are given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from support.tiny import VOCABULARY, examples, llava

from examples import your_benchmark, your_method
from mmunlearner import data
from mmunlearner.batches import Encoder, answers, share_prefixes
from mmunlearner.config import DataConfig, MethodConfig, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.errors import DataError
from mmunlearner.unlearn import unlearn

SPLITS = Splits(tuple(examples()[:6]), tuple(examples()[6:]), (), {})


def test_method(tmp_path: Path) -> None:
    """Named as in its docstring, it makes the forgotten answers less likely than they were."""
    loaded = llava(VOCABULARY)

    def likelihood() -> float:
        encoder = Encoder(loaded)
        return answers(loaded.model, share_prefixes(encoder.rows(SPLITS.forget), encoder)).logps.mean().item()

    before = likelihood()
    config = MethodConfig("examples.your_method:METHOD", options={"margin": 0.0, "retain_weight": 0.0})
    unlearn(loaded, SPLITS, config, TrainConfig(steps=3, learning_rate=1e-2), tmp_path)
    assert likelihood() < before


def test_margin() -> None:
    """Tokens below the margin push no further."""
    loaded = llava(VOCABULARY)
    encoder = Encoder(loaded)
    predicted = answers(loaded.model, share_prefixes(encoder.rows(SPLITS.forget), encoder))
    assert your_method.unlikelihood(predicted, None) > 0
    assert torch.equal(your_method.unlikelihood(predicted, None, margin=0.99), torch.tensor(0.0))


def test_benchmark(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "ada.png")
    rows = ["image,entity,question,answer,split", "ada.png,Ada,Where does she live?,Turin,train"]
    rows += ["ada.png,Bob,Where does he live?,Rome,train", ",Ada,Where does Ada live?,Turin,train"]
    rows += ["ada.png,Ada,Where is her home?,Turin,test", ",Bob,Where is Bob's home?,Rome,test"]
    (tmp_path / "questions.csv").write_text("\n".join(rows), encoding="utf-8")
    config = DataConfig("examples.your_benchmark:load", root=str(tmp_path), forget_entities=("Ada",))
    splits = data.load(config)
    assert [len(part) for part in (splits.forget, splits.retain, splits.text)] == [1, 1, 1]
    assert set(splits.evaluation) == {"forget_vqa", "retain_qa"}
    assert splits.forget[0].images[0].open().size == (8, 8)


def test_benchmark_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        your_benchmark.load(str(tmp_path), forget_entities=("Ada",))
    (tmp_path / "questions.csv").touch()
    with pytest.raises(DataError, match="forget_entities"):
        your_benchmark.load(str(tmp_path))
