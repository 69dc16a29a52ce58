"""Check that a model can take the questions of a run: texts, lengths, and the shapes of pictures."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from mmunlearner.batches.encoder import Encoder
from mmunlearner.data import Example, ImageRef, prompt, target
from mmunlearner.data.prompts import open_question
from mmunlearner.errors import DataError, ModelError
from mmunlearner.models import longest_row


class _Pictures(NamedTuple):
    """Pictures that stand for all of their shapes: these have equally many tokens, whatever they show."""

    images: tuple[ImageRef, ...]
    tokens: int
    """Tokens of a prompt with these pictures and an empty question."""


def check_fit(encoder: Encoder, sets: Mapping[str, Sequence[Example]]) -> None:
    """Refuse sets of questions that a model cannot take. The encoder's model may be one without weights.

    No control token stands in a text, every distinct shape of pictures passes through the processor once, and no
    question with its longest answer has more tokens than the model takes.

    Raises:
        DataError: a question that the model cannot take, with its set, its `id`, and the column.
        ModelError: the chat template does not take so many images, or the model looks for them at another token.
    """
    pictures: dict[Hashable, _Pictures] = {}
    for name, examples in sets.items():
        for example in examples:
            try:
                _check_texts(encoder, example)
                shapes = tuple(image.size for image in example.images)  # decoded images differ in nothing else
                if shapes not in pictures:
                    ids = encoder.prompt("", example.images).input_ids
                    if example.images:
                        _check_places(encoder, ids)
                    pictures[shapes] = _Pictures(example.images, len(ids))
                _check_length(encoder, example, pictures[shapes])
            except DataError as error:
                raise DataError(f"{name}, {example.id}: {error}") from error


def _check_places(encoder: Encoder, ids: Sequence[int]) -> None:
    """Raise where the processor puts no picture at the token at which the model looks for one."""
    place = getattr(encoder.loaded.model.config, "image_token_id", None)
    if isinstance(place, int) and place not in ids:
        raise ModelError(
            f"model {encoder.loaded.source}: by its config.json a picture stands at token {place} (image_token_id), "
            "where its processor puts none; take both from the same checkpoint"
        )


def _check_texts(encoder: Encoder, example: Example) -> None:
    questions = {"question": [example.question], "choices": example.choices}
    answers = {"answer": [example.answer], "paraphrase": [example.paraphrase], "perturbed": example.perturbed}
    for column, texts in (questions | answers).items():
        for text in texts:
            if token := encoder.control_tokens.first(text, answer=column in answers):
                raise DataError(
                    f"column {column}: {text[:60]!r} has {token} in it, a control token of {encoder.loaded.source}; "
                    "remove it"
                )


def _check_length(encoder: Encoder, example: Example, pictures: _Pictures) -> None:
    """Encode a question with its answers, where they could be longer than the model takes."""
    limit = longest_row(encoder.loaded)
    asked = [(prompt(example), target(example))]
    asked += [(open_question(example), text) for text in (example.paraphrase, *example.choices, *example.perturbed)]
    for question, answer in asked:
        # A token has one byte at least, so that nearly all texts need not be tokenized.
        if answer and limit is not None and pictures.tokens + len(f"{question}{answer}".encode()) >= limit:
            encoder.conversation(question, answer, pictures.images)
