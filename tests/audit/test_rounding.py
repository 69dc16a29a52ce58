"""Rounding to nearest: how far a weight moves, and which weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import VOCABULARY, llava

from mmunlearner.audit import round_to_nearest, rounded
from mmunlearner.models import candidates


@given(st.integers(2, 8), st.integers(0, 99))
def test_a_row_has_few_values_and_its_largest_stays(bits, seed):
    weight = torch.randn(3, 50, generator=torch.Generator().manual_seed(seed))
    result = round_to_nearest(weight, bits)
    largest = weight.abs().amax(1)
    assert all(len(row.unique()) < 2**bits for row in result)
    torch.testing.assert_close(result.abs().amax(1), largest)
    assert ((result - weight).abs() <= 1.001 * largest[:, None] / (2 ** (bits - 1) - 1) / 2).all()
    torch.testing.assert_close(round_to_nearest(result, bits), result)


def test_a_row_of_zeros_stays():
    assert (round_to_nearest(torch.zeros(2, 3), 4) == 0).all()


@pytest.mark.parametrize("bits", [4, 8])
def test_linear_and_patch_layers_of_a_copy_are_rounded(bits):
    loaded = llava(VOCABULARY)
    names, before = candidates(loaded.model), {n: p.detach().clone() for n, p in loaded.model.named_parameters()}
    after = dict(rounded(loaded, bits).model.named_parameters())
    assert {name for name in before if not torch.equal(before[name], after[name])} == set(names)
    assert all(torch.equal(p, before[name]) for name, p in loaded.model.named_parameters())
