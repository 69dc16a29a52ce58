"""Attention of the language model: the masks that its implementations take, and blockwise causal SDPA.

Shapes: B sequences, H heads, L queries and as many keys, D features of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "blockwise_sdpa"
BLOCK = 256
"""Queries in a block, roughly: of 1,400 tokens, two fifths of the pairs are left out."""


def blockwise_sdpa(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Compute what transformers' SDPA does, [B, L, H, D], of queries [B, H, L, D], for fewer pairs of tokens.

    SDPA skips pairs above the diagonal only where no mask is given. A sequence that several questions share needs one,
    and SDPA would compute all of its pairs.
    """
    length = query.shape[2]
    if length <= BLOCK or attention_mask is None or not _is_causal(attention_mask, key.shape[2]):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    blocks = -(-length // BLOCK)
    outputs = [
        # No query of a block sees a key behind the block's end: these are left out. Slices are views, not copies.
        sdpa_attention_forward(
            module, query[:, :, start:end], key[:, :, :end], value[:, :, :end], attention_mask[:, :, start:end, :end],
            **options,
        )[0]
        for start, end in pairwise(length * i // blocks for i in range(blocks + 1))
    ]  # fmt: skip
    return torch.cat(outputs, 1), None


def _is_causal(mask: Tensor, keys: int) -> bool:
    """Return whether a mask bool [B, 1, L, L] lets no query see a key behind it."""
    if mask.dtype != torch.bool or tuple(mask.shape[-2:]) != (keys, keys):
        return False
    causal: bool | None = getattr(mask, "_is_causal", None)
    if causal is None:  # reads the whole mask, so that it is done once for all layers and left on the tensor
        causal = not bool(mask.triu(1).any())
        setattr(mask, "_is_causal", causal)  # noqa: B010 (no attribute that torch's stubs know)
    return causal


AttentionInterface.register(NAME, blockwise_sdpa)  # pyright: ignore[reportArgumentType]
AttentionMaskInterface.register(NAME, sdpa_mask)


def use_blockwise_sdpa(model: PreTrainedModel) -> None:
    """Let the language model attend blockwise where transformers has chosen SDPA for it."""
    if model.config.get_text_config()._attn_implementation == "sdpa":
        model.set_attn_implementation({"text_config": NAME})


def _as_it_is(visible: Tensor, _: torch.dtype) -> Tensor:
    return visible


def _additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a mask that eager attention adds to the scores: 0 where a key is visible, the least number elsewhere."""
    # Not -inf: a query that sees nothing would get NaN.
    scores = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return scores.masked_fill(~visible, torch.finfo(dtype).min)


def _block_mask(visible: Tensor, _: torch.dtype) -> Any:
    """Return flex attention's mask: blocks of 128 x 128 pairs, of which those without a visible key are skipped."""

    def is_visible(batch: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return visible[batch, 0, query, key]

    return create_block_mask(is_visible, len(visible), None, *visible.shape[-2:], device=visible.device)


MASK_FORMS: Mapping[str, Callable[[Tensor, torch.dtype], Any]] = {
    "sdpa": _as_it_is, NAME: _as_it_is, "eager": _additive, "flex_attention": _block_mask
}  # fmt: skip
"""Attention implementation -> its form of a mask bool [B, 1, L, L] (True: visible)."""


def mask_for(model: Any, visible: Tensor) -> Any:
    """Return a mask bool [B, 1, L, L] in the form that this model's attention takes."""
    return MASK_FORMS[model.config.get_text_config()._attn_implementation](visible, model.dtype)
