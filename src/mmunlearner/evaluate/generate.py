"""Plain greedy generation, batched by image and length; an image is read once for all that is asked about it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from mmunlearner.batches import Encoder, Row, common_prefix, prompts
from mmunlearner.config import EvaluateConfig

_log = logging.getLogger(__name__)


@dataclass
class Speaker:
    """Says what a model says to prompts: greedy, up to and with an end token."""

    encoder: Encoder
    config: EvaluateConfig
    shares: bool | None = field(default=None, init=False)
    """Whether questions may go on from one reading of their image; None until it has been tried."""

    def say(self, rows: Sequence[Row], told: Callable[[int], None]) -> list[tuple[int, ...]]:
        """The answer to each row's prompt. `told` hears how many are done."""
        said: dict[int, tuple[int, ...]] = {}
        longest: dict[str, int] = {}
        for row in rows:
            longest[row.group] = max(longest.get(row.group, 0), row.answer_start)
        order = sorted(range(len(rows)), key=lambda i: (-longest[rows[i].group], rows[i].group, -rows[i].answer_start))
        with _plain_greedy(self.encoder, self.config.max_new_tokens), torch.inference_mode():
            for start in range(0, len(order), self.config.batch_size):
                chosen = order[start : start + self.config.batch_size]
                said.update(zip(chosen, self._batch([rows[i] for i in chosen]), strict=True))
                told(len(said))
        return [said[i] for i in range(len(rows))]

    def _batch(self, rows: Sequence[Row]) -> list[tuple[int, ...]]:
        shared = self._shared(rows) if self.shares is not False else 0
        if shared and self.shares is None:
            self.shares = self._try_sharing([row for row in rows if row.group == rows[0].group][:4], shared)
        return self._run(self._read(rows, shared)) if shared and self.shares else self._run(prompts(rows, self.encoder))

    def _shared(self, rows: Sequence[Row]) -> int:
        """How many leading tokens, all of the image's among them, the rows of each image have alike; 0: too few."""
        groups: dict[str, list[Row]] = {}
        for row in rows:
            groups.setdefault(row.group, []).append(row)
        token: int | None = getattr(self.encoder.loaded.model.config, "image_token_id", None)
        if token is None or len(groups) == len(rows) or any(row.image is None for row in rows):
            return 0
        shared = min(min(common_prefix(group), group[0].answer_start - 1) for group in groups.values())
        return 0 if any(token in row.input_ids[shared:] for row in rows) else shared

    def _read(self, rows: Sequence[Row], shared: int) -> dict[str, Any]:
        """Inputs for `generate` that go on from the images' keys and values; what differs is padded behind them."""
        model: Any = self.encoder.loaded.model
        firsts = {row.group: row for row in rows}
        heads = prompts([Row(row.input_ids[:shared], shared, row.image) for row in firsts.values()], self.encoder)
        tails = prompts([Row(row.input_ids[shared:], row.answer_start - shared) for row in rows], self.encoder)
        cache = model(**_to(heads, model.device), use_cache=True, logits_to_keep=1).past_key_values
        places = list(firsts)
        index = torch.tensor([places.index(row.group) for row in rows])
        cache.batch_select_indices(index.to(model.device))
        whole = {name: torch.cat([heads[name][index], tails[name]], 1) for name in ("input_ids", "attention_mask")}
        return {**whole, "past_key_values": cache}

    def _run(self, inputs: dict[str, Any]) -> list[tuple[int, ...]]:
        model: Any = self.encoder.loaded.model
        new = model.generate(**_to(inputs, model.device))[:, inputs["input_ids"].shape[1] :].tolist()
        return [_until_end(tokens, self.encoder.ends) for tokens in new]

    def _try_sharing(self, rows: Sequence[Row], shared: int) -> bool:
        """Answer a few rows both ways: images or positions that a family handles otherwise would show."""
        try:
            together = self._run(self._read(rows, shared))
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            _log.info("%s: answers cannot go on from one image (%s)", self.encoder.loaded.source, error)
            return False
        return together == self._run(prompts(rows, self.encoder))


def _to(inputs: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}


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
