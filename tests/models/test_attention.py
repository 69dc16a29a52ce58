"""Blockwise attention is SDPA with fewer pairs of tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mmunlearner.batches.prefix import ancestor_mask
from mmunlearner.models import attention, load, save


class Counting:
    """SDPA that adds up the pairs of tokens it is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pairs = 0
        self.own = attention.sdpa_attention_forward
        monkeypatch.setattr(attention, "sdpa_attention_forward", self)

    def __call__(self, module: nn.Module, query: Tensor, key: Tensor, *more, **options):
        self.pairs += query.shape[2] * key.shape[2]
        return self.own(module, query, key, *more, **options)


def states(length: int, heads: int = 2) -> list[Tensor]:
    made = torch.Generator().manual_seed(length)
    return [torch.randn(2, heads, length, 8, generator=made, requires_grad=True) for _ in range(3)]


def module() -> nn.Module:
    made = nn.Module()
    made.num_key_value_groups = 1
    made.is_causal = True
    return made


def attend(mask: Tensor, block: int) -> tuple[Tensor, list[Tensor]]:
    parts = states(mask.shape[-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "BLOCK", block)
        found, _ = attention.blockwise_sdpa(module(), *parts, mask)
    found.square().sum().backward()
    return found, [part.grad for part in parts if part.grad is not None]


@given(st.integers(1, 40), st.integers(1, 50), st.data())
def test_blocks_change_no_gradient(length, block, data):
    ends = [[data.draw(st.integers(i + 1, length)) for i in range(length)] for _ in range(2)]
    mask = ancestor_mask(torch.tensor(ends))
    (found, gradients), (expected, whole) = attend(mask, block), attend(mask, 1000)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients, whole, rtol=1e-5, atol=1e-5)


def test_later_keys_are_left_out(monkeypatch):
    counting = Counting(monkeypatch)
    monkeypatch.setattr(attention, "BLOCK", 10)
    mask = ancestor_mask(torch.full((2, 40), 40))
    attention.blockwise_sdpa(module(), *states(40), mask)
    assert counting.pairs == 10 * (10 + 20 + 30 + 40)


@pytest.mark.parametrize(
    "mask",
    [None, torch.ones(2, 1, 40, 40, dtype=torch.bool), torch.zeros(2, 1, 40, 40)],
    ids=["none", "both ways", "added"],
)
def test_masks_that_are_not_causal(monkeypatch, mask):
    counting = Counting(monkeypatch)
    monkeypatch.setattr(attention, "BLOCK", 10)
    attention.blockwise_sdpa(module(), *states(40), mask)
    assert counting.pairs == 40 * 40


def test_saved_model(tmp_path):
    loaded = load("people:vanilla", device="cpu")
    assert loaded.model.config.get_text_config()._attn_implementation == attention.NAME
    save(loaded, tmp_path / "model")
    assert attention.NAME not in (tmp_path / "model" / "config.json").read_text()
    assert (
        load("people:vanilla", device="cpu", attention="sdpa").model.config.text_config._attn_implementation == "sdpa"
    )
