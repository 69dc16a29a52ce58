"""Plain greedy generation, batched by length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from mmunlearner.batches import Encoder, Row, alike, prompts
from mmunlearner.config import EvaluateConfig


def generate(
    rows: Sequence[Row], encoder: Encoder, config: EvaluateConfig, told: Callable[[int], None]
) -> list[tuple[int, ...]]:
    """What the model says to each row's prompt: greedy, up to and with an end token. `told` hears how many are done."""
    said: dict[int, tuple[int, ...]] = {}
    model: Any = encoder.loaded.model
    with _plain_greedy(encoder, config.max_new_tokens), torch.inference_mode():
        for chosen in _chunks(rows, config.batch_size):
            inputs = {k: v.to(model.device) for k, v in prompts([rows[i] for i in chosen], encoder).items()}
            new = model.generate(**inputs)[:, inputs["input_ids"].shape[1] :].tolist()
            said.update((i, _until_end(tokens, encoder.ends)) for i, tokens in zip(chosen, new, strict=True))
            told(len(said))
    return [said[i] for i in range(len(rows))]


def _chunks(rows: Sequence[Row], size: int) -> Iterator[list[int]]:
    """Numbers of rows that are asked together: alike, and of like length."""
    for some in alike(rows):
        order = sorted(some, key=lambda i: (-rows[i].answer_start, rows[i].group))
        for start in range(0, len(order), size):
            yield order[start : start + size]


@contextmanager
def _plain_greedy(encoder: Encoder, max_new_tokens: int) -> Iterator[None]:
    """Set aside what a checkpoint's own generation config adds (sampling, repetition penalties...): the score would
    be its defaults' rather than the model's.
    """
    model: Any = encoder.loaded.model
    own = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=sorted(encoder.ends), pad_token_id=encoder.pad_id
    )
    try:
        yield
    finally:
        model.generation_config = own


def _until_end(tokens: Sequence[int], ends: frozenset[int]) -> tuple[int, ...]:
    end = next((i for i, token in enumerate(tokens) if token in ends), len(tokens) - 1)
    return tuple(tokens[: end + 1])
