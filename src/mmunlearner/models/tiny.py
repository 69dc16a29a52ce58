"""The tiny vision-language model that learns the people: a genuine LLaVA, its tokenizer and its processor."""

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

# An option's line is one token, which is what lets a small model learn multiple choice in minutes: it need not find
# out first which letter stands before which words. So are the instructions, for speed. Behind them: words, and
# everything else sign by sign.
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


def words(text: str) -> list[str]:
    """How the tokenizer splits a text."""
    return re.findall(_TOKEN, text)


def tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Word-level tokenizer of all words in `texts`, the prompts' instructions, letters and punctuation."""
    fixed = [f"\n{LETTER_INSTRUCTION}", f"\n{CLOZE_INSTRUCTION}", "A B C D E F [ Blank ] . , ? ! : ; ' - ( ) _"]
    known = {word for text in [*fixed, *texts] for word in words(text)}
    known |= {word for option in known if ": " in option for word in words(option[3:])}
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *sorted(known)])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(_TOKEN), "removed", invert=True)  # pyright: ignore
    return wrapped(core, model_max_length=512)


def wrapped(core: Tokenizer, **options: Any) -> PreTrainedTokenizerFast:
    """A word-level tokenizer that knows `SPECIAL`, as transformers wants it."""
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


def processor(texts: Iterable[str]) -> LlavaProcessor:
    """Tokenizer, image processor (64 x 64 pixels, 16 image tokens) and chat template."""
    images = CLIPImageProcessorPil(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        do_center_crop=False,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.25, 0.25, 0.25],
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer(texts),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the class token, which the default strategy drops
        image_token="<image>",
        chat_template=CHAT_TEMPLATE,
    )


def config(vocabulary: int, *, vision_width: int = 128, width: int = 160, layers: int = 3) -> LlavaConfig:
    """A LLaVA of about two million weights."""
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
    """An untrained model with everything that it needs to read `texts` and 64-pixel pictures."""
    made = processor(texts)
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config(len(made.tokenizer)))  # pyright: ignore
    model.generation_config = GenerationConfig(pad_token_id=PAD, bos_token_id=BEGIN, eos_token_id=END, do_sample=False)
    _start_vision(model.model.vision_tower)
    _start_options(model, made.tokenizer.get_vocab())  # pyright: ignore
    _start_queries(model)
    return Loaded(model, made, "people (untrained)")


def schooled(texts: Iterable[str], *, seed: int = 0) -> Loaded:
    """A model with a vocabulary of its own that goes on from the shipped oracle: it can see, and choose among options.

    All weights are the oracle's but the embeddings of words that it does not know.
    """
    made, school = build(texts, seed=seed), load("people:oracle")
    known = school.processor.tokenizer.get_vocab()  # pyright: ignore
    own = made.processor.tokenizer.get_vocab()  # pyright: ignore
    embedding, taught = made.model.get_input_embeddings().weight, school.model.get_input_embeddings().weight
    others = {n: w for n, w in school.model.state_dict().items() if w.data_ptr() != taught.data_ptr()}  # tied: twice
    made.model.load_state_dict(others, strict=False)
    shared = [word for word in own if word in known]
    with torch.no_grad():
        embedding.mul_(taught.std() / embedding.std())
        embedding[[own[word] for word in shared]] = taught[[known[word] for word in shared]]
    _start_options(made.model, own)
    return Loaded(made.model, made.processor, "tiny")


def _start_options(model: Any, vocabulary: dict[str, int]) -> None:
    """An option's token starts as its letter plus its words.

    With the tied embeddings, and with queries that start equal to keys, multiple choice is a matter of a hundred steps.
    """
    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        for token, row in vocabulary.items():
            letter, colon, option = token.partition(": ")
            if colon:
                inside = [vocabulary[word] for word in words(option)]
                embedding[row] = embedding[vocabulary[letter]] + embedding[inside].mean(0)


def _start_queries(model: Any) -> None:
    """Queries start equal to keys, so that like finds like (mimetic: Trockman and Kolter 2023, arXiv 2305.09828)."""
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            query = layer.self_attn.q_proj.weight
            query.normal_(0.0, query.shape[1] ** -0.5)
            layer.self_attn.k_proj.weight.copy_(query)


def _start_vision(tower: Any) -> None:
    """Positions start as 2-D sines and cosines, the patch kernel at fan-in scale: both shorten the warm-up by far."""
    embeddings = tower.embeddings
    with torch.no_grad():
        kernel = embeddings.patch_embedding.weight
        kernel.normal_(0.0, kernel[0].numel() ** -0.5)
        positions = embeddings.position_embedding.weight
        positions[1:] = 0.5 * sines(IMAGE_SIZE // PATCH, positions.shape[1])


def sines(side: int, width: int) -> torch.Tensor:
    """2-D sine/cosine positions of side x side patches, [side * side, width]."""
    rate = 10.0 ** -torch.linspace(0, 1, width // 4)
    place = torch.arange(side)[:, None] * rate[None] * (torch.pi / 2)
    one = torch.cat([place.sin(), place.cos()], dim=1)  # [side, width / 2]
    rows, columns = one[:, None].expand(side, side, -1), one[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, width)
