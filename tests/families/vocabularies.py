"""Tokenizers of the two kinds that the families have, trained offline on a few sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = (
    "You are a helpful assistant. user assistant model system User: Assistant: USER: ASSISTANT: [INST] [/INST]",
    "What colour is this hat? It is red. green blue white black person job the of in a Answer with the option's letter",
    "what colour is the hat of ann ? the colour of ben is [ ] Fill in Blank A B C D E : . only",
)


@cache
def byte_level(special: tuple[str, ...]) -> Tokenizer:
    """As GPT-2's descendants: Qwen, Llama 3, SmolLM, Mistral's Tekken."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + 256 + 60,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


@cache
def metaspace(special: tuple[str, ...], *, prefix: bool) -> Tokenizer:
    """As SentencePiece's: Llama 2 and Mistral 7B put a space before a text (`prefix`), Gemma does not."""
    blank = Tokenizer(models.BPE(unk_token="<unk>"))
    blank.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")  # pyright: ignore
    trainer = trainers.BpeTrainer(vocab_size=len(special) + 140, special_tokens=list(special), show_progress=False)
    blank.train_from_iterator(CORPUS, trainer)
    state = json.loads(blank.to_str())
    vocabulary = state["model"]["vocab"]
    for byte in range(256):  # letters that the corpus has not
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    state["model"]["byte_fallback"] = True
    tokenizer = Tokenizer.from_str(json.dumps(state))
    if prefix:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)  # pyright: ignore
    else:
        tokenizer.normalizer = normalizers.Replace(" ", "▁")  # pyright: ignore
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")  # pyright: ignore
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)  # pyright: ignore
    return tokenizer


def fast(
    core: Tokenizer,
    *,
    pad: str,
    eos: str,
    bos: str | None = None,
    named: Mapping[str, str] | None = None,
    special: Sequence[str] = (),
    begins: bool = False,
) -> PreTrainedTokenizerFast:
    """With the family's special tokens: `named` are those that its processor asks for by name, `begins` says whether
    the begin token is put before every text.
    """
    if begins:
        core = Tokenizer.from_str(core.to_str())
        core.post_processor = processors.TemplateProcessing(  # pyright: ignore
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, core.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=pad,
        eos_token=eos,
        bos_token=bos,
        extra_special_tokens=dict(named) if named else list(special),
        clean_up_tokenization_spaces=False,
    )
