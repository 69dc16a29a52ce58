"""Augmentation: other views of the same image at each step, so that a model learns a face and not twelve pictures.

Shapes: N images of C channels, H x W pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

TURN = 0.2
"""Largest rotation, radians."""
SHIFT = 0.12
"""Largest shift, of half the image's side."""
ZOOM = 0.15
"""Largest change of size, fraction."""
LIGHT = 0.2
"""Largest change of brightness, fraction."""
NOISE = 0.06
"""Standard deviation, of the processor's unit."""


def can_augment(pixels: Tensor) -> bool:
    """Return whether a processor's output is images that can be changed, [N, C, H, W]; some cut them into patches."""
    return pixels.dim() == 4


def augment(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Turn, shift, zoom and light each image at random, and add noise: [N, C, H, W] -> [N, C, H, W].

    Random numbers are drawn in a fixed order: turn, zoom, shift, noise, light.
    """
    # Written out, since torchvision is no dependency.

    def uniform(bound: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(-bound, bound, (len(pixels), *shape)).astype(np.float32))

    turn, zoom = uniform(TURN), 1 + uniform(ZOOM)
    cos, sin = zoom * turn.cos(), zoom * turn.sin()
    rotation = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)  # [N, 2, 2]
    affine = torch.cat([rotation, uniform(SHIFT, 2, 1)], 2)  # [N, 2, 3]
    grid = nn.functional.affine_grid(affine, list(pixels.shape), align_corners=False)
    # Pixels of the border are repeated outside it: black corners would be something to learn.
    moved = nn.functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    noise = torch.from_numpy(rng.standard_normal(moved.shape, dtype=np.float32))
    return moved * (1 + uniform(LIGHT, 1, 1, 1)) + NOISE * noise
