"""Families whose attention goes both ways in images."""

from __future__ import annotations

import transformers as tf
from families import templates
from families.building import CLIP, TEXT, Made, made, pil
from families.vocabularies import fast, metaspace


def paligemma() -> Made:
    core = metaspace(("<pad>", "<eos>", "<bos>", "<unk>", "<image>"), prefix=False)
    tokenizer = fast(core, pad="<pad>", eos="<eos>", bos="<bos>", named={"image_token": "<image>"})
    images = pil("Siglip", size={"height": 32, "width": 32})
    images.image_seq_length = 16
    processor = tf.PaliGemmaProcessor(images, tokenizer, chat_template=templates.paligemma())
    config = tf.PaliGemmaConfig(
        vision_config=tf.SiglipVisionConfig(vision_use_head=False, **CLIP),
        text_config=tf.GemmaConfig(vocab_size=len(tokenizer), head_dim=16, **TEXT),
        image_token_index=tokenizer.image_token_id,
        projection_dim=32,
        hidden_size=32,
    )
    return made("PaliGemma", config, processor, tokenizer.eos_token_id)


def gemma3() -> Made:
    special = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    core = metaspace((*special, *named.values()), prefix=False)
    tokenizer = fast(core, pad="<pad>", eos="<eos>", bos="<bos>", named=named, begins=True)
    processor = tf.Gemma3Processor(
        pil("Gemma3", size={"height": 32, "width": 32}), tokenizer, image_seq_length=4, chat_template=templates.GEMMA3
    )
    config = tf.Gemma3Config(
        vision_config=tf.SiglipVisionConfig(vision_use_head=False, **CLIP),
        text_config=tf.Gemma3TextConfig(
            vocab_size=len(tokenizer),
            head_dim=16,
            query_pre_attn_scalar=16,
            sliding_window=16,
            layer_types=["sliding_attention", "full_attention"],
            **TEXT,
        ),
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
    )
    return made("Gemma3", config, processor, tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>"))
