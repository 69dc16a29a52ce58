"""What the tiny models of all families are made of."""

from __future__ import annotations

from typing import Any

import torch
import transformers as tf
from transformers import PreTrainedModel, ProcessorMixin

from mmunlearner.models.processor import NoVideos

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
CLIP = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

Made = tuple[PreTrainedModel, ProcessorMixin]


def pil(name: str, **settings: Any) -> Any:
    """An image processor by its name, in the variant that needs no torchvision."""
    return getattr(tf, f"{name}ImageProcessorPil")(**settings)


def no_videos(kind: str) -> NoVideos:
    """What the real checkpoints say of videos, which nobody is shown here."""
    return NoVideos.from_dict({"video_processor_type": kind, "do_resize": True})


def made(kind: str, config: Any, processor: ProcessorMixin, *ends: int) -> Made:
    """The model with random weights, ending its answers with `ends`."""
    torch.manual_seed(0)
    model = getattr(tf, f"{kind}ForConditionalGeneration")(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not weight.any() and "bias" not in name:
                weight.normal_(std=0.5)  # gates that start closed, a projector that starts at zero
    tokenizer: Any = getattr(processor, "tokenizer")  # noqa: B009
    model.generation_config.eos_token_id = list(ends) if len(ends) > 1 else ends[0]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), processor
