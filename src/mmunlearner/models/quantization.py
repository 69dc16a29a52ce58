"""Linear weights of 8 or 4 bits by bitsandbytes (LLM.int8, arXiv 2208.07339; NF4 of QLoRA, arXiv 2305.14314)."""

from __future__ import annotations

from importlib import util
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from mmunlearner.config import Quantize, RunConfig
from mmunlearner.errors import ConfigError, ModelError

UNTRAINABLE = "weights of 8 or 4 bits cannot be trained; train adapters (lora.rank 16), or leave quantize out"
INSTALL = 'pip install "mmunlearner[quantize]"'


def require_bitsandbytes(quantize: Quantize) -> None:
    """Raise where weights are to be quantised and the package that does it is missing.

    Raises:
        ModelError: bitsandbytes is not installed.
    """
    if quantize != "none" and util.find_spec("bitsandbytes") is None:
        raise ModelError(f"model.quantize {quantize}: bitsandbytes is not installed; {INSTALL}")


def check_quantization(config: RunConfig) -> None:
    """Refuse a run that would train weights of 8 or 4 bits, before any long work starts.

    Raises:
        ConfigError: something is to be trained without adapters.
    """
    model = config.model
    trained = {"finetune.lora": config.finetune_lora} if model.needs_finetuning else {}
    trained |= {"model.lora": model.lora} if config.methods else {}
    for name, lora in trained.items():
        if model.quantize != "none" and not lora.rank:
            raise ConfigError(f"model.quantize {model.quantize}, {name}.rank 0: {UNTRAINABLE}")


def quantization_config(quantize: Quantize, compute_dtype: str) -> BitsAndBytesConfig | None:
    """Return transformers' settings to quantise linear weights (except the output head); None for whole weights.

    bitsandbytes computes with weights of 8 bits in float16, whatever `compute_dtype` is.

    Raises:
        ModelError: bitsandbytes is not installed.
    """
    require_bitsandbytes(quantize)
    if quantize == "none":
        return None
    if quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, compute_dtype),
    )


def keep_differentiable(model: Any) -> None:
    """Leave 4-bit weights in their order on processors too.

    Where there are AVX512-BF16 instructions, bitsandbytes (0.50) reorders them at the first inference, after which
    nothing can be differentiated; and it takes only layers whose inputs are multiples of 64.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
