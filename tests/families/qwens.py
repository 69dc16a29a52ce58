"""Families whose positions have several axes."""

from __future__ import annotations

from typing import Any

import transformers as tf
from families import templates
from families.building import CHATML, TEXT, Made, made, no_videos, pil
from families.vocabularies import byte_level, fast

from mmunlearner.models.processor import without_videos


def _qwen(kind: str, processor: Any, template: str, video: str, patch: int, vision: Any, **text: Any) -> Made:
    marks = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = fast(byte_level((*CHATML, *marks)), pad="<|endoftext|>", eos="<|im_end|>", special=[*CHATML, *marks])
    ids = tokenizer.get_vocab()
    area = {"shortest_edge": (2 * patch) ** 2, "longest_edge": 12 * (2 * patch) ** 2}
    images = pil("Qwen2VL", patch_size=patch, size=area)
    config = getattr(tf, f"{kind}Config")(
        text_config={"vocab_size": len(tokenizer), **TEXT, **text},
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    ends = (ids["<|im_end|>"], ids["<|endoftext|>"])
    return made(
        kind, config, without_videos(processor)(images, tokenizer, no_videos(video), chat_template=template), *ends
    )


SECTIONS = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
VISION = {"depth": 2, "hidden_size": 32, "num_heads": 2, "patch_size": 8}
LATER = {**VISION, "intermediate_size": 48, "out_hidden_size": 32}


def qwen2_vl() -> Made:
    video, vision = "Qwen2VLVideoProcessor", {**VISION, "embed_dim": 32}
    return _qwen("Qwen2VL", tf.Qwen2VLProcessor, templates.QWEN2_VL, video, 8, vision, rope_parameters=SECTIONS)


def qwen2_5_vl() -> Made:
    video, vision = "Qwen2VLVideoProcessor", {**LATER, "window_size": 32, "fullatt_block_indexes": [1]}
    return _qwen("Qwen2_5_VL", tf.Qwen2_5_VLProcessor, templates.QWEN2_VL, video, 8, vision, rope_parameters=SECTIONS)


def qwen3_vl() -> Made:
    video, vision = "Qwen3VLVideoProcessor", {**LATER, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    text = {"head_dim": 16, "rope_parameters": {**SECTIONS, "mrope_interleaved": True}}
    return _qwen("Qwen3VL", tf.Qwen3VLProcessor, templates.QWEN3_VL, video, 8, vision, **text)
