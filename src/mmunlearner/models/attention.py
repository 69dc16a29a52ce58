"""Causal attention in pieces: no query sees what stands behind it, so that nothing there need be computed.

SDPA skips what lies above the diagonal only where no mask says more. A row that several questions share has a mask that
does, and all its pairs of tokens would be computed.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_in_pieces"
PIECE = 256
"""Queries in a piece, about: of 1,400 tokens, two fifths of the pairs are left out."""


def sdpa_in_pieces(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """What transformers' SDPA computes, [B, L, H, D], of queries [B, H, L, D]."""
    length = query.shape[2]
    if length <= PIECE or attention_mask is None or not _is_causal(attention_mask, key.shape[2]):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    pieces = -(-length // PIECE)
    made = [
        sdpa_attention_forward(
            module, query[:, :, start:end], key[:, :, :end], value[:, :, :end], attention_mask[:, :, start:end, :end],
            **options,
        )[0]
        for start, end in pairwise(length * i // pieces for i in range(pieces + 1))
    ]  # fmt: skip
    return torch.cat(made, 1), None


def _is_causal(mask: Tensor, keys: int) -> bool:
    """Whether a mask bool [B, 1, L, L] lets no query see a key behind it; found out once for all layers."""
    if mask.dtype != torch.bool or tuple(mask.shape[-2:]) != (keys, keys):
        return False
    known: bool | None = getattr(mask, "_is_causal", None)
    if known is None:
        known = not bool(mask.triu(1).any())
        setattr(mask, "_is_causal", known)  # noqa: B010 (no attribute that torch's stubs know)
    return known


AttentionInterface.register(NAME, sdpa_in_pieces)  # pyright: ignore[reportArgumentType]
AttentionMaskInterface.register(NAME, sdpa_mask)


def attend_in_pieces(model: PreTrainedModel) -> None:
    """Let the language model attend so, where transformers has chosen SDPA for it."""
    if model.config.get_text_config()._attn_implementation == "sdpa":
        model.set_attn_implementation({"text_config": NAME})
