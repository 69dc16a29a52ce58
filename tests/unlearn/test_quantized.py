"""Adapters on weights of 8 or 4 bits: the mask acts on the effective weights, and whole weights are saved."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import util
from pathlib import Path

import pytest
import torch
from support.progress import interrupt_at
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import models, saliency
from mmunlearner.batches import Encoder, answers, share_prefixes
from mmunlearner.config import (
    DataConfig,
    EvaluateConfig,
    FinetuneConfig,
    LoadConfig,
    LoraConfig,
    MaskConfig,
    MethodConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
)
from mmunlearner.core.files import read_jsonl
from mmunlearner.data import Splits
from mmunlearner.data.benchmarks import rows
from mmunlearner.errors import ConfigError, MaskError, ModelError
from mmunlearner.evaluate import quick_scores
from mmunlearner.models import candidates
from mmunlearner.models.quantization import check_quantization
from mmunlearner.run import single
from mmunlearner.run.forecast import forecast
from mmunlearner.unlearn import Lora, unlearn
from mmunlearner.unlearn.masking import Masking

IMAGES = examples(3, 2)
SPLITS = Splits(tuple(IMAGES[:6]), tuple(IMAGES[6:]), tuple(examples(3, 1, images=False)), {})
TRAIN = TrainConfig(steps=3, retain_per_forget=2, batch_size=2, learning_rate=1e-2, warmup=0, save_every=2)
ADAPTER = Lora(LoraConfig(rank=2))
PARTS = ("vision", "projector", "language")

needs_bitsandbytes = pytest.mark.skipif(
    util.find_spec("bitsandbytes") is None, reason='no bitsandbytes: pip install "mmunlearner[quantize]"'
)
KINDS = ("int8", "nf4")
both = pytest.mark.parametrize("quantize", KINDS)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return models.save(llava(VOCABULARY, width=64), tmp_path_factory.mktemp("quantized") / "vanilla")


@pytest.fixture(scope="module")
def mask(source) -> saliency.Mask:
    """Made with whole weights."""
    return saliency.compute(Encoder(models.load(source)), SPLITS, MaskConfig(parts=PARTS))


def run(source, work, quantize, *, mask=None, train=TRAIN, **more):
    method = MethodConfig("mmunlearner" if mask else "npo")  # NPO asks the model before it trains it
    loaded = models.load(source, quantize=quantize)
    return unlearn(loaded, SPLITS, method, train, work, mask=mask, adapter=ADAPTER, **more)


def factors(model, mask=None) -> dict[str, torch.Tensor]:
    """Gradients of the adapters' factors by the forget term, masked or by peft's own backward; factors drawn alike."""
    torch.manual_seed(0)
    adapted = ADAPTER.wrap(model.model, PARTS)
    trained = {name: p for name, p in adapted.model.named_parameters() if p.requires_grad}
    for p in trained.values():
        torch.nn.init.normal_(p, std=0.01)
    encoder = Encoder(model)
    with Masking(adapted.weights, mask).on("forget"):
        answers(adapted.model, share_prefixes(encoder.rows(SPLITS.forget), encoder)).nll.mean().backward()
    return {name: p.grad for name, p in trained.items() if p.grad is not None}


def distance(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    """Between all gradients, relative to the first."""
    assert left.keys() == right.keys()
    squares = [((left[n] - right[n]).pow(2).sum().item(), left[n].pow(2).sum().item()) for n in left]
    return math.sqrt(sum(d for d, _ in squares) / sum(s for _, s in squares))


@needs_bitsandbytes
def test_gradients_are_those_of_the_weights_that_the_bits_stand_for(source, mask):
    """The masked gradient of the effective weight, as with the same weights written out in float32.

    Of 4 bits alone: beside weights of 8 bits activations are of 8 bits too.
    """
    loaded = models.load(source, quantize="nf4")
    levels = replace(loaded, model=models.load(source, quantize="nf4").model.dequantize(torch.float32))
    assert distance(factors(levels, mask), factors(loaded, mask)) < 1e-5


@pytest.mark.parametrize("quantize", ["none", *(pytest.param(name, marks=needs_bitsandbytes) for name in KINDS)])
def test_a_mask_of_ones_is_no_mask(source, mask, quantize):
    ones = {name: torch.full_like(bits, 255) for name, bits in mask.bits.items()}
    whole = replace(mask, bits=ones)
    found, expected = (factors(models.load(source, quantize=quantize), some) for some in (whole, None))
    assert distance(expected, found) < 1e-6
    assert distance(expected, factors(models.load(source, quantize=quantize), mask)) > 0.1


@needs_bitsandbytes
@both
def test_linear_weights_are_quantised_and_the_head_is_not(source, quantize):
    whole, loaded = models.load(source), models.load(source, quantize=quantize)
    kinds = {name: type(module).__name__ for name, module in loaded.model.named_modules()}
    packed = {"int8": "Linear8bitLt", "nf4": "Linear4bit"}[quantize]
    linear = {n for n, m in whole.model.named_modules() if type(m) is torch.nn.Linear} - {"lm_head"}
    assert {name for name, kind in kinds.items() if kind == packed} == linear
    assert kinds["lm_head"] == "Linear"
    assert candidates(loaded.model) == candidates(whole.model)


@needs_bitsandbytes
@both
@pytest.mark.parametrize("masked", [False, True])
def test_whole_weights_come_out(source, mask, tmp_path, quantize, masked):
    """The adapters are merged into the weights as they were loaded, s B A: nothing is rounded to levels."""
    done = run(source, tmp_path / "work", quantize, mask=mask if masked else None)
    models.save(done.loaded, tmp_path / "made")
    read, start = models.load(tmp_path / "made"), dict(models.load(source).model.named_parameters())
    assert {p.dtype for p in read.model.parameters()} == {torch.float32}
    differing = {name for name, p in read.model.named_parameters() if not torch.equal(p, start[name])}
    assert differing == set(candidates(read.model)) - {n for n in start if "patch_embedding" in n or ".post_" in n}
    assert done.weight_changes.inside > 0
    ranks = [
        torch.linalg.matrix_rank(p - start[n], rtol=1e-3) for n, p in read.model.named_parameters() if n in differing
    ]
    assert max(map(int, ranks)) <= ADAPTER.config.rank
    assert quick_scores(read, {"forget_vqa": IMAGES[:6]}, config=EvaluateConfig())["forget_vqa"].n == 6


@needs_bitsandbytes
@both
def test_short_formats_and_recomputed_activations_go_with_it(source, mask, tmp_path, quantize):
    """As on a card: bfloat16 wherever nothing is quantised. The losses are those of float32 to a few digits."""
    short = models.load(source, quantize=quantize, dtype="bfloat16")
    slow, recomputed = replace(TRAIN, learning_rate=1e-3), replace(TRAIN, learning_rate=1e-3, checkpointing=True)
    done = unlearn(
        short,
        SPLITS,
        MethodConfig(),
        recomputed,
        tmp_path / "short",
        mask=mask,
        adapter=ADAPTER,
        dtype="bfloat16",
    )
    run(source, tmp_path / "long", quantize, mask=mask, train=slow)
    assert {p.dtype for p in done.loaded.model.parameters()} == {torch.bfloat16}
    lines, expected = (read_jsonl(tmp_path / name / "log.jsonl") for name in ("short", "long"))
    assert [line["retain"] for line in lines] == pytest.approx([line["retain"] for line in expected], rel=0.02)


@needs_bitsandbytes
@both
def test_interrupted_run_ends_with_the_same_weights(source, mask, tmp_path, quantize):
    whole = run(source, tmp_path / "whole", quantize, mask=mask)
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "cut", quantize, mask=mask, progress=interrupt_at(3))
    resumed = run(source, tmp_path / "cut", quantize, mask=mask)
    for left, right in zip(whole.loaded.model.parameters(), resumed.loaded.model.parameters(), strict=True):
        assert torch.equal(left, right)


@needs_bitsandbytes
def test_quantised_weights_are_not_trained_themselves_and_make_no_mask(source, tmp_path):
    loaded = models.load(source, quantize="nf4")
    with pytest.raises(ConfigError, match=r"8 or 4 bits cannot be trained; train adapters \(lora.rank 16\)"):
        unlearn(loaded, SPLITS, MethodConfig("ga_diff"), TRAIN, tmp_path / "work")
    with pytest.raises(MaskError, match="no gradients to make a mask of; load it with model.quantize none"):
        saliency.compute(Encoder(loaded), SPLITS, MaskConfig())


@needs_bitsandbytes
def test_a_model_may_be_asked_with_few_bits(source, tmp_path):
    """By the command that evaluates: what a model knows once it is quantised."""
    splits = ("train", "eval")
    rows.write(tmp_path / "data", [rows.as_row(replace(e, id=f"{s}/{e.id}"), s) for s in splits for e in IMAGES])
    data = DataConfig(format="rows", root=str(tmp_path / "data"), forget_entities=("ann",))
    answered = []
    for quantize in ("none", "nf4"):
        load, out = LoadConfig(quantize=quantize, device="cpu"), tmp_path / quantize
        single.evaluate(str(source), out, data=data, evaluate=EvaluateConfig(max_new_tokens=3), load=load)
        answered.append((out / "forget_vqa.jsonl").read_text())
    assert answered[0] != answered[1]


@needs_bitsandbytes
def test_a_mask_of_another_model_is_refused(source, mask, tmp_path):
    """Bits of the weights cannot tell; the whole weights can."""
    other = models.save(llava(VOCABULARY, width=64, seed=1), tmp_path / "other")
    with pytest.raises(MaskError, match="same architecture, other weights"):
        run(other, tmp_path / "work", "nf4", mask=mask)


def test_without_bitsandbytes_the_remedy_is_said(source, monkeypatch):
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r'nf4: bitsandbytes is not installed; pip install "mmunlearner\[quantize\]"'):
        models.load(source, quantize="nf4")


def test_what_cannot_be_trained_is_said_before_anything_begins(tmp_path):
    """In a run, its dry run, and a step of its own."""
    config = RunConfig(model=ModelConfig(vanilla=str(tmp_path), quantize="nf4"), methods={"npo": MethodConfig("npo")})
    told = r"model.quantize nf4, model.lora.rank 0: weights of 8 or 4 bits cannot be trained"
    for begin in (check_quantization, forecast):
        with pytest.raises(ConfigError, match=told):
            begin(config)
    load = LoadConfig(quantize="nf4")
    with pytest.raises(ConfigError, match=told):
        single.unlearn("gone", tmp_path / "made", method=MethodConfig("npo"), data=DataConfig(), train=TRAIN, load=load)
    with pytest.raises(ConfigError, match="such weights have no gradients to make a mask of"):
        single.mask("gone", tmp_path / "mask", data=DataConfig(), mask=MaskConfig(), load=load)


def test_fine_tuning_may_have_adapters_of_its_own():
    model = ModelConfig(base="base", quantize="int8", lora=LoraConfig(rank=4))
    config = RunConfig(model=model, methods={"npo": MethodConfig("npo")})
    check_quantization(config)
    assert config.finetune_lora.rank == 4
    own = replace(config, finetune=FinetuneConfig(lora=LoraConfig(rank=0)))
    with pytest.raises(ConfigError, match=r"finetune.lora.rank 0"):
        check_quantization(own)
    check_quantization(replace(own, model=replace(model, vanilla="made", oracle="made")))  # nothing is fine-tuned
