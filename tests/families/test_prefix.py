"""Rows that share their beginning come out as they do alone, for every family; where that cannot be, none share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import pytest
import torch
from families.questions import FEW, conversations, picture
from hypothesis import given, settings

from mmunlearner.batches import Batch, Encoder, answers, can_share, pad, share_prefixes, tree
from mmunlearner.batches.prefix import _warn
from mmunlearner.config import EvaluateConfig
from mmunlearner.evaluate.generate import generate
from mmunlearner.models import attention

PLAIN = {"PaliGemma": "token_type_ids", "Gemma 3": "token_type_ids", "Mllama": "cross_attention_mask"}
"""Families whose attention to images is no causal one, and what says so."""

NO_FLEX = ("Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL")
"""Families that transformers refuses flex attention."""


def rows(encoder: Encoder, asked=FEW):
    return [encoder.conversation(*each) for each in asked]


def gradients(encoder: Encoder, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Per-question losses, and the gradient of their mean."""
    model = encoder.loaded.model
    model.zero_grad()
    losses = answers(model, batch).nll
    losses.mean().backward()
    return losses.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@settings(max_examples=5)
@given(asked=conversations)
def test_shared_prefixes_change_no_gradient(encoder, asked):
    asked = [*asked, *FEW[:2]]  # at least two of one image
    plain_losses, plain = gradients(encoder, pad(rows(encoder, asked), encoder))
    losses, packed = gradients(encoder, share_prefixes(rows(encoder, asked), encoder))
    torch.testing.assert_close(losses, plain_losses, rtol=1e-5, atol=1e-5)
    assert packed.keys() == plain.keys()
    apart = torch.cat([(packed[name] - plain[name]).flatten() for name in plain]).norm()
    assert apart <= 1e-4 * torch.cat([gradient.flatten() for gradient in plain.values()]).norm()


@settings(max_examples=5)
@given(asked=conversations)
def test_tree_predicts_as_plain_rows(encoder, asked):
    mixed = rows(encoder, [*asked, *FEW])
    groups = [[row for row in mixed if row.group == image] for image in dict.fromkeys(row.group for row in mixed)]
    flat = list(chain.from_iterable(groups))
    with torch.inference_mode():
        shared, plain = (answers(encoder.loaded.model, b) for b in (tree(groups, encoder), pad(flat, encoder)))
    assert shared.tokens.tolist() == plain.tokens.tolist()
    torch.testing.assert_close(shared.logits, plain.logits, rtol=1e-4, atol=1e-4)


def test_causal_attention_shares(encoder, request):
    name = request.node.callspec.params["fresh"]
    asked = rows(encoder, [("What colour is this?", answer, (picture(2),)) for answer in ("red", "blue", "green")])
    assert can_share(asked, encoder) == (name not in PLAIN)
    for batch in (share_prefixes(asked, encoder), tree([asked], encoder)):
        assert (batch.size < 0.8 * pad(asked, encoder).size) == (name not in PLAIN)


def test_blockwise_attention_changes_no_gradient(encoder, monkeypatch):
    model, batch = encoder.loaded.model, share_prefixes(rows(encoder), encoder)
    assert model.config.get_text_config()._attn_implementation == attention.NAME
    monkeypatch.setattr(attention, "BLOCK", 16)
    losses, gradient = gradients(encoder, batch)
    model.set_attn_implementation({"text_config": "sdpa"})
    expected, plain = gradients(encoder, batch)
    model.set_attn_implementation({"text_config": attention.NAME})
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
    apart = torch.cat([(gradient[name] - plain[name]).flatten() for name in plain]).norm()
    assert apart <= 1e-4 * torch.cat([each.flatten() for each in plain.values()]).norm()


@contextmanager
def flex(encoder: Encoder) -> Iterator[None]:
    """Flex attention in the language model, as it is written: compiled, it would want a compiler."""
    model = encoder.loaded.model
    before = model.config.get_text_config()._attn_implementation
    model.set_attn_implementation({"text_config": "flex_attention"})
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        model.set_attn_implementation({"text_config": before})


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.filterwarnings("ignore:_compile flag on create_block_mask:DeprecationWarning")  # transformers' own
def test_flex_attention(encoder, request):
    """Plain rows too, and what is said; gradients are for a GPU (below)."""
    if request.node.callspec.params["fresh"] in NO_FLEX:
        with pytest.raises(ValueError, match="does not support"), flex(encoder):
            pass
        return
    asked = rows(encoder)
    config = EvaluateConfig(max_new_tokens=3)
    for batch in (share_prefixes(asked, encoder), pad(asked, encoder)):
        with torch.no_grad():
            expected = answers(encoder.loaded.model, batch).nll
            with flex(encoder):
                found = answers(encoder.loaded.model, batch).nll
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    said = generate(asked, encoder, config, lambda _: None)
    with flex(encoder):
        assert generate(asked, encoder, config, lambda _: None) == said


@pytest.mark.skipif(not torch.cuda.is_available(), reason="flex attention has a gradient on a GPU alone")
def test_gradients_of_flex_attention(shelf):
    encoder = Encoder(shelf("LLaVA-NeXT")())
    encoder.loaded.model.cuda()  # pyright: ignore[reportCallIssue]
    batch = share_prefixes(rows(encoder), encoder).to("cuda")
    expected, plain = gradients(encoder, batch)
    encoder.loaded.model.set_attn_implementation({"text_config": "flex_attention"})
    found, blocks = gradients(encoder, batch)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for key, value in plain.items():
        assert (blocks[key] - value).norm() <= 1e-3 * value.norm() + 1e-6, key


@pytest.mark.parametrize("name", PLAIN)
def test_reason_is_logged_once(shelf, name, caplog):
    encoder = Encoder(shelf(name)())
    _warn.cache_clear()
    with caplog.at_level(logging.WARNING, "mmunlearner"):
        for _ in range(3):
            share_prefixes(rows(encoder), encoder)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith(f"each question gets a row of its own, since its attention follows from {PLAIN[name]}")


def test_sliding_window(shelf):
    """Mistral 7B's first release reaches 4,096 tokens back; the mask of a shared row would know nothing of that."""
    encoder = Encoder(shelf("LLaVA-NeXT")())
    for window, shares in ((16, False), (512, True)):
        encoder.loaded.model.config.text_config.sliding_window = window
        assert can_share(rows(encoder), encoder) == shares
        expected, plain = gradients(encoder, pad(rows(encoder), encoder))
        found, packed = gradients(encoder, share_prefixes(rows(encoder), encoder))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        for key, value in plain.items():
            torch.testing.assert_close(packed[key], value, rtol=1e-3, atol=1e-5)


def test_recurrent_layers_and_unknown_attention(shelf):
    encoder = Encoder(shelf("LLaVA-OneVision")())
    config = encoder.loaded.model.config
    assert can_share(rows(encoder), encoder)
    config.text_config.layer_types = ["full_attention", "linear_attention"]
    assert not can_share(rows(encoder), encoder)
    config.text_config.layer_types = ["full_attention", "full_attention"]
    config.text_config._attn_implementation = "flash_attention_2"
    assert not can_share(rows(encoder), encoder)


def test_rotary_positions(shelf):
    """A place of a shared row has the positions that the model gives it in its own row."""
    encoder = Encoder(shelf("Qwen2-VL")())
    asked = rows(encoder)
    (one,) = share_prefixes(asked[:2], encoder).passes
    positions = one.inputs["position_ids"]  # [3, 1, L]
    for row in asked[:2]:
        (alone,) = pad([row], encoder).passes
        inputs = {k: v for k, v in alone.inputs.items() if k in ("input_ids", "mm_token_type_ids", "image_grid_thw")}
        expected, _ = encoder.loaded.model.model.get_rope_index(**inputs)
        found = {tuple(column) for column in positions[:, 0].T.tolist()}
        assert {tuple(column) for column in expected[:, 0].T.tolist()} <= found
    assert positions[1].max() != positions[2].max() or (positions[1] != positions[2]).any()
