"""Examples -> rows of tokens: one conversation each, with the position where the answer starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.utils.generic import ModelOutput

from mmunlearner.batches.cached_processor import CachedProcessor, Images, repeat_last
from mmunlearner.batches.chat import ChatTemplate
from mmunlearner.batches.encoding_cache import fingerprint, shared_cache
from mmunlearner.batches.rows import Fields, Row, common_prefix_length
from mmunlearner.data import Example, image_keys, prompt, target
from mmunlearner.errors import DataError, ModelError
from mmunlearner.models import Loaded, control_tokens, end_token_ids, longest_row


@dataclass
class Encoder:
    """Turns examples into rows with a model's own processor and chat template.

    Encoders of equal processors share a cache, so that each image, text and row of a run is encoded once. No row is
    ever cut: one that is too long is an error.

    Raises:
        ModelError: this package cannot ask the model: it has no chat template, or is an encoder-decoder.
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
        self.ends = end_token_ids(self.loaded)
        self.cache = shared_cache(fingerprint(self.loaded, self.ends))
        self.chat = ChatTemplate(self.loaded, self.cache)
        self.processor = CachedProcessor(self.loaded, self.chat, self.cache)
        self.tokenizer: Any = self.processor.tokenizer
        self.control_tokens = control_tokens(self.loaded)

    @property
    def pad_id(self) -> int:
        """Token that pads rows."""
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self._end_id

    @property
    def _end_id(self) -> int:
        """Token that ends an answer where the chat template writes no such token."""
        return self.tokenizer.eos_token_id if self.tokenizer.eos_token_id is not None else min(self.ends)

    def row(self, example: Example) -> Row:
        """Return the example asked as its benchmark asks it, answered with its target."""
        return self.conversation(prompt(example), target(example), example.images)

    def rows(self, examples: Sequence[Example]) -> list[Row]:
        """Return the row of each example."""
        return [self.row(example) for example in examples]

    def conversation(self, question: str, answer: str, images: Images) -> Row:
        """Return the row of one user turn and one assistant turn, ended.

        Raises:
            DataError: the answer leaves no token of its own, the model takes no row of that length, one of its control
                tokens stands in the texts, or its processor does not take the images.
            ModelError: its chat template does not take so many.
        """
        key = (question, answer, image_keys(images))
        if key in self.cache.rows:
            return self.cache.rows[key]
        self._check_no_control_token(answer, answer=True)
        beginning = self.prompt(question, images)
        text = self.chat.conversation(question, answer, len(images))
        ids = self.processor.tokens(text, question, images).ids
        start = common_prefix_length(beginning.input_ids, ids)
        # Behind the end token, templates may write a line break or the next turn's beginning.
        end = next((i for i in range(start, len(ids)) if ids[i] in self.ends), None)
        if end is not None:
            ids = ids[: end + 1]
        else:
            # Whatever the template writes behind the answer is not part of it: cut, and end with the tokenizer's token.
            behind = text.rfind(answer.strip()) + len(answer.strip())
            shortened = text[:behind] if answer.strip() in text else text
            ids = (*self.processor.tokens(shortened, question, images).ids, self._end_id)
        if start >= len(ids) - 1:
            raise DataError(f"answer {answer!r} to {question!r}: no token of it is left to learn from")
        # The fields are the prompt's, up to the common prefix: a tokenizer may merge the prompt's last character with
        # the answer's first.
        fields = {name: values[:start] for name, values in beginning.fields.items()}
        row = self._check_row(self.extend(Row(ids[:start], start, images, fields), ids[start:]), question)
        self.cache.rows[key] = row
        return row

    def prompt(self, question: str, images: Images) -> Row:
        """Return the row up to where the assistant starts to speak, without an answer.

        Raises:
            DataError: the model takes no row of that length, one of its control tokens stands in the question, or its
                processor does not take the images.
            ModelError: its chat template does not take so many.
        """
        self._check_no_control_token(question)
        ids, fields = self.processor.tokens(self.chat.prompt(question, len(images)), question, images)
        return self._check_row(Row(ids, len(ids), images, fields), question)

    def extend(self, row: Row, tokens: Sequence[int]) -> Row:
        """Return the row with (more) tokens of an answer."""
        fields: Fields = row.fields
        if fields:  # by the model's own rule, which gives fields to the tokens that it generates
            model: Any = self.loaded.model
            batched = {name: values[None] for name, values in fields.items()}
            longer = model._update_model_kwargs_for_generation(ModelOutput(), batched, is_encoder_decoder=False)
            fields = {name: repeat_last(values, longer[name][0, -1], len(tokens)) for name, values in fields.items()}
        return Row((*row.input_ids, *tokens), row.answer_start, row.images, fields)

    def pixels(self, images: Images) -> dict[str, Tensor]:
        """Return what the processor makes of a row's images beside tokens (`pixel_values`; by family, sizes, grids)."""
        return self.processor.pixels(images)

    def _check_no_control_token(self, text: str, *, answer: bool = False) -> None:
        """Refuse a text with a token that would be taken for an image or the end of a turn."""
        if token := self.control_tokens.first(text, answer=answer):
            raise DataError(f"{text[:60]!r} has {token} in it, a control token of {self.loaded.source}; remove it")

    def _check_row(self, row: Row, question: str) -> Row:
        """Return the row, or refuse it if it is too long, or has tokens that the model does not know."""
        embeddings: Any = self.loaded.model.get_input_embeddings()
        size = embeddings.weight.shape[0]
        if (largest := max(row.input_ids, default=0)) >= size:
            raise ModelError(
                f"model {self.loaded.source}: its tokenizer makes token {largest} of {question[:60]!r}, and the model "
                f"has {size} tokens; take the tokenizer that belongs to it"
            )
        # A row that is cut would lose image tokens first, or its answer.
        limit = longest_row(self.loaded)
        if limit is None or len(row.input_ids) <= limit:
            return row
        of_images = row.input_ids.count(getattr(self.loaded.model.config, "image_token_id", -1))
        raise DataError(
            f"question {question[:60]!r}: {len(row.input_ids)} tokens, {of_images} of them of its images; the model "
            f"takes {limit}, and nothing is cut: ask less, or let the image processor make smaller images"
        )
