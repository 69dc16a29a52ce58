"""Arguments from Python pass the same checks as options of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.miniature import load as load_splits
from support.tiny import VOCABULARY, llava

from mmunlearner import data, models, saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import (
    DataConfig,
    EvaluateConfig,
    LoadConfig,
    MaskConfig,
    MethodConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
)
from mmunlearner.errors import ConfigError, MaskError
from mmunlearner.evaluate import evaluate_model
from mmunlearner.run import run as pipeline
from mmunlearner.run import single
from mmunlearner.run.checks import check
from mmunlearner.unlearn import unlearn

ASCENT = MethodConfig("ga")
VANILLA, SPLITS, HERE = llava(VOCABULARY), load_splits(""), Path("nowhere")
NAN, SHIPPED = float("nan"), ModelConfig(vanilla="people:vanilla")


def train(method: MethodConfig = ASCENT, config: TrainConfig = TrainConfig(), **more: object) -> object:
    return unlearn(VANILLA, SPLITS, method, config, HERE, **more)


def mask(config: MaskConfig, **more: object) -> object:
    return saliency.compute(Encoder(VANILLA), SPLITS, config, **more)  # pyright: ignore[reportArgumentType]


def single_mask(out: object = HERE, config: MaskConfig = MaskConfig(), seed: object = 0) -> object:
    return single.mask("people:vanilla", out, data=DataConfig(), mask=config, load=LoadConfig(), seed=seed)  # pyright: ignore


CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "a format that is none": (lambda: models.load("x", dtype="half"), "dtype: expected one of float32, bfloat16"),
    "few bits": (lambda: models.load("x", quantize="int2"), "quantize: expected one of"),  # pyright: ignore
    "attention": (lambda: models.load("x", attention="fast"), "attention: expected one of"),  # pyright: ignore
    "share": (lambda: data.load(DataConfig(forget=200)), "forget: expected 100 or less, found 200"),
    "seed of data": (lambda: data.load(DataConfig(), seed=-1), "seed: expected 0 or more, found -1"),
    "no part": (lambda: mask(MaskConfig(parts=())), "parts: expected one or more different items"),
    "beta": (lambda: mask(MaskConfig(beta=NAN)), "beta: expected a finite number, found nan"),
    "seed of a mask": (lambda: mask(MaskConfig(), seed=0.5), "seed: expected a whole number, found 0.5"),
    "steps": (lambda: train(config=TrainConfig(steps=-2)), "steps: expected 0 or more, found -2"),
    "rate": (lambda: train(config=TrainConfig(learning_rate=99)), "learning_rate: expected 10 or less, found 99"),
    "option of a method": (lambda: train(MethodConfig("npo", train={"clip": -1})), "train.clip: expected 0 or more"),
    "seed of a training": (lambda: train(seed=2**32), "seed: expected less than 4294967296"),
    "format of a training": (lambda: train(dtype="float64"), "dtype: expected one of float32, bfloat16"),
    "batches": (
        lambda: evaluate_model(VANILLA, {}, HERE, config=EvaluateConfig(batch_size=0)),
        "batch_size: expected 1 or more, found 0",
    ),
    "name": (lambda: pipeline.run(RunConfig(name="../x", model=SHIPPED)), "name: expected letters"),
    "seed of a step": (lambda: single_mask(seed=-3), "seed: expected 0 or more, found -3"),
    "a path of no system": (lambda: single_mask(out="a\0b"), "out: expected a text of printable characters"),
}


@pytest.mark.parametrize("name", CALLS)
def test_arguments_are_checked_as_options_are(name: str) -> None:
    call, message = CALLS[name]
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert not HERE.exists()


def test_a_path_is_as_good_as_a_text(tmp_path: Path) -> None:
    config = RunConfig(data=DataConfig(root=tmp_path), model=SHIPPED)  # pyright: ignore[reportArgumentType]
    assert check(config).data.root == str(tmp_path)


@pytest.mark.parametrize(
    ("method", "error", "message"),
    [
        (MethodConfig("finetune", mask=MaskConfig()), MaskError, "no forget term, so the mask would act on nothing"),
        (MethodConfig("mmunlearner"), ConfigError, "needs a mask"),
        (MethodConfig("manu", train={"steps": 10**12}), ConfigError, "train.steps: expected 1e\\+09 or less"),
    ],
)
def test_a_method_s_error_names_the_method(method: MethodConfig, error: type[Exception], message: str) -> None:
    config = replace(RunConfig(model=SHIPPED), methods={"mine": method})
    with pytest.raises(error, match=rf"^methods.mine\b.*{message}"):
        check(config)
