"""Gradient masks act on the weights as the forward pass uses them: plain, low rank, W + sin(dW), shards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tiny import VOCABULARY, examples, llava
from torch import Tensor, nn

from mmunlearner import saliency
from mmunlearner.batches import Encoder, answers, share_prefixes
from mmunlearner.config import LoraConfig, MaskConfig, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.errors import MaskError
from mmunlearner.methods import METHODS
from mmunlearner.models import Loaded
from mmunlearner.saliency import Mask
from mmunlearner.unlearn import Lora, Sine
from mmunlearner.unlearn.adapters import Adapted, WholeWeights
from mmunlearner.unlearn.masking import Masking, trainable_names
from mmunlearner.unlearn.trainer import enable_checkpointing

IMAGES, TEXTS = examples(), examples(images=False)
SPLITS = Splits(
    tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann"), tuple(TEXTS), {}
)
ALL = ("vision", "projector", "language")
DOWN = "model.language_model.layers.1.mlp.down_proj"
PROJECTOR = "model.multi_modal_projector.linear_1"


def make_mask(parts=ALL, **options) -> Mask:
    return saliency.compute(Encoder(llava(VOCABULARY)), SPLITS, MaskConfig(parts=parts, **options))


def gradients(loaded: Loaded, model: nn.Module | None = None, masking: Masking | None = None) -> dict[str, Tensor]:
    """Gradients of CE on the forget set, by name; of a masked term where there is a masking."""
    encoder, model = Encoder(loaded), model or loaded.model
    model.zero_grad()
    with (masking or Masking([], None)).on("forget"):
        answers(model, share_prefixes(encoder.rows(SPLITS.forget), encoder)).nll.mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def named(model: nn.Module) -> Mapping[str, nn.Parameter]:
    return dict(model.named_parameters(remove_duplicate=False))


PLAIN = gradients(llava(VOCABULARY))


@pytest.mark.parametrize("free", ["all", "parts", "mask"])
def test_forget_gradient_is_the_masked_gradient(free):
    """m * grad CE(forget) exactly, and nothing to any other weight: embeddings, norms, biases, the tied head."""
    mask, loaded = make_mask(("vision", "projector")), llava(VOCABULARY)
    adapted = WholeWeights(
        trainable_names(loaded.model, mask, METHODS["mmunlearner"].budget.fill(TrainConfig(free=free), 1))
    ).wrap(loaded.model)
    masked = gradients(loaded, masking=Masking(adapted.weights, mask))
    trainable = {name for name, p in loaded.model.named_parameters() if p.requires_grad}
    assert masked.keys() == trainable & PLAIN.keys()  # the others are frozen, or weights that the model does not use
    for name, gradient in masked.items():
        expected = PLAIN[name] * mask.of(name) if name in mask else torch.zeros_like(gradient)
        assert torch.equal(gradient, expected), name


@pytest.mark.parametrize(("bits", "expected"), [(255, 1), (0, 0)])
def test_a_mask_of_ones_is_no_mask_and_of_zeros_stops_all(bits, expected):
    mask, loaded = make_mask(), llava(VOCABULARY)
    mask = replace(mask, bits={name: torch.full_like(packed, bits) for name, packed in mask.bits.items()})
    adapted = WholeWeights().wrap(loaded.model)
    masked = gradients(loaded, masking=Masking(adapted.weights, mask))
    for name in PLAIN:
        assert torch.equal(masked[name], PLAIN[name] * (expected if name in mask else 0)), name


def test_retain_gradient_is_whole():
    """The mask covers the forget term only (step 4)."""
    loaded = llava(VOCABULARY)
    adapted = WholeWeights().wrap(loaded.model)
    with Masking(adapted.weights, make_mask()).on("retain"):
        assert all(torch.equal(gradient, PLAIN[name]) for name, gradient in gradients(loaded).items())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_recomputed_layers_are_masked_too(checkpointing):
    mask, loaded = make_mask(), llava(VOCABULARY)
    if checkpointing:
        enable_checkpointing(loaded)
        loaded.model.train()
    masking = Masking(WholeWeights().wrap(loaded.model).weights, mask)
    for name, gradient in gradients(loaded, masking=masking).items():
        expected = PLAIN[name] * mask.of(name) if name in mask else torch.zeros_like(gradient)
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-8)


def test_a_model_is_left_as_it_was():
    """Names of weights, hooks and the modules' own attributes; within the forward pass, too, the names are the same."""
    loaded, inside = llava(VOCABULARY), []
    names = list(loaded.model.state_dict())
    adapted = WholeWeights().wrap(loaded.model)
    loaded.model.get_decoder().register_forward_hook(lambda *_: inside.append(list(loaded.model.state_dict())))
    gradients(loaded, masking=Masking(adapted.weights, make_mask()))
    adapted.merge(None)
    assert inside == [names]
    assert not loaded.model._forward_hooks
    assert not loaded.model._forward_pre_hooks
    assert not any(vars(module).keys() & module._parameters.keys() for module in loaded.model.modules())


def test_weights_that_a_parent_reads_are_masked():
    """As position embeddings that are resized, and attention's output projection in torch's own module."""

    class Parent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.child = nn.Embedding(3, 2)

        def forward(self) -> Tensor:
            return self.child.weight.sum()

    model = Parent()
    mask = Mask({}, {}, {})
    with Masking(WholeWeights().wrap(model).weights, mask).on("forget"):
        model().backward()
    assert model.child.weight.grad is not None
    assert not model.child.weight.grad.any()


class TestLora:
    def wrap(self, parts=("language", "projector"), **config) -> tuple[Loaded, Adapted]:
        loaded = llava(VOCABULARY)
        adapted = Lora(LoraConfig(**config)).wrap(loaded.model, parts)
        for name, parameter in adapted.model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.1)
        return loaded, adapted

    def test_factors_follow_the_masked_effective_weight(self):
        """Defect 1: dA = s B^T (m * G), dB = s (m * G) A^T with G the gradient of the effective weight."""
        mask = make_mask(("language",))
        loaded, adapted = self.wrap(("language",), rank=3, alpha=6)
        factors = gradients(loaded, adapted.model, Masking(adapted.weights, mask))
        a, b = (adapted.model.get_parameter(f"base_model.model.{DOWN}.lora_{f}.default.weight") for f in "AB")
        merged = llava(VOCABULARY)
        for name, module in adapted.model.named_modules():
            if hasattr(module, "get_delta_weight"):
                weight = named(merged.model)[f"{name.removeprefix('base_model.model.')}.weight"]
                weight.data += module.get_delta_weight("default").detach()
        dense = gradients(merged)[f"{DOWN}.weight"] * mask.of(f"{DOWN}.weight")
        prefix = f"base_model.model.{DOWN}.lora_"
        torch.testing.assert_close(factors[f"{prefix}A.default.weight"], 2.0 * b.T @ dense, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(factors[f"{prefix}B.default.weight"], 2.0 * dense @ a.T, rtol=1e-4, atol=1e-7)

    def test_mask_of_ones_is_ordinary_lora(self):
        loaded, adapted = self.wrap(rank=2)
        plain = gradients(loaded, adapted.model)
        masked = gradients(loaded, adapted.model, Masking(adapted.weights, make_mask(beta=0.0)))
        assert plain.keys() == masked.keys()
        for name in plain:
            torch.testing.assert_close(masked[name], plain[name], rtol=1e-4, atol=1e-7)


class TestSine:
    def wrap(self) -> tuple[Loaded, Adapted]:
        """Beside the projector at W + sin(dW), of dW that are not zero."""
        loaded = llava(VOCABULARY)
        adapted = Sine().wrap(loaded.model, ALL)
        generator = torch.Generator().manual_seed(0)
        for name, parameter in adapted.model.named_parameters():
            if "sine" in name:
                parameter.data = torch.randn(parameter.shape, generator=generator)
        return loaded, adapted

    def test_delta_follows_the_masked_effective_weight(self):
        """cos(dW) * (m * G); and no gradient of the term to the biases, which no mask knows."""
        mask = make_mask(("projector",))
        loaded, adapted = self.wrap()
        delta = named(loaded.model)[f"{PROJECTOR}.sine_delta"].detach().clone()
        found = gradients(loaded, masking=Masking(adapted.weights, mask))
        effective = llava(VOCABULARY)
        for name, parameter in named(loaded.model).items():
            if name.endswith("sine_delta"):
                named(effective.model)[name.replace("sine_delta", "weight")].data += parameter.detach().sin()
        dense = gradients(effective)[f"{PROJECTOR}.weight"] * mask.of(f"{PROJECTOR}.weight")
        torch.testing.assert_close(found[f"{PROJECTOR}.sine_delta"], delta.cos() * dense, rtol=1e-5, atol=1e-8)
        assert not found[f"{PROJECTOR}.bias"].any()
        assert gradients(loaded)[f"{PROJECTOR}.bias"].any()

    def test_nothing_else_trains(self):
        loaded, _ = self.wrap()
        trained = {name for name, p in loaded.model.named_parameters() if p.requires_grad}
        assert {name.rpartition(".")[2] for name in trained} == {"sine_delta", "bias"}
        assert all("multi_modal_projector" in name for name in trained)

    def test_merged_it_is_the_model_that_was_trained(self):
        loaded, adapted = self.wrap()
        encoder = Encoder(loaded)
        batch = share_prefixes(encoder.rows(SPLITS.forget), encoder)
        with torch.no_grad():
            adapted_nll = answers(loaded.model, batch).nll
            merged = adapted.merge(None)
            assert torch.equal(answers(merged, batch).nll, adapted_nll)
        assert list(merged.state_dict()) == list(llava(VOCABULARY).model.state_dict())

    def test_a_mask_without_its_parts_is_refused(self):
        with pytest.raises(MaskError, match="no linear layer of projector may train"):
            Sine().wrap(llava(VOCABULARY).model, ["language"])


def test_shards_are_masked(tmp_path: Path):
    """FSDP2 on two processes: the masked gradient is the plain one, masked; what the mask does not select stays."""
    script = Path(__file__).with_name("sharded.py")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(
        launcher, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
