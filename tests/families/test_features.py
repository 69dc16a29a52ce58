"""What a frozen vision part makes of images, kept and put together again, for every family that has image tokens."""

from __future__ import annotations

import torch
from families.questions import FEW, picture

from mmunlearner.batches import Encoder, answers, image_features, share_prefixes
from mmunlearner.models import parts
from mmunlearner.unlearn.feature_cache import FeatureCache, features_are_frozen

ASKED = [
    *FEW,
    ("What colour is this?", "blue", (picture(3),)),
    ("Which of these is Ben?", "both", (picture(3), picture(0))),
]
CROSS_ATTENTION = {"Mllama"}


def test_cached_features_change_no_gradient(fresh, request, caplog):
    encoder = Encoder(fresh())
    model = encoder.loaded.model.train()
    assert not features_are_frozen(model)
    owned, weights = parts(model), dict(model.named_parameters())
    for name in (*owned["vision"], *owned["projector"]):
        weights[name].requires_grad_(False)
    assert features_are_frozen(model)
    rows = [encoder.conversation(*each) for each in ASKED]
    batch = share_prefixes(rows, encoder)

    def of(kept: FeatureCache | None) -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        if kept is None:
            losses = answers(model, batch).nll
        else:
            with kept.used_by(batch):
                losses = answers(model, batch).nll
        losses.mean().backward()
        return losses.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    kept = FeatureCache(encoder, {row.group: row.images for row in rows if row.images}, 2**30)
    expected, plain = of(None)
    for _ in range(3):  # tried, then kept
        losses, gradient = of(kept)
        torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
        assert (gradient - plain).norm() <= 1e-5 * plain.norm()
    said = [m for m in caplog.messages if "keep_features" in m]
    if request.node.callspec.params["fresh"] in CROSS_ATTENTION:
        assert len(said) == 1
        assert "has no get_image_features" in said[0]
    else:
        assert said == []
        assert kept.size > 0
        tower = model.get_encoder(modality="image")
        tower.forward = _never
        assert torch.equal(of(kept)[0], losses)


def test_features_without_the_language_model(fresh, request):
    encoder = Encoder(fresh())
    model = encoder.loaded.model.train()
    batch = share_prefixes([encoder.conversation(*each) for each in ASKED], encoder)

    def of(features: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        assert features is not None
        features.pow(2).sum().backward()
        return features.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    if request.node.callspec.params["fresh"] in CROSS_ATTENTION:
        assert image_features(model, batch) is None
        return
    expected, plain = of(answers(model, batch).features)
    model.get_decoder().layers[0].forward = _never
    features, gradient = of(image_features(model, batch))
    assert torch.equal(features, expected)
    assert torch.equal(gradient, plain)
    assert "forward" not in vars(model.get_decoder())


def test_an_instances_forward_is_restored(fresh):
    """As accelerate's is, where layers are spread over devices."""
    encoder = Encoder(fresh())
    decoder = encoder.loaded.model.get_decoder()
    decoder.forward = own = decoder.forward
    image_features(encoder.loaded.model, share_prefixes([encoder.conversation(*each) for each in ASKED], encoder))
    assert decoder.forward is own


def _never(*_: object, **__: object) -> None:
    raise AssertionError("the tower was asked again")
