"""Families whose vision tower is CLIP or SigLIP and whose projector is a small MLP."""

from __future__ import annotations

import transformers as tf
from families import templates
from families.building import CHATML, CLIP, TEXT, Made, made, no_videos, pil
from families.vocabularies import byte_level, fast, metaspace

from mmunlearner.models.processor import without_videos


def llava() -> Made:
    core = metaspace(("<unk>", "<s>", "</s>", "<pad>", "<image>"), prefix=True)
    tokenizer = fast(core, pad="<pad>", eos="</s>", bos="<s>", named={"image_token": "<image>"}, begins=True)
    processor = tf.LlavaProcessor(
        pil("CLIP", size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=templates.LLAVA,
    )
    config = tf.LlavaConfig(
        vision_config=tf.CLIPVisionConfig(**CLIP),
        text_config=tf.LlamaConfig(vocab_size=len(tokenizer), **TEXT),
        image_token_index=tokenizer.image_token_id,
        image_seq_length=16,
    )
    return made("Llava", config, processor, tokenizer.eos_token_id)


PINPOINTS = [[32, 64], [64, 32], [64, 64]]


def llava_next() -> Made:
    core = metaspace(("<unk>", "<s>", "</s>", "<pad>", "<image>"), prefix=True)
    tokenizer = fast(core, pad="<pad>", eos="</s>", bos="<s>", named={"image_token": "<image>"}, begins=True)
    images = pil(
        "LlavaNext",
        size={"shortest_edge": 32},
        crop_size={"height": 32, "width": 32},
        image_grid_pinpoints=PINPOINTS,
    )
    processor = tf.LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=templates.LLAVA_NEXT,
    )
    config = tf.LlavaNextConfig(
        vision_config=tf.CLIPVisionConfig(**CLIP),
        text_config=tf.MistralConfig(vocab_size=len(tokenizer), sliding_window=None, **TEXT),
        image_token_index=tokenizer.image_token_id,
        image_grid_pinpoints=PINPOINTS,
        image_seq_length=16,
    )
    return made("LlavaNext", config, processor, tokenizer.eos_token_id)


def llava_onevision() -> Made:
    core = byte_level((*CHATML, "<image>", "<video>"))
    named = {"image_token": "<image>", "video_token": "<video>"}
    tokenizer = fast(core, pad="<|endoftext|>", eos="<|im_end|>", named=named)
    processor = without_videos(tf.LlavaOnevisionProcessor)(
        pil("LlavaOnevision", size={"height": 32, "width": 32}, image_grid_pinpoints=PINPOINTS),
        tokenizer,
        no_videos("LlavaOnevisionVideoProcessor"),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=templates.LLAVA_ONEVISION,
    )
    config = tf.LlavaOnevisionConfig(
        vision_config=tf.SiglipVisionConfig(vision_use_head=False, **CLIP),
        text_config=tf.Qwen2Config(vocab_size=len(tokenizer), **TEXT),
        image_token_index=tokenizer.image_token_id,
        video_token_index=tokenizer.video_token_id,
        image_grid_pinpoints=PINPOINTS,
    )
    return made("LlavaOnevision", config, processor, tokenizer.eos_token_id)


def internvl() -> Made:
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = fast(byte_level((*CHATML, *named.values())), pad="<|endoftext|>", eos="<|im_end|>", named=named)
    processor = without_videos(tf.InternVLProcessor)(
        pil("GotOcr2", size={"height": 32, "width": 32}, crop_to_patches=True, max_patches=4),
        tokenizer,
        no_videos("InternVLVideoProcessor"),
        image_seq_length=4,
        chat_template=templates.INTERNVL,
    )
    config = tf.InternVLConfig(
        vision_config=tf.InternVLVisionConfig(**{**CLIP, "image_size": [32, 32], "patch_size": [8, 8]}),
        text_config=tf.Qwen2Config(vocab_size=len(tokenizer), **TEXT),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
    )
    return made("InternVL", config, processor, tokenizer.eos_token_id)
