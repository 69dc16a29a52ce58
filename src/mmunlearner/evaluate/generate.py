"""Plain greedy generation, batched by image and length; an image is read once for all that is asked about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from typing import Any, cast

import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin

from mmunlearner.batches import (
    Encoder,
    Row,
    can_share,
    compatible_rows,
    pad_left,
    prompt_inputs,
    rotary_positions,
    shared_prompt_length,
)
from mmunlearner.config import EvaluateConfig
from mmunlearner.core.progress import Progress
from mmunlearner.models import input_device

_TAKEN = signature(cast(Any, GenerationMixin).prepare_inputs_for_generation).parameters
CACHE = "cache" if "cache" in _TAKEN else "past_key_values"
"""What `generate` calls keys and values; transformers 5.24 has another name than the releases before it."""


def generate(
    rows: Sequence[Row],
    encoder: Encoder,
    config: EvaluateConfig,
    title: str = "",
    progress: Progress = Progress(),
) -> list[tuple[int, ...]]:
    """What the model says to each row's prompt: greedy, up to and with an end token.

    `progress` counts the rows that are done under `title`.
    """
    said: dict[int, tuple[int, ...]] = {}
    model: Any = encoder.loaded.model
    with _plain_greedy(encoder, config.max_new_tokens), torch.inference_mode():
        for chosen in _chunks(rows, config.batch_size):
            asked = [rows[i] for i in chosen]
            shared = _shared(asked, encoder)
            inputs = (
                _read(asked, shared, encoder) if shared else _to(prompt_inputs(asked, encoder), input_device(model))
            )
            new = model.generate(**inputs)[:, inputs["input_ids"].shape[1] :].tolist()
            said.update((i, _until_end(tokens, encoder.ends)) for i, tokens in zip(chosen, new, strict=True))
            progress.update(title, len(said), len(rows))
    return [said[i] for i in range(len(rows))]


def _chunks(rows: Sequence[Row], size: int) -> Iterator[list[int]]:
    """Numbers of rows that are asked together: alike, of the same images, and of like length."""
    longest: dict[tuple[str, ...], int] = {}
    for row in rows:
        longest[row.group] = max(longest.get(row.group, 0), row.answer_start)
    for some in compatible_rows(rows):
        order = sorted(some, key=lambda i: (-longest[rows[i].group], rows[i].group, -rows[i].answer_start))
        for start in range(0, len(order), size):
            yield order[start : start + size]


def _shared(rows: Sequence[Row], encoder: Encoder) -> int:
    """How many leading tokens, all of the images' among them, the rows of each group have alike; 0: read them whole."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    token: int | None = getattr(encoder.loaded.model.config, "image_token_id", None)
    if token is None or len(groups) == len(rows) or not all(row.images for row in rows):
        return 0
    shared = min(min(shared_prompt_length(group), group[0].answer_start - 1) for group in groups.values())
    return shared if can_share(rows, encoder) and not any(token in row.input_ids[shared:] for row in rows) else 0


def _read(rows: Sequence[Row], shared: int, encoder: Encoder) -> dict[str, Any]:
    """Inputs for `generate` that go on from the images' keys and values; what differs is padded behind them."""
    model: Any = encoder.loaded.model
    firsts = {row.group: row for row in rows}
    heads = prompt_inputs(
        [replace(row, input_ids=row.input_ids[:shared], answer_start=shared) for row in firsts.values()], encoder
    )
    tails = prompt_inputs([Row(row.input_ids[shared:], row.answer_start - shared) for row in rows], encoder)
    cache = model(**_to(heads, input_device(model)), use_cache=True, logits_to_keep=1)[CACHE]
    places = list(firsts)
    index = torch.tensor([places.index(row.group) for row in rows])
    cache.batch_select_indices(index.to(input_device(model)))
    whole = {name: torch.cat([heads[name][index], tails[name]], 1) for name in ("input_ids", "attention_mask")}
    alone = rotary_positions(rows, encoder)
    if alone is not None:
        whole["position_ids"] = torch.stack(
            [_apart(alone[:, i], shared, row.answer_start, whole["input_ids"].shape[1]) for i, row in enumerate(rows)],
            1,
        )
    return {**_to(whole, input_device(model)), CACHE: cache}


def _apart(positions: Tensor, shared: int, start: int, length: int) -> Tensor:
    """A prompt's positions [A, L] where its end is padded on the left, behind the beginning that it shares."""
    head, tail = positions[:, :shared], positions[:, shared:start]
    return torch.cat([head, pad_left(tail.T, length - shared).T], 1)


def _to(inputs: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: values.to(device) for name, values in inputs.items()}


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
