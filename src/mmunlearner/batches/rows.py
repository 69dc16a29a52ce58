"""Examples -> rows of tokens: one conversation each, with the place where the answer starts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch

from mmunlearner.data import Example, ImageRef, prompt, target
from mmunlearner.errors import DataError, ModelError
from mmunlearner.models import Loaded, end_token_ids

# What a processor returns about tokens rather than about images.
_TOKEN_FIELDS = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "special_tokens_mask"}
_PIXEL_BYTES = 2**30


@dataclass(frozen=True)
class Row:
    """One conversation in tokens: `input_ids[:answer_start]` asks, the rest answers and ends."""

    input_ids: tuple[int, ...]
    answer_start: int
    image: ImageRef | None = field(default=None, compare=False)

    @property
    def group(self) -> str:
        """Rows of one group see the same image, so they can share its prefix; all texts form one group."""
        return "" if self.image is None else self.image.key


@dataclass
class _Known:
    """What encoders have encoded so far."""

    pixels: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    heads: dict[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)
    rows: dict[tuple[str, str, str], Row] = field(default_factory=dict)
    texts: dict[tuple[str, str | None, bool], str] = field(default_factory=dict)
    tokens: dict[tuple[str, bool], tuple[int, ...]] = field(default_factory=dict)

    def keep(self, image: ImageRef, pixels: dict[str, torch.Tensor]) -> None:
        """Keep an image's pixels, and let go of the oldest where they would fill the memory."""
        self.pixels[image.key] = pixels
        each = sum(tensor.nbytes for tensor in pixels.values())
        while len(self.pixels) > 1 and len(self.pixels) * each > _PIXEL_BYTES:
            del self.pixels[next(iter(self.pixels))]


@lru_cache(maxsize=2)
def _known_to(fingerprint: str) -> _Known:
    return _Known()


def _fingerprint(loaded: Loaded, ends: frozenset[int]) -> str:
    """Equal for processors that encode alike."""
    processor: Any = loaded.processor
    backend = getattr(processor.tokenizer, "backend_tokenizer", None)
    vocabulary = backend.to_str() if backend is not None else sorted(processor.tokenizer.get_vocab().items())
    return hashlib.sha256(
        repr((type(processor), processor.to_dict(), processor.chat_template, vocabulary, sorted(ends))).encode()
    ).hexdigest()


@dataclass
class Encoder:
    """Turns examples into rows with a model's own processor and chat template.

    Each image is processed once, and what is encoded is known to every encoder of an equal processor: the models of a
    run are asked the same. An image's tokens end at a special token, where every tokenizer splits, so that the
    questions behind it can be tokenized without it; where that does not hold for a tokenizer, the processor is
    called for every row.
    """

    loaded: Loaded

    def __post_init__(self) -> None:
        if not getattr(self.loaded.processor, "chat_template", None):
            raise ModelError(f"model {self.loaded.source}: its processor has no chat template")
        self.tokenizer: Any = getattr(self.loaded.processor, "tokenizer")  # noqa: B009 (absent from the stub)
        self.ends = end_token_ids(self.loaded)
        self._special = sorted(self.tokenizer.all_special_tokens, key=len, reverse=True)
        self._known = _known_to(_fingerprint(self.loaded, self.ends))

    @property
    def pad_id(self) -> int:
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else min(self.ends)

    def row(self, example: Example) -> Row:
        """The example asked as its benchmark asks it, answered with its target."""
        return self.conversation(prompt(example), target(example), example.image)

    def rows(self, examples: Sequence[Example]) -> list[Row]:
        return [self.row(example) for example in examples]

    def conversation(self, question: str, answer: str, image: ImageRef | None) -> Row:
        """One user turn and one assistant turn, ended.

        Raises:
            DataError: the answer leaves no token of its own.
        """
        key = (question, answer, "" if image is None else image.key)
        if key not in self._known.rows:
            self._known.rows[key] = self._conversation(question, answer, image)
        return self._known.rows[key]

    def _conversation(self, question: str, answer: str, image: ImageRef | None) -> Row:
        asked = self.prompt_ids(question, image)
        full = self._ids(self._render(question, answer, image), question, image)
        start = common(asked, full)
        end = max((i for i in range(start, len(full)) if full[i] in self.ends), default=None)
        ids = full[: end + 1] if end is not None else (*full, min(self.ends))
        if start >= len(ids) - 1:
            raise DataError(f"answer {answer!r} to {question!r}: no token of it is left to learn from")
        return Row(ids, start, image)

    def prompt_ids(self, question: str, image: ImageRef | None) -> tuple[int, ...]:
        """The tokens up to where the assistant starts to speak."""
        return self._ids(self._render(question, None, image), question, image)

    def pixels(self, image: ImageRef) -> dict[str, torch.Tensor]:
        """What the processor makes of an image beside tokens (`pixel_values` and, by family, sizes or grids)."""
        if image.key not in self._known.pixels:
            self._process(self._render("", None, image), image)
        return self._known.pixels[image.key]

    def _render(self, question: str, answer: str | None, image: ImageRef | None) -> str:
        key = (question, answer, image is None)
        if key not in self._known.texts:
            self._known.texts[key] = self._template(question, answer, image)
        return self._known.texts[key]

    def _template(self, question: str, answer: str | None, image: ImageRef | None) -> str:
        content: list[dict[str, str]] = [] if image is None else [{"type": "image"}]
        turns = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
        if answer is not None:
            turns.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        return str(self.loaded.processor.apply_chat_template(turns, add_generation_prompt=answer is None))

    def _ids(self, text: str, question: str, image: ImageRef | None) -> tuple[int, ...]:
        if image is None:
            return self._tokenize(text, special=not self._begins(text))
        split = self._split(text, question)
        tail = self._tokenize(text[split:], special=False)
        key = (image.key, text[:split])
        if key not in self._known.heads:
            ids = self._process(text, image)
            if split == 0 or ids[len(ids) - len(tail) :] != tail:
                return ids
            self._known.heads[key] = ids[: len(ids) - len(tail)]
        return self._known.heads[key] + tail

    def _tokenize(self, text: str, *, special: bool) -> tuple[int, ...]:
        """Many people are asked the same, so that each text is tokenized once."""
        key = (text, special)
        if key not in self._known.tokens:
            self._known.tokens[key] = tuple(self.tokenizer(text, add_special_tokens=special)["input_ids"])
        return self._known.tokens[key]

    def _split(self, text: str, question: str) -> int:
        """Where the last special token before the question ends; 0 if there is none."""
        head = text[: text.rindex(question)] if question in text else ""
        return max((head.rfind(token) + len(token) for token in self._special if token in head), default=0)

    def _begins(self, text: str) -> bool:
        """Whether the template writes the begin token itself."""
        return bool(self.tokenizer.bos_token) and text.startswith(self.tokenizer.bos_token)

    def _process(self, text: str, image: ImageRef) -> tuple[int, ...]:
        processor: Any = self.loaded.processor
        out = processor(
            text=[text], images=[image.open()], return_tensors="pt", add_special_tokens=not self._begins(text)
        )
        if image.key not in self._known.pixels:
            self._known.keep(image, {k: v for k, v in out.items() if k not in _TOKEN_FIELDS})
        return tuple(out["input_ids"][0].tolist())


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common beginning."""
    low, high = 0, min(len(a), len(b))
    while low < high:  # by halves: slices compare faster than tokens
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low


def common_prefix(rows: Sequence[Row]) -> int:
    """How many leading tokens all rows share, at most up to the first answer."""
    length = min(row.answer_start for row in rows)
    for row in rows[1:]:
        length = min(length, common(rows[0].input_ids, row.input_ids))
    return length
