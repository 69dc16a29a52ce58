"""Families with image tiles in rows and columns, with cross-attention, with break tokens."""

from __future__ import annotations

from typing import Any

import transformers as tf
from families import templates
from families.building import CLIP, TEXT, Made, made, no_videos, pil
from families.vocabularies import byte_level, fast
from transformers.utils.import_utils import is_torchvision_available

from mmunlearner.models.processor import NoVideos, pil_processor_class, without_videos


def _idefics(kind: str, processor: Any, template: str, begin: str, *videos: NoVideos) -> Made:
    marks = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>")
    places = tuple(f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7))
    special = ("<pad>", begin, "<|end_of_text|>", *marks, *places)
    core = byte_level(special)
    tokenizer = fast(core, pad="<pad>", eos="<|end_of_text|>", bos=begin, special=[*marks, *places])
    images = pil(kind, size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    ids = tokenizer.get_vocab()
    config = getattr(tf, f"{kind}Config")(
        vision_config=CLIP,
        text_config=tf.LlamaConfig(vocab_size=len(tokenizer), pad_token_id=ids["<pad>"], **TEXT),
        image_token_id=ids["<image>"],
        pad_token_id=ids["<pad>"],
        scale_factor=2,
    )
    ready = (without_videos(processor) if videos else processor)(
        images, tokenizer, *videos, image_seq_len=4, chat_template=template
    )
    return made(kind, config, ready, ids["<end_of_utterance>"], ids["<|end_of_text|>"])


def idefics3() -> Made:
    return _idefics("Idefics3", tf.Idefics3Processor, templates.IDEFICS3, "<|begin_of_text|>")


def smolvlm() -> Made:
    videos = no_videos("SmolVLMVideoProcessor")
    return _idefics("SmolVLM", tf.SmolVLMProcessor, templates.SMOLVLM, "<|im_start|>", videos)


def mllama() -> Made:
    headers = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>")
    special = ("<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", *headers, "<|image|>")
    core = byte_level(special)
    tokenizer = fast(
        core,
        pad="<|finetune_right_pad_id|>",
        eos="<|eot_id|>",
        bos="<|begin_of_text|>",
        special=[*headers, "<|image|>"],
        begins=True,
    )
    images = pil("Mllama", size={"height": 32, "width": 32}, max_image_tiles=4)
    ids = tokenizer.get_vocab()
    vision = {**CLIP, "num_global_layers": 1, "vision_output_dim": 64, "intermediate_layers_indices": [1]}
    text = {**TEXT, "vocab_size": len(tokenizer), "num_hidden_layers": 3, "cross_attention_layers": [1]}
    marked = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    config = tf.MllamaConfig(
        vision_config={**vision, "attention_heads": vision.pop("num_attention_heads")},
        text_config={**text, **marked},
        image_token_index=ids["<|image|>"],
    )
    processor = tf.MllamaProcessor(images, tokenizer, chat_template=templates.MLLAMA)
    return made("Mllama", config, processor, ids["<|end_of_text|>"], ids["<|eot_id|>"])


def mistral3() -> Made:
    turns = ("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")
    marks = ("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    core = byte_level(("<unk>", "<s>", "</s>", "<pad>", *turns, *marks))
    tokenizer = fast(core, pad="<pad>", eos="</s>", bos="<s>", special=[*turns, *marks], begins=True)
    kind = tf.PixtralProcessor if is_torchvision_available() else pil_processor_class(tf.PixtralProcessor)
    processor = kind(
        pil("Pixtral", size={"longest_edge": 64}, patch_size={"height": 8, "width": 8}),
        tokenizer,
        patch_size=8,
        spatial_merge_size=2,
        chat_template=templates.MISTRAL3,
    )
    config = tf.Mistral3Config(
        vision_config=tf.PixtralVisionConfig(**{**CLIP, "image_size": 64}),
        text_config=tf.MistralConfig(vocab_size=len(tokenizer), sliding_window=None, **TEXT),
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
    )
    return made("Mistral3", config, processor, tokenizer.eos_token_id)
