"""RMU: hidden states of what is forgotten go to one direction, those of what is retained stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.tiny import VOCABULARY, examples, llava

from mmunlearner.batches import Answers, Encoder, answers, share_prefixes
from mmunlearner.config import MethodConfig, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.methods import METHODS, Needs, Reference
from mmunlearner.methods.rmu import misdirection, retained_states
from mmunlearner.unlearn import unlearn
from mmunlearner.unlearn.reference import decoder_layers

IMAGES = examples()
SPLITS = Splits(tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann"), (), {})
TRAIN = TrainConfig(steps=12, retain_per_forget=1, batch_size=4, learning_rate=3e-3)
OPTIONS = {"steering": 5.0, "depth": 0.5, "retain_weight": 1.0}


def states(hidden: torch.Tensor, lengths: tuple[int, ...]) -> Answers:
    """Answers of questions of so many tokens, with these hidden states at layer 0."""
    question = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    return Answers(
        torch.zeros(len(question), 3), torch.zeros_like(question), question, len(lengths), hidden={0: hidden}
    )


def test_losses_are_their_formulas():
    """Mean over each question's tokens, then over questions: not the published code's broadcast."""
    hidden, vanilla = torch.randn(4, 8), torch.randn(4, 8)
    batch = states(hidden, (1, 3))
    direction = torch.rand(8, generator=torch.Generator().manual_seed(0))
    target = 2.0 * direction / direction.norm()
    assert (target > 0).all()

    def expected(other: torch.Tensor) -> torch.Tensor:
        squares = (hidden - other).pow(2).mean(-1)
        return (squares[0] + squares[1:].mean()) / 2

    torch.testing.assert_close(misdirection(batch, None, steering=2.0), expected(target))
    reference = Reference({"hidden": vanilla[None]})
    torch.testing.assert_close(retained_states(batch, reference, retain_weight=3.0), 3.0 * expected(vanilla))


@pytest.mark.parametrize(("depth", "layer"), [(0.0, 0), (0.49, 0), (0.5, 1), (1.0, 1)])
def test_a_depth_is_a_layer(depth, layer):
    assert decoder_layers(llava(VOCABULARY).model, Needs(hidden=(depth,))) == [layer]


def test_a_run_steers_what_is_forgotten_alone(tmp_path):
    done = unlearn(llava(VOCABULARY), SPLITS, MethodConfig("rmu", options=OPTIONS), TRAIN, tmp_path)

    def losses(loaded):
        encoder, vanilla = Encoder(loaded), llava(VOCABULARY)
        with torch.no_grad():
            forget, retain, before = (
                answers(model, share_prefixes(encoder.rows(some), encoder), [1])
                for model, some in (
                    (loaded.model, SPLITS.forget), (loaded.model, SPLITS.retain), (vanilla.model, SPLITS.retain)
                )
            )  # fmt: skip
            reference = Reference({"hidden": before.hidden[1][None]})
            return misdirection(forget, None, steering=5.0), retained_states(retain, reference, retain_weight=1.0)

    (far, _), (near, held) = losses(llava(VOCABULARY)), losses(done.loaded)
    assert near < 0.9 * far
    assert held < far - near


def test_layers_above_are_not_trained(tmp_path):
    """The loss ends at its layer: nothing behind it gets a gradient."""
    train = replace(TRAIN, steps=2)
    done = unlearn(llava(VOCABULARY), SPLITS, MethodConfig("rmu", options={"depth": 0.0}), train, tmp_path)
    before = dict(llava(VOCABULARY).model.named_parameters())
    moved = {n for n, p in done.loaded.model.named_parameters() if not torch.equal(p, before[n])}
    assert any(".layers.0.mlp" in name for name in moved)
    assert not any("language_model.layers.1" in name or "lm_head" in name for name in moved)


def test_it_is_listed_with_its_needs():
    assert METHODS["rmu"].needs_reference
    assert set(METHODS["rmu"].options) == {"steering", "depth", "retain_weight"}
