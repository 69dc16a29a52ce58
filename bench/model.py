"""A LLaVA of 25 million random weights that sees an image as 576 tokens, as LLaVA-1.5 does."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from bench.people import texts
from mmunlearner.models import Loaded
from mmunlearner.models.tiny import CHAT_TEMPLATE, SPECIAL, wrap_tokenizer

PATCH = 14


def build(*, layers: int = 11, side: int = 336, seed: int = 0) -> Loaded:
    """Build an untrained model that can read the questions of `people`."""
    processor = _processor(side)
    vision = CLIPVisionConfig(
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=4,
        image_size=side,
        patch_size=PATCH,
    )
    text = LlamaConfig(
        vocab_size=len(processor.tokenizer),
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=layers,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=4096,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=SPECIAL.index("<image>"),
        vision_feature_layer=-1,
        image_seq_length=(side // PATCH) ** 2,
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    return Loaded(model.eval(), processor, "bench")


def _processor(side: int) -> Any:
    words = {word for text in texts() for word, _ in pre_tokenizers.Whitespace().pre_tokenize_str(text)}
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *sorted(words)])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    return LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side}),
        wrap_tokenizer(core),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=CHAT_TEMPLATE,
    )
