"""Greedy generation, batched by image and length; an image is read once for all questions about it."""

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
from mmunlearner.data import group_by
from mmunlearner.models import input_device

_PARAMETERS = signature(cast(Any, GenerationMixin).prepare_inputs_for_generation).parameters
CACHE = "cache" if "cache" in _PARAMETERS else "past_key_values"
"""Name of the argument of `generate` that takes keys and values; transformers 5.24 renamed it."""


def generate(
    rows: Sequence[Row],
    encoder: Encoder,
    config: EvaluateConfig,
    title: str = "",
    progress: Progress = Progress(),
) -> list[tuple[int, ...]]:
    """Return the model's greedy answer to each row's prompt, with its end token if it has reached one.

    `progress` counts the answered rows under `title`.
    """
    answers: dict[int, tuple[int, ...]] = {}
    model: Any = encoder.loaded.model
    with _plain_greedy(encoder, config.max_new_tokens), torch.inference_mode(), encoder.loaded.autocast():
        for numbers in _batches(rows, config.batch_size):
            chosen = [rows[i] for i in numbers]
            if prefix := _image_prefix_length(chosen, encoder):
                inputs = _inputs_behind_prefix(chosen, prefix, encoder)
            else:
                inputs = _to(prompt_inputs(chosen, encoder), input_device(model))
            new = model.generate(**inputs)[:, inputs["input_ids"].shape[1] :].tolist()
            for i, tokens in zip(numbers, new, strict=True):
                # Behind its end token an answer is padded until the last answer of the batch ends.
                end = next((n for n, token in enumerate(tokens) if token in encoder.ends), len(tokens) - 1)
                answers[i] = tuple(tokens[: end + 1])
            progress.update(title, len(answers), len(rows))
    return [answers[i] for i in range(len(rows))]


def _batches(rows: Sequence[Row], size: int) -> Iterator[list[int]]:
    """Yield the rows of each batch by their numbers: rows that fit together, those of the same images side by side."""
    longest: dict[tuple[str, ...], int] = {}
    for row in rows:
        longest[row.group] = max(longest.get(row.group, 0), row.answer_start)
    for compatible in compatible_rows(rows):
        # By length, so that little is padded; by the longest row of the group first, so that a group stays together
        # and its image is read once.
        order = sorted(compatible, key=lambda i: (-longest[rows[i].group], rows[i].group, -rows[i].answer_start))
        for start in range(0, len(order), size):
            yield order[start : start + size]


def _image_prefix_length(rows: Sequence[Row], encoder: Encoder) -> int:
    """Return the number of leading tokens that can be read once per group of rows about the same images.

    It is the same for all groups, and includes all image tokens. 0: nothing can be shared.
    """
    groups = group_by(rows, lambda row: row.group)
    image_token: int | None = getattr(encoder.loaded.model.config, "image_token_id", None)
    if image_token is None or len(groups) == len(rows) or not all(row.images for row in rows):
        return 0
    # At least one token of each prompt must stand behind the prefix: it predicts the first token of the answer.
    length = min(min(shared_prompt_length(group), group[0].answer_start - 1) for group in groups)
    # `generate` continues from tokens alone: pixels must have been read with the prefix.
    in_front = not any(image_token in row.input_ids[length:] for row in rows)
    return length if can_share(rows, encoder) and in_front else 0


def _inputs_behind_prefix(rows: Sequence[Row], prefix: int, encoder: Encoder) -> dict[str, Any]:
    """Return inputs for `generate` that continue from the keys and values of the first `prefix` tokens.

    A row is [prefix | padding | rest of the prompt]. All prefixes have the same length. The rests are padded on the
    left, and the attention mask hides the padding.
    """
    model: Any = encoder.loaded.model
    first_of_group = {row.group: row for row in rows}
    prefixes = [replace(row, input_ids=row.input_ids[:prefix], answer_start=prefix) for row in first_of_group.values()]
    prefix_inputs = prompt_inputs(prefixes, encoder)
    # Only the keys and values are used, so the logits of a single token suffice: all of them can take gigabytes.
    cache = model(**_to(prefix_inputs, input_device(model)), use_cache=True, logits_to_keep=1)[CACHE]
    # One prefix was read per group: give each row a copy of its group's keys and values.
    groups = list(first_of_group)
    index = torch.tensor([groups.index(row.group) for row in rows])
    cache.batch_select_indices(index.to(input_device(model)))
    rests = prompt_inputs([Row(row.input_ids[prefix:], row.answer_start - prefix) for row in rows], encoder)
    # `generate` wants the ids and the mask of all tokens, those in the cache included.
    inputs = {name: torch.cat([prefix_inputs[name][index], rests[name]], 1) for name in ("input_ids", "attention_mask")}
    # [A, B, L]: models with multimodal rotary positions take them from the images, which `generate` no longer sees.
    # They count without the padding between prefix and rest.
    positions = rotary_positions(rows, encoder)
    if positions is not None:
        length = inputs["input_ids"].shape[1] - prefix
        per_row = [
            torch.cat([of_row[:, :prefix], pad_left(of_row[:, prefix : row.answer_start].T, length).T], 1)
            for of_row, row in zip(positions.unbind(1), rows, strict=True)
        ]
        inputs["position_ids"] = torch.stack(per_row, 1)
    return {**_to(inputs, input_device(model)), CACHE: cache}


def _to(inputs: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: values.to(device) for name, values in inputs.items()}


@contextmanager
def _plain_greedy(encoder: Encoder, max_new_tokens: int) -> Iterator[None]:
    """Replace a checkpoint's own generation config, and restore it afterwards."""
    # It may add sampling or repetition penalties: the scores would be those of its settings rather than of the model.
    model: Any = encoder.loaded.model
    original = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=sorted(encoder.ends), pad_token_id=encoder.pad_id
    )
    try:
        yield
    finally:
        model.generation_config = original
