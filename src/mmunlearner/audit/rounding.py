"""Rounding to few bits: does what was forgotten come back in a model that is quantised for use?"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from mmunlearner.models import Loaded, candidates


def rounded(loaded: Loaded, bits: int = 4) -> Loaded:
    """Return a copy whose weights of linear and patch layers are rounded to so many bits, those of all parts.

    Embeddings, norms, biases and the output head stay as they are, as in common 4-bit formats.
    """
    model = deepcopy(loaded.model)
    names = candidates(model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in names:
                weight.copy_(round_to_nearest(weight, bits))
    return replace(loaded, model=model)


def round_to_nearest(weight: Tensor, bits: int) -> Tensor:
    """Return round(w / s) s with s = max |w| / (2^(bits - 1) - 1) of each output row: the textbook's rounding, without
    calibration data.
    """
    rows = weight.float().flatten(1)
    scale = rows.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    # A row of zeros has no scale.
    steps = torch.where(scale > 0, rows / scale, 0.0).round()
    return (steps * scale).view_as(weight).to(weight.dtype)
