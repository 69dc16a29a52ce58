"""Distortion: how much of what a model computes for retained questions has changed, in all its parts.

It is measured without asking for answers, so that no item decides: a loss outside the sets is foreseen, not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmunlearner.batches import Encoder
from mmunlearner.data import Example
from mmunlearner.data.splits import sample_by_entity
from mmunlearner.methods import Needs
from mmunlearner.models import Loaded
from mmunlearner.unlearn.reference import VanillaNeeds, cache_reference, decoder_layers

QUESTIONS = 96
"""Questions about images, and as many in words: the distortion is a mean over tokens and needs no more."""
LAST = Needs(hidden=(1.0,))

States = Mapping[str, Tensor]
"""`features`: image features as the language model reads them, [image tokens, D]; `image` and `words`: the last decoder
layer's output where the tokens of true answers are predicted, to questions about images and in words, [T, D]."""


def states(loaded: Loaded, examples: Sequence[Example], *, tokens: int = 0) -> States:
    """Return what a model, left in eval mode, computes for a sample of the questions; `tokens` of them in a pass.

    A kind of questions that is not there has no entry, nor have features where images go by cross-attention.
    """
    encoder, parts = Encoder(loaded), dict[str, Tensor]()
    needs = VanillaNeeds(features=True, layers=tuple(decoder_layers(loaded.model, LAST)))
    for name, kind in (("image", "vqa"), ("words", "qa")):
        questions = sample_by_entity([example for example in examples if example.modality == kind], QUESTIONS)
        reference = cache_reference(encoder, encoder.rows(questions), needs, tokens=tokens)
        # Sorted, since passes of other sizes come in another order.
        if reference.answers:
            parts[name] = torch.cat([reference.answers[row]["hidden"][0] for row in sorted(reference.answers)])
        if reference.features:
            parts["features"] = torch.cat([reference.features[image] for image in sorted(reference.features)])
    return parts


def distortion(after: States, before: States) -> dict[str, float]:
    """Return part -> |after - before|^2 / |before|^2, sums over all its numbers."""
    return {
        name: float((after[name] - state).double().pow(2).sum() / state.double().pow(2).sum())
        for name, state in before.items()
    }
