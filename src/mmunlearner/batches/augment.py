"""Pictures seen a little otherwise each time, so that twelve views teach a face and not twelve pictures.

Shapes: N pictures of C channels, H x W pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

TURN = 0.2
"""Largest rotation, radians."""
SHIFT = 0.12
"""Largest shift, of half the picture's side."""
ZOOM = 0.15
"""Largest change of size, fraction."""
LIGHT = 0.2
"""Largest change of brightness, fraction."""
NOISE = 0.06
"""Standard deviation, of the processor's unit."""


def augment(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Each picture turned, shifted, zoomed, lit and sprinkled at random, [N, C, H, W]."""
    count = len(pixels)

    def drawn(largest: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(-largest, largest, (count, *shape)).astype(np.float32))

    turn, zoom = drawn(TURN), 1 + drawn(ZOOM)
    cos, sin = zoom * turn.cos(), zoom * turn.sin()
    matrix = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    grid = nn.functional.affine_grid(
        torch.cat([matrix, drawn(SHIFT, 2, 1)], 2), list(pixels.shape), align_corners=False
    )
    moved = nn.functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    noise = torch.from_numpy(rng.standard_normal(moved.shape, dtype=np.float32))
    return moved * (1 + drawn(LIGHT, 1, 1, 1)) + NOISE * noise
