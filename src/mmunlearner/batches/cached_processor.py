"""Texts with images in tokens: the processor sees each image once, however many questions are asked about it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmunlearner.batches.chat import ChatTemplate
from mmunlearner.batches.encoding_cache import EncodingCache, Tokens
from mmunlearner.data import ImageRef, image_keys
from mmunlearner.errors import DataError, ModelError, reason
from mmunlearner.models import Loaded

Images = tuple[ImageRef, ...]
_UNUSED = {"input_ids", "attention_mask", "special_tokens_mask", "labels"}
"""Outputs of a processor that are computed here again, or not used."""
_TOKEN_TYPES = {"token_type_ids", "mm_token_type_ids"}
"""Models' names for the type of a token: 0 for those of a text."""


class CachedProcessor:
    """A model's processor that sees the images of a row together, and only once."""

    def __init__(self, loaded: Loaded, chat: ChatTemplate, cache: EncodingCache) -> None:
        self.loaded, self.chat, self.cache = loaded, chat, cache
        self.tokenizer: Any = getattr(loaded.processor, "tokenizer")  # noqa: B009 (absent from the stub)
        # The longest first: one special token may begin with another.
        self.special_tokens: Sequence[str] = sorted(self.tokenizer.all_special_tokens, key=len, reverse=True)
        self.model_inputs = frozenset(inspect.signature(loaded.model.forward).parameters)

    def tokens(self, text: str, question: str, images: Images) -> Tokens:
        """Return the tokens of a rendered conversation that asks `question` about these images.

        Raises:
            DataError: the processor does not take the images.
            ModelError: the chat template does not take so many.
        """
        if not images:
            ids = self._tokenize(text, add_special=not self.begins_itself(text))
            types = _TOKEN_TYPES & self.model_inputs
            return Tokens(ids, {name: torch.zeros(len(ids), dtype=torch.long) for name in types})
        # Images' tokens end at a special token, where tokenizers split, so that the questions behind them can be
        # tokenized alone. Split behind the last special token before the question; 0 if there is none.
        before = text[: text.rindex(question)] if question in text else ""
        split = max((before.rfind(token) + len(token) for token in self.special_tokens if token in before), default=0)
        rest = self._tokenize(text[split:], add_special=False)
        key = (image_keys(images), text[:split])
        if key not in self.cache.prefixes:
            processed = self.process(text, images)
            length = len(processed.ids) - len(rest)
            if split == 0 or not rest or processed.ids[length:] != rest:
                return processed  # this tokenizer does not split there: its processor is called for every row
            # The first token behind the images has the fields that every later one has (it may see all images).
            fields = {name: values[: length + 1] for name, values in processed.fields.items()}
            self.cache.prefixes[key] = Tokens(processed.ids[:length], fields)
        ids, fields = self.cache.prefixes[key]
        return Tokens(ids + rest, {n: repeat_last(values, values[-1], len(rest) - 1) for n, values in fields.items()})

    def pixels(self, images: Images) -> dict[str, Tensor]:
        """Return what the processor makes of a row's images beside tokens (`pixel_values`; by family, sizes, grids).

        Raises:
            DataError: the processor does not take the images.
            ModelError: the chat template does not take so many.
        """
        key = image_keys(images)
        if key not in self.cache.pixels:  # dropped for others: any text with these images gives them again
            self.process(self.chat.prompt("", len(images)), images)
        return self.cache.pixels[key]

    def process(self, text: str, images: Images) -> Tokens:
        """Return the processor's tokens of the whole text, and cache the images' pixels.

        Raises:
            DataError: the processor does not take the images.
            ModelError: the chat template does not take so many.
        """
        self.chat.check_images(len(images))
        processor: Any = self.loaded.processor
        decoded = [image.open() for image in images]
        add_special = not self.begins_itself(text)
        try:
            out = processor(text=[text], images=[decoded], return_tensors="pt", add_special_tokens=add_special)
        except Exception as error:  # of every kind: by its settings, the processor may be unable to take any image
            paths = ", ".join(image.path for image in images)
            raise DataError(f"{paths}: not taken by the processor of {self.loaded.source}: {reason(error)}") from error
        ids = tuple(out["input_ids"][0].tolist())
        rest = {name: values for name, values in out.items() if name not in _UNUSED}
        # An output with a value for each token belongs to the row, all others to its images.
        of_tokens = {name for name, values in rest.items() if values.shape[:2] == (1, len(ids))}
        pixels = {name: rest[name] for name in rest if name not in of_tokens}
        if not all(values.isfinite().all() for values in pixels.values() if isinstance(values, Tensor)):
            raise ModelError(
                f"model {self.loaded.source}: its image processor makes numbers that are not finite of "
                f"{images[0].path}; mend its settings (image_std, rescale_factor)"
            )
        if image_keys(images) not in self.cache.pixels:
            self.cache.add_pixels(image_keys(images), pixels)
        return Tokens(ids, {name: rest[name][0] for name in rest if name in of_tokens & self.model_inputs})

    def begins_itself(self, text: str) -> bool:
        """Return whether the chat template has written the begin token, so that the tokenizer must not add one."""
        return bool(self.tokenizer.bos_token) and text.startswith(self.tokenizer.bos_token)

    def _tokenize(self, text: str, *, add_special: bool) -> tuple[int, ...]:
        key = (text, add_special)
        if key not in self.cache.tokens:  # many people are asked the same
            try:
                self.cache.tokens[key] = tuple(self.tokenizer(text, add_special_tokens=add_special)["input_ids"])
            except Exception as error:  # of every kind, with settings of another shape
                raise ModelError(
                    f"model {self.loaded.source}: its tokenizer cannot read {text[:60]!r} ({reason(error)})"
                ) from error
        return self.cache.tokens[key]


def repeat_last(values: Tensor, last: Tensor, count: int) -> Tensor:
    """Append `last` so many times: [L, ...] -> [L + count, ...]."""
    return torch.cat([values, last[None].expand(count, *last.shape)]) if count else values
