"""Examples -> rows of tokens: one conversation each, with the place where the answer starts."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers.utils.generic import ModelOutput

from mmunlearner.batches.known import Tokens, fingerprint, known_to, longest_row
from mmunlearner.batches.rows import Fields, Row, common
from mmunlearner.data import Example, ImageRef, image_keys, prompt, target
from mmunlearner.errors import DataError, ModelError, reason
from mmunlearner.models import Loaded, end_token_ids

Images = tuple[ImageRef, ...]
# What a processor says of tokens that we know or have no use for.
_LEFT_OUT = {"input_ids", "attention_mask", "special_tokens_mask", "labels"}
# What models call the type of a token: 0 for those of a text.
_TYPES = {"token_type_ids", "mm_token_type_ids"}


@dataclass
class Encoder:
    """Turns examples into rows with a model's own processor and chat template.

    A question's images come before its words, and the processor is shown them together. That is done once, and what is
    encoded is known to every encoder of an equal processor: the models of a run are asked the same. Images' tokens end
    at a special token, where every tokenizer splits, so that the questions behind them can be tokenized without them;
    where that does not hold for a tokenizer, the processor is called for every row. No row is ever cut: one that is too
    long is an error.

    Raises:
        ModelError: the model is none that this package can ask.
    """

    loaded: Loaded

    def __post_init__(self) -> None:
        model, source = self.loaded.model, self.loaded.source
        if not getattr(self.loaded.processor, "chat_template", None):
            raise ModelError(
                f"model {source}: its processor has no chat template; put one beside it as chat_template.jinja "
                "(docs/families.md has examples)"
            )
        if model.config.is_encoder_decoder:
            raise ModelError(f"model {source}: encoder-decoder models are not supported, only those that go on a text")
        self.tokenizer: Any = getattr(self.loaded.processor, "tokenizer")  # noqa: B009 (absent from the stub)
        self.ends = end_token_ids(self.loaded)
        self._special = sorted(self.tokenizer.all_special_tokens, key=len, reverse=True)
        self._known = known_to(fingerprint(self.loaded, self.ends))
        self._taken = inspect.signature(model.forward).parameters

    @property
    def pad_id(self) -> int:
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self._end

    @property
    def _end(self) -> int:
        """What ends an answer where the chat template writes nothing that does."""
        return self.tokenizer.eos_token_id if self.tokenizer.eos_token_id is not None else min(self.ends)

    def row(self, example: Example) -> Row:
        """The example asked as its benchmark asks it, answered with its target."""
        return self.conversation(prompt(example), target(example), example.images)

    def rows(self, examples: Sequence[Example]) -> list[Row]:
        return [self.row(example) for example in examples]

    def conversation(self, question: str, answer: str, images: Images) -> Row:
        """One user turn and one assistant turn, ended.

        Raises:
            DataError: the answer leaves no token of its own, the model takes no row of that length, one of its special
                tokens stands in the texts, or its processor does not take the images.
            ModelError: its chat template does not take so many.
        """
        key = (question, answer, image_keys(images))
        if key not in self._known.rows:
            self._known.rows[key] = self._conversation(question, answer, images)
        return self._known.rows[key]

    def _conversation(self, question: str, answer: str, images: Images) -> Row:
        self._only_words(answer)
        asked, text = self.asking(question, images), self._answered(question, answer, images)
        full = self._tokens(text, question, images).ids
        start = common(asked.input_ids, full)
        end = next((i for i in range(start, len(full)) if full[i] in self.ends), None)
        if end is None:  # what the template writes behind the answer is no answer
            full = self._tokens(_until(text, answer.strip()), question, images).ids
        ids = full[: end + 1] if end is not None else (*full, self._end)
        if start >= len(ids) - 1:
            raise DataError(f"answer {answer!r} to {question!r}: no token of it is left to learn from")
        short = Row(ids[:start], start, images, {name: values[:start] for name, values in asked.fields.items()})
        return self._fitting(self.answered(short, ids[start:]), question)

    def asking(self, question: str, images: Images) -> Row:
        """The tokens up to where the assistant starts to speak, and no answer yet.

        Raises:
            DataError: the model takes no row of that length, one of its special tokens stands in the question, or its
                processor does not take the images.
            ModelError: its chat template does not take so many.
        """
        self._only_words(question)
        ids, fields = self._tokens(self._render(question, None, images), question, images)
        return self._fitting(Row(ids, len(ids), images, fields), question)

    def answered(self, asked: Row, answer: Sequence[int]) -> Row:
        """The row with (more) tokens of an answer; their fields are those that the model gives to what it generates."""
        fields: Fields = asked.fields
        if fields:
            model: Any = self.loaded.model
            lone = {name: values[None] for name, values in fields.items()}
            longer = model._update_model_kwargs_for_generation(ModelOutput(), lone, is_encoder_decoder=False)
            fields = {name: _longer(values, longer[name][0, -1], len(answer)) for name, values in fields.items()}
        return Row((*asked.input_ids, *answer), asked.answer_start, asked.images, fields)

    def _only_words(self, text: str) -> None:
        """An image's or a turn's token in a text would be taken for one."""
        found = next((token for token in self._special if token in text), None)
        if found:
            raise DataError(
                f"{text[:60]!r} has {found} in it, which is a special token of {self.loaded.source}: remove it"
            )

    def _fitting(self, row: Row, question: str) -> Row:
        limit = longest_row(self.loaded)
        if limit is None or len(row.input_ids) <= limit:
            return row
        shown = row.input_ids.count(getattr(self.loaded.model.config, "image_token_id", -1))
        raise DataError(
            f"question {question[:60]!r}: {len(row.input_ids)} tokens, {shown} of them of its images; the model takes "
            f"{limit}, and nothing is cut: ask less, or let the image processor make smaller images"
        )

    def pixels(self, images: Images) -> dict[str, Tensor]:
        """What the processor makes of a row's images beside tokens (`pixel_values`; by family, sizes or grids)."""
        if image_keys(images) not in self._known.pixels:
            self._process(self._render("", None, images), images)
        return self._known.pixels[image_keys(images)]

    def _render(self, question: str, answer: str | None, images: Images) -> str:
        key = (question, answer, len(images))
        if key not in self._known.texts:
            self._known.texts[key] = self._template(question, answer, len(images))
        return self._known.texts[key]

    def _answered(self, question: str, answer: str, images: Images) -> str:
        """The conversation, as it goes on from the prompt: some templates begin an answer otherwise than they ask."""
        asked, text = self._render(question, None, images), self._render(question, answer, images)
        return text if text.startswith(asked) else asked + text[max(text.rfind(answer.strip()), 0) :]

    def _template(self, question: str, answer: str | None, images: int) -> str:
        content = [*[{"type": "image"}] * images, {"type": "text", "text": question}]
        turns = [{"role": "user", "content": content}]
        if answer is not None:
            turns.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        try:
            return str(self.loaded.processor.apply_chat_template(turns, add_generation_prompt=answer is None))
        except TemplateError as error:
            source = self.loaded.source
            raise ModelError(f"model {source}: its chat template refuses {images} images: {reason(error)}") from error

    def _tokens(self, text: str, question: str, images: Images) -> Tokens:
        if not images:
            ids = self._tokenize(text, special=not self._begins(text))
            return Tokens(ids, {name: torch.zeros(len(ids), dtype=torch.long) for name in _TYPES & set(self._taken)})
        split = self._split(text, question)
        tail = self._tokenize(text[split:], special=False)
        key = (image_keys(images), text[:split])
        if key not in self._known.heads:
            whole = self._process(text, images)
            head = len(whole.ids) - len(tail)
            if split == 0 or not tail or whole.ids[head:] != tail:
                return whole
            fields = {name: values[: head + 1] for name, values in whole.fields.items()}
            self._known.heads[key] = Tokens(whole.ids[:head], fields)
        ids, fields = self._known.heads[key]
        return Tokens(ids + tail, {n: _longer(values, values[-1], len(tail) - 1) for n, values in fields.items()})

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

    def _process(self, text: str, images: Images) -> Tokens:
        processor: Any = self.loaded.processor
        if self._render("", None, images) == self._render("", None, images[:-1]):
            raise ModelError(
                f"model {self.loaded.source}: its chat template has no place for image {len(images)} of a question; "
                "ask about fewer, or put another template beside the model as chat_template.jinja"
            )
        opened = [image.open() for image in images]
        special = not self._begins(text)
        try:
            out = processor(text=[text], images=[opened], return_tensors="pt", add_special_tokens=special)
        except (ValueError, TypeError, IndexError, RuntimeError) as error:
            named = ", ".join(image.path for image in images)
            raise DataError(f"{named}: not taken by the processor of {self.loaded.source}: {reason(error)}") from error
        ids = tuple(out["input_ids"][0].tolist())
        rest = {name: values for name, values in out.items() if name not in _LEFT_OUT}
        of_tokens = {name for name, values in rest.items() if values.shape[:2] == (1, len(ids))}
        if image_keys(images) not in self._known.pixels:
            self._known.keep(image_keys(images), {name: rest[name] for name in rest if name not in of_tokens})
        return Tokens(ids, {name: rest[name][0] for name in rest if name in of_tokens and name in self._taken})


def _until(text: str, answer: str) -> str:
    """The text up to the end of the answer in it."""
    place = text.rfind(answer)
    return text if place < 0 else text[: place + len(answer)]


def _longer(values: Tensor, last: Tensor, count: int) -> Tensor:
    """[L, ...] -> [L + count, ...]."""
    return torch.cat([values, last[None].expand(count, *last.shape)]) if count else values
