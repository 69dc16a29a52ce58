"""A tiny vision-language model of two million weights: a genuine LLaVA, its tokenizer and its processor.

It learns the people of the embedded benchmark, and the data of any recipe with `model.base: tiny`.
"""

# torch's stubs type every submodule of a model as Tensor or Module
# pyright: reportIndexIssue=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mmunlearner.data.prompts import CLOZE_INSTRUCTION, LETTER_INSTRUCTION
from mmunlearner.models import Loaded, load

IMAGE_SIZE, PATCH = 64, 16

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "<user>", "<assistant>", "<system>")
PAD, BEGIN, END = 0, 1, 2

# An option's line is one token, so that a small model learns multiple choice in minutes: it need not find out first
# which letter stands before which words. So are the instructions, for speed. After them: words, and everything else
# character by character.
_LINES = [r"[A-F]: [^\n]+", re.escape(LETTER_INSTRUCTION), re.escape(CLOZE_INSTRUCTION)]
_TOKEN = rf"(?<=\n)(?:{'|'.join(_LINES)})|[A-Za-z]+|[^\sA-Za-z]"

# A turn's images stand before its text, wherever the message has them, so that all questions about an image share
# the tokens up to the question.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<{{ message['role'] }}>"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def split_words(text: str) -> list[str]:
    """Return the tokens that the tokenizer splits a text into."""
    return re.findall(_TOKEN, text)


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer of all words in `texts`, the prompts' instructions, letters and punctuation."""
    fixed = [f"\n{LETTER_INSTRUCTION}", f"\n{CLOZE_INSTRUCTION}", "A B C D E F [ Blank ] . , ? ! : ; ' - ( ) _"]
    words = {word for text in [*fixed, *texts] for word in split_words(text)}
    # The words within an option's line too: its embedding starts from theirs.
    words |= {word for line in words if ": " in line for word in split_words(line[3:])}
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *sorted(words)])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(_TOKEN), "removed", invert=True)  # pyright: ignore
    return wrap_tokenizer(core, model_max_length=512)


def wrap_tokenizer(core: Tokenizer, **options: Any) -> PreTrainedTokenizerFast:
    """Return transformers' tokenizer around a word-level one whose vocabulary begins with `SPECIAL`."""
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>", "<user>", "<assistant>", "<system>"],
        clean_up_tokenization_spaces=False,
        **options,
    )


def build_processor(texts: Iterable[str]) -> LlavaProcessor:
    """Return tokenizer, image processor (64 x 64 pixels, 16 image tokens) and chat template in one."""
    images = CLIPImageProcessorPil(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        do_center_crop=False,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.25, 0.25, 0.25],
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=build_tokenizer(texts),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the class token, which the default strategy drops
        image_token="<image>",
        chat_template=CHAT_TEMPLATE,
    )


def llava_config(vocabulary: int, *, vision_width: int = 128, width: int = 160, layers: int = 3) -> LlavaConfig:
    """Return the configuration of a LLaVA of about two million weights."""
    vision = CLIPVisionConfig(
        hidden_size=vision_width,
        intermediate_size=3 * vision_width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH,
        projection_dim=vision_width,
    )
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BEGIN,
        eos_token_id=END,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=SPECIAL.index("<image>"),
        vision_feature_layer=-1,
        image_seq_length=(IMAGE_SIZE // PATCH) ** 2,
        tie_word_embeddings=True,
    )


def build(texts: Iterable[str], *, seed: int = 0) -> Loaded:
    """Build an untrained model with everything that it needs to read `texts` and 64-pixel images."""
    processor = build_processor(texts)
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(llava_config(len(processor.tokenizer)))  # pyright: ignore
    model.generation_config = GenerationConfig(pad_token_id=PAD, bos_token_id=BEGIN, eos_token_id=END, do_sample=False)
    _init_vision(model.model.vision_tower)
    _init_options(model, processor.tokenizer.get_vocab())  # pyright: ignore
    _init_queries(model)
    return Loaded(model, processor, "people (untrained)")


def from_oracle_weights(texts: Iterable[str], *, seed: int = 0) -> Loaded:
    """Build a model with a vocabulary of its own and the weights of the shipped oracle.

    It can see, and choose among options. Only the embeddings of words that the oracle does not know are new.
    """
    tiny, oracle = build(texts, seed=seed), load("people:oracle")
    vocabulary = tiny.processor.tokenizer.get_vocab()  # pyright: ignore
    oracle_vocabulary = oracle.processor.tokenizer.get_vocab()  # pyright: ignore
    embedding = tiny.model.get_input_embeddings().weight
    oracle_embedding = oracle.model.get_input_embeddings().weight
    # Embeddings are tied to the output head, and so appear twice; their rows are copied word by word below.
    weights = {n: w for n, w in oracle.model.state_dict().items() if w.data_ptr() != oracle_embedding.data_ptr()}
    loading = tiny.model.load_state_dict(weights, strict=False)
    tied = {n for n, w in tiny.model.state_dict().items() if w.data_ptr() == embedding.data_ptr()}
    assert (set(loading.missing_keys), loading.unexpected_keys) == (tied, [])
    shared = [word for word in vocabulary if word in oracle_vocabulary]
    with torch.no_grad():
        embedding.mul_(oracle_embedding.std() / embedding.std())  # new words as large as learned ones
        rows, oracle_rows = ([ids[word] for word in shared] for ids in (vocabulary, oracle_vocabulary))
        embedding[rows] = oracle_embedding[oracle_rows]
    _init_options(tiny.model, vocabulary)
    return Loaded(tiny.model, tiny.processor, "tiny")


def _init_options(model: Any, vocabulary: dict[str, int]) -> None:
    """Set the embedding of an option's line to that of its letter plus the mean of its words'.

    With the tied embeddings, and with queries that start equal to keys, multiple choice is a matter of a hundred steps.
    """
    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        for token, row in vocabulary.items():
            letter, colon, option = token.partition(": ")
            if colon:
                words = [vocabulary[word] for word in split_words(option)]
                embedding[row] = embedding[vocabulary[letter]] + embedding[words].mean(0)


def _init_queries(model: Any) -> None:
    """Set queries equal to keys, so that like finds like (mimetic: Trockman and Kolter 2023, arXiv 2305.09828)."""
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            query = layer.self_attn.q_proj.weight
            query.normal_(0.0, query.shape[1] ** -0.5)
            layer.self_attn.k_proj.weight.copy_(query)


def _init_vision(tower: Any) -> None:
    """Set positions to 2-D sines and cosines, and the patch kernel to fan-in scale: both shorten the warm-up much."""
    embeddings = tower.embeddings
    with torch.no_grad():
        kernel = embeddings.patch_embedding.weight
        kernel.normal_(0.0, kernel[0].numel() ** -0.5)
        positions = embeddings.position_embedding.weight
        positions[1:] = 0.5 * sine_positions(IMAGE_SIZE // PATCH, positions.shape[1])  # 0 is the class token's


def sine_positions(side: int, width: int) -> torch.Tensor:
    """Return 2-D sine/cosine positions of side x side patches, [side * side, width]."""
    rate = 10.0 ** -torch.linspace(0, 1, width // 4)
    angle = torch.arange(side)[:, None] * rate[None] * (torch.pi / 2)
    axis = torch.cat([angle.sin(), angle.cos()], dim=1)  # [side, width / 2]
    rows, columns = axis[:, None].expand(side, side, -1), axis[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, width)
