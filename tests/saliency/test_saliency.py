"""Saliency and masks: the defects of the published code, each caught here if it came back (method.md, section 3)."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.progress import Listener, interrupt_at
from support.tiny import VOCABULARY, examples, llava
from torch.utils._python_dispatch import TorchDispatchMode

from mmunlearner import saliency
from mmunlearner.batches import Encoder, answers, pad
from mmunlearner.config import MaskConfig
from mmunlearner.data import Splits
from mmunlearner.errors import DataError, MaskError
from mmunlearner.models import candidates, parts
from mmunlearner.saliency.compute import beta_for_density, select
from mmunlearner.saliency.fisher import fisher_groups, squared_gradients, sums_device

IMAGES, TEXTS = examples(), examples(images=False)
SPLITS = Splits(
    tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann"), tuple(TEXTS), {}
)
ALL = ("vision", "projector", "language")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(llava(VOCABULARY))


def by_hand(encoder: Encoder, groups, name: str) -> torch.Tensor:
    """E over units of squared gradients, by autograd on plain batches."""
    model = encoder.loaded.model.eval()
    total = 0
    for group in groups:
        model.zero_grad()
        answers(model, pad(encoder.rows(group), encoder)).nll.mean().backward()
        total = total + dict(model.named_parameters())[name].grad ** 2
    model.zero_grad()
    return total / len(groups)


@pytest.mark.parametrize(("unit", "count"), [("question", 18), ("image", 6), ("batch", 5)])
def test_fisher_is_the_mean_of_squared_unit_gradients(encoder, unit, count):
    groups = fisher_groups(SPLITS.retain, unit, 0, 4)
    names = list(candidates(encoder.loaded.model))
    measured = squared_gradients(encoder, groups, names)
    assert measured.units == len(groups) == count
    for name in (names[0], names[-1]):
        torch.testing.assert_close(measured.squares[name], by_hand(encoder, groups, name), rtol=1e-4, atol=1e-12)


def test_questions_about_the_same_images_are_one_unit(encoder):
    """Images in another order are other images."""
    several = examples(2, 1, images=2)
    turned = [replace(e, id=f"{e.id}, turned", images=e.images[::-1]) for e in several]
    groups = fisher_groups([*IMAGES, *several, *turned], "image")
    assert sorted(len({e.image_keys for e in group}) for group in groups) == [1] * (8 + 2 + 2)
    assert sum(map(len, groups)) == len(IMAGES) + 12
    chosen, names = [group for group in groups if len(group[0].images) > 1], list(candidates(encoder.loaded.model))
    for name in (names[0], names[-1]):
        measured = squared_gradients(encoder, chosen, names).squares[name]
        torch.testing.assert_close(measured, by_hand(encoder, chosen, name), rtol=1e-4, atol=1e-12)


def test_batches_are_consecutive_questions_as_published():
    groups = fisher_groups(IMAGES, "batch", 0, 5)
    assert sorted(group[0].id for group in groups) == sorted(example.id for example in IMAGES[::5])
    assert all(group == IMAGES[(at := IMAGES.index(group[0])) : at + 5] for group in groups)
    assert fisher_groups(IMAGES, "batch", 7, 1) == fisher_groups(IMAGES, "question", 7)


def test_dropout_is_off_while_measuring():
    """Defect 5: saliency was taken in train mode."""
    loaded = llava(VOCABULARY)
    loaded.model.config.text_config.attention_dropout = 0.5
    for layer in loaded.model.model.language_model.layers:
        layer.self_attn.attention_dropout = 0.5
    loaded.model.train()
    encoder, names = Encoder(loaded), list(candidates(loaded.model))[-2:]
    first, second = (
        squared_gradients(encoder, fisher_groups(SPLITS.forget, "image"), names).squares[names[0]] for _ in range(2)
    )
    assert torch.equal(first, second)


def test_forward_passes_of_instances_are_restored(encoder):
    """accelerate puts one on each layer of a model that it spreads over devices."""
    layer = encoder.loaded.model.get_decoder().layers[0]
    layer.forward = own = functools.partial(layer.forward)
    try:
        squared_gradients(encoder, fisher_groups(SPLITS.retain, "image")[:1], list(candidates(encoder.loaded.model)))
        assert vars(layer)["forward"] is own
    finally:
        del layer.forward


class Counted(TorchDispatchMode):
    """Counts the operations that are carried out."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls[str(func)] += 1
        return func(*args, **(kwargs or {}))


def test_what_is_computed_twice_has_the_same_squares(encoder, monkeypatch):
    """All but matrix products and attention, and of large models these too; the last time this one counts as large."""
    names, groups = list(candidates(encoder.loaded.model)), fisher_groups(SPLITS.retain, "image")

    def measured():
        with Counted() as counted:
            return squared_gradients(encoder, groups, names).squares, counted.calls

    with monkeypatch.context() as patched:
        patched.setattr("mmunlearner.saliency.fisher._recompute_layers", lambda *_: contextlib.nullcontext())
        once, whole = measured()
    some, kept = measured()
    monkeypatch.setattr("mmunlearner.saliency.fisher.RECOMPUTE_FROM", 0)
    twice, again = measured()
    assert all(torch.equal(once[name], some[name]) and torch.equal(once[name], twice[name]) for name in names)
    assert kept["aten.silu.default"] == again["aten.silu.default"] == 2 * whole["aten.silu.default"] > 0
    for product in ("mm.default", "addmm.default", "_scaled_dot_product_flash_attention_for_cpu.default"):
        assert again[f"aten.{product}"] > kept[f"aten.{product}"] == whole[f"aten.{product}"]
    assert not any("forward" in vars(module) for module in encoder.loaded.model.modules())


def test_sums_do_not_swamp_or_underflow():
    """Defects 3 and 4: accumulators are fp32 even where the weights are bf16."""
    loaded = llava(VOCABULARY)
    loaded = replace(loaded, model=loaded.model.to(torch.bfloat16))
    encoder, (name, *_) = Encoder(loaded), list(candidates(loaded.model))[-1:]
    group = fisher_groups(SPLITS.forget, "image")[:1]
    once, often = (
        squared_gradients(encoder, group, [name]).squares[name],
        squared_gradients(encoder, group * 600, [name]).squares[name],
    )
    assert once.dtype == torch.float32
    torch.testing.assert_close(often, once, rtol=1e-3, atol=0)  # in bf16 the sum would stop growing at half
    assert (once > 0).any()


def test_measuring_leaves_the_model_as_it_was(encoder):
    before = {name: (p.clone(), p.requires_grad) for name, p in encoder.loaded.model.named_parameters()}
    saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, beta=1.0))
    for name, parameter in encoder.loaded.model.named_parameters():
        assert torch.equal(before[name][0], parameter)
        assert parameter.grad is None
        assert parameter.requires_grad == before[name][1]


def test_text_protects_the_language_part_alone(encoder):
    """Method step 3: P of vision and projector is the retain VQA, P of language also holds the text-only QA."""
    mask = saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, beta=1.0))
    without = saliency.compute(encoder, replace(SPLITS, text=SPLITS.text[:1]), MaskConfig(parts=ALL, beta=1.0))
    changed = {
        candidates(encoder.loaded.model)[name]
        for name in mask.bits
        if not torch.equal(mask.bits[name], without.bits[name])
    }
    assert changed == {"language"}


def test_mask_is_the_formula(encoder):
    names = [n for n, part in candidates(encoder.loaded.model).items() if part == "language"]
    forget, retain, text = (
        squared_gradients(encoder, fisher_groups(s, "image"), names)
        for s in (SPLITS.forget, SPLITS.retain, SPLITS.text)
    )
    mask = saliency.compute(encoder, SPLITS, MaskConfig(parts=("language",), beta=0.5))
    for name in names:
        total = retain.units + text.units
        preserve = (retain.squares[name] * retain.units + text.squares[name] * text.units) / total
        ratio = (forget.squares[name].double() + 1e-15) / (preserve.double() + 1e-15)
        unclear = (ratio - 0.5).abs() < 1e-5
        assert ((mask.of(name) == (ratio >= 0.5)) | unclear).all()


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_bits_come_back(bits):
    selected = torch.tensor(bits)
    packed = saliency.pack_bits(selected)
    assert packed.numel() == -(-len(bits) // 8)
    assert torch.equal(saliency.unpack_bits(packed, (len(bits),)), selected)


def test_candidates_are_linear_weights_of_the_chosen_parts(encoder):
    """Step 6: no norm, bias, embedding or output head; and no weight of a part that was not chosen."""
    mask = saliency.compute(encoder, SPLITS, MaskConfig(parts=("vision",)))
    vision = set(parts(encoder.loaded.model)["vision"])
    assert set(mask.bits) <= vision
    assert all(dict(encoder.loaded.model.named_parameters())[name].ndim >= 2 for name in mask.bits)
    assert not any(
        "norm" in name or "embedding.weight" in name or "lm_head" in name for name in mask.bits if "patch" not in name
    )


def test_random_control_has_the_density_of_each_layer(encoder):
    mask = saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, beta=1.0))
    control = saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, beta=1.0, random=True))
    counts = [[layer["selected"] for layer in m.info["layers"]] for m in (mask, control)]
    assert counts[0] == counts[1]
    assert any(not torch.equal(mask.bits[name], control.bits[name]) for name in mask.bits)


def test_file_is_one_bit_a_weight_and_comes_back(encoder, tmp_path):
    """Defect 13: the published mask takes three model sizes."""
    mask = saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, beta=1.0))
    path = mask.save(tmp_path / "mask.safetensors")
    assert sum(bits.numel() for bits in mask.bits.values()) <= mask.size / 8 + len(mask.bits)
    again = saliency.load(path)
    assert again.info == mask.info
    assert all(torch.equal(again.of(name), mask.of(name)) for name in mask.bits)
    again.check(encoder.loaded.model)


def test_interrupted_pass_goes_on_to_the_same_sums(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("mmunlearner.saliency.fisher.CHECKPOINT_SECONDS", 0.0)
    groups, names, kept = (
        fisher_groups(SPLITS.retain, "question"),
        list(candidates(encoder.loaded.model)),
        tmp_path / "part",
    )

    with pytest.raises(KeyboardInterrupt):
        squared_gradients(encoder, groups, names, progress=interrupt_at(7), checkpoint=kept)
    assert kept.exists()
    seen = []
    listener = Listener(lambda title, done, total: seen.append(done))
    resumed = squared_gradients(encoder, groups, names, progress=listener, checkpoint=kept)
    whole = squared_gradients(encoder, groups, names)
    assert seen[0] > 1
    assert not kept.exists()
    assert all(torch.equal(resumed.squares[name], whole.squares[name]) for name in names)


def test_mask_of_another_model_is_refused(encoder, tmp_path):
    mask = saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, beta=1.0))
    with pytest.raises(MaskError, match="other weights"):
        mask.check(llava(VOCABULARY, seed=1).model)
    with pytest.raises(MaskError, match="mask of another model"):
        mask.check(llava(VOCABULARY, width=48).model)
    with pytest.raises(MaskError, match="it has model"):
        mask.check(encoder.loaded.model.model.language_model)


def test_mask_that_selects_nothing_is_refused(encoder):
    mask = saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, beta=1e30))
    with pytest.raises(MaskError, match="selects none"):
        mask.check(encoder.loaded.model)


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_unreadable_mask_file(tmp_path, content):
    path = tmp_path / "mask.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MaskError, match=r"mask\.safetensors"):
        saliency.load(path)


def test_empty_set_is_named(encoder):
    with pytest.raises(DataError, match="text set is empty"):
        saliency.compute(encoder, replace(SPLITS, text=()), MaskConfig(parts=("language",)))


@pytest.mark.parametrize(("device", "size", "at"), [("cpu", 999, "cpu"), ("cuda", 40, "cuda"), ("cuda", 60, "cpu")])
def test_sums_go_to_the_host_where_they_would_fill_the_accelerator(monkeypatch, device, size, at):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (100, 200))
    assert sums_device(torch.device(device), size) == torch.device(at)


def test_limit_takes_entities_in_turn():
    chosen = fisher_groups(IMAGES, "image", 4)
    assert {group[0].entity for group in chosen} == {"ann", "ben", "cat", "dan"}
    assert copy.copy(chosen) == fisher_groups(IMAGES, "image", 4)


def test_equal_masks_are_equal_files(tmp_path):
    """safetensors orders several entries of metadata anew in every process, and in every call."""
    mask = saliency.Mask(
        {"w": torch.tensor([5], dtype=torch.uint8)}, {"w": (2, 2)}, {"layers": [], "beta": 1.0, "parts": []}
    )
    files = {mask.save(tmp_path / f"{i}.safetensors").read_bytes() for i in range(20)}
    assert len(files) == 1


def test_a_density_chooses_beta(encoder):
    """As many as wanted, those of the highest ratios; the density that a beta gives leads back to its mask."""
    made = {d: saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, density=d)) for d in (0.05, 0.4, 0.9)}
    for wanted, mask in made.items():
        assert mask.density == pytest.approx(wanted, abs=2e-3)
        given = saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, beta=mask.info["beta"]))
        assert all(torch.equal(given.of(name), mask.of(name)) for name in mask.bits)
    for fewer, more in ((0.05, 0.4), (0.4, 0.9)):
        assert not any((made[fewer].of(name) & ~made[more].of(name)).any() for name in made[more].bits)
    at_one = saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, beta=1.0))
    again = saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, density=at_one.density))
    assert again.info["beta"] == pytest.approx(1.0, abs=1e-3)


def test_a_density_in_each_layer(encoder):
    """Every layer has the share, and of its own weights those of the highest ratios."""
    together = saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, density=0.3))
    layers = saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, density=0.3, per_layer=True))
    spread = [layer["selected"] / layer["candidates"] for layer in together.info["layers"]]
    assert max(spread) - min(spread) > 0.1
    for layer in layers.info["layers"]:
        # Weights without any gradient are ties: a layer may select more.
        assert layer["selected"] >= int(0.3 * layer["candidates"])
        one, other = layers.of(layer["name"]), together.of(layer["name"])
        assert not (one & ~other).any() or not (other & ~one).any()
    assert layers.config.per_layer
    assert layers.density == pytest.approx(0.3, abs=0.02)
    with_beta = saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, beta=2.0, per_layer=True))
    without = saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, beta=2.0))
    assert all(torch.equal(with_beta.of(name), without.of(name)) for name in without.bits)


def test_ties_and_dead_weights_do_not_break_a_density():
    zero = torch.zeros(10)
    assert beta_for_density([(zero, zero)], 0.5) == 1.0
    squares = torch.tensor([1e30, 1.0, 1e-30, 0.0])
    assert beta_for_density([(squares, torch.ones(4))], 0.25) > 1.0
    assert select(squares, torch.ones(4), beta_for_density([(squares, torch.ones(4))], 0.5)).tolist() == [
        True,
        True,
        False,
        False,
    ]


def test_a_mask_without_beta_and_density_selects_half(encoder) -> None:
    assert (MaskConfig().density, MaskConfig(beta=2.0).density, MaskConfig(density=0.1).density) == (0.5, 0.0, 0.1)
    assert MaskConfig(beta=1.0) == MaskConfig(beta=1.0, density=0.0) != MaskConfig()
    assert saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL)).density == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("options", "hardly"), [({"beta": 1e4}, True), ({"density": 0.01}, True), ({}, False)])
def test_a_mask_that_leaves_the_forget_term_hardly_anything_says_so(encoder, options, hardly) -> None:
    mask = saliency.compute(encoder, SPLITS, MaskConfig(parts=ALL, unit="question", **options))
    squares = squared_gradients(encoder, [[example] for example in SPLITS.forget], list(mask.bits)).squares
    inside = sum(float(squares[name][mask.of(name)].sum()) for name in mask.bits)
    assert mask.forget_share == pytest.approx(
        inside / sum(float(square.sum()) for square in squares.values()), rel=1e-4
    )
    assert bool(mask.warning) is hardly
    if hardly:
        assert "set mask.density, e.g. to 0.5" in mask.warning
