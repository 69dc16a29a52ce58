"""Pictures that are seen a little otherwise each time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmunlearner.batches import augmentation
from mmunlearner.batches.augmentation import augment


def pictures() -> torch.Tensor:
    """Two pictures with a bright square in the middle, [2, 3, 64, 64]."""
    made = torch.zeros(2, 3, 64, 64)
    made[:, :, 24:40, 24:40] = 1.0
    return made


def test_equal_seeds_give_equal_images() -> None:
    first, again = (augment(pictures(), np.random.default_rng(0)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.allclose(first[0], first[1], atol=0.3)


def test_no_strength_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TURN", "SHIFT", "ZOOM", "LIGHT", "NOISE"):
        monkeypatch.setattr(augmentation, name, 0.0)
    torch.testing.assert_close(augment(pictures(), np.random.default_rng(0)), pictures(), atol=1e-5, rtol=0)


def test_the_middle_stays_in_the_image() -> None:
    """At most 8 pixels aside with these bounds: a face never leaves its picture."""
    seen = augment(pictures(), np.random.default_rng(1)).mean(1)
    assert (seen[:, 16:48, 16:48].sum((1, 2)) > 0.9 * seen.clamp_min(0.3).sub(0.3).sum((1, 2))).all()
