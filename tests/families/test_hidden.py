"""Hidden states of given decoder layers, for every family: at the positions that predict answers, shared or not."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from families.questions import FEW

from mmunlearner.batches import Encoder, answers, pad, share_prefixes
from mmunlearner.errors import ModelError

CROSS_ATTENTION = {"Mllama": 1}
"""Families with a decoder layer that is not run for texts, and its number."""


def test_hidden_states(encoder):
    model, rows = encoder.loaded.model, [encoder.conversation(*each) for each in FEW if each[2]]
    batch = pad(rows, encoder)
    last = len(model.get_decoder().layers) - 1
    with torch.no_grad():
        plain = answers(model, batch, (0, last)).hidden
        shared = answers(model, share_prefixes(rows, encoder), (0, last)).hidden
        whole = [model(**one.inputs, output_hidden_states=True).hidden_states[1] for one in batch.passes]
    kept = torch.cat([states[one.keep] for states, one in zip(whole, batch.passes, strict=True)])
    assert torch.equal(plain[0], kept[batch.index])
    for layer in (0, last):
        assert plain[layer].shape == (len(batch.tokens), model.config.get_text_config().hidden_size)
        torch.testing.assert_close(shared[layer], plain[layer], rtol=1e-4, atol=1e-4)


def test_gradient_stops_at_the_layer(fresh):
    encoder = Encoder(fresh())
    model = encoder.loaded.model
    found = answers(model, share_prefixes([encoder.conversation(*each) for each in FEW if each[2]], encoder), (0,))
    found.hidden[0].pow(2).sum().backward()
    first, *rest = model.get_decoder().layers
    assert all(p.grad is not None for p in first.parameters())
    assert all(p.grad is None for p in chain.from_iterable(layer.parameters() for layer in rest))


def test_missing_layer(encoder, request):
    model, texts = encoder.loaded.model, pad([encoder.conversation(*each) for each in FEW if not each[2]], encoder)
    with pytest.raises(ModelError, match=r"decoder layer 99: the model has layers 0 to \d"):
        answers(model, texts, (99,))
    skipped = CROSS_ATTENTION.get(request.node.callspec.params["fresh"])
    if skipped is not None:
        with pytest.raises(ModelError, match=f"decoder layer {skipped}: is not run for some of the questions"):
            answers(model, texts, (skipped,))
