"""Questions of a person to a model: no truth is known, answers in words and the likelihoods of given ones are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

from mmunlearner.batches import Encoder
from mmunlearner.config import EvaluateConfig
from mmunlearner.core.progress import Progress
from mmunlearner.data import Example, ImageRef
from mmunlearner.errors import DataError
from mmunlearner.evaluate.ask import Asker, encode_with_options
from mmunlearner.evaluate.likelihood import row_key
from mmunlearner.models import Loaded


@dataclass(frozen=True)
class Reply:
    """Answer of a model to one question."""

    answer: str
    """Its greedy answer."""
    options: Mapping[str, float]
    """Given answer -> log-likelihood: sum of the log-probabilities of its tokens, the end token included."""

    @property
    def shares(self) -> dict[str, float]:
        """Given answer -> its share of the likelihood of all given answers."""
        highest = max(self.options.values(), default=0.0)  # so that no likelihood underflows to 0 / 0
        likelihoods = {option: exp(logp - highest) for option, logp in self.options.items()}
        return {option: likelihood / sum(likelihoods.values()) for option, likelihood in likelihoods.items()}


def inquiry(question: str, images: Sequence[ImageRef] = ()) -> Example:
    """Return a question of a person, about pictures or without any.

    Raises:
        DataError: the question is empty, or a picture cannot be decoded.
    """
    if not question.strip():
        raise DataError("the question is empty: write what the model is to answer")
    for image in images:
        if problem := image.problem():
            raise DataError(f"picture {problem}")
    return Example(id=question, entity="", question=question, answer="", images=tuple(images))


def replies(
    loaded: Loaded,
    inquiries: Sequence[Example],
    options: Sequence[str] = (),
    *,
    config: EvaluateConfig | None = None,
    progress: Progress = Progress(),
) -> list[Reply]:
    """Return a model's reply to each inquiry, with the likelihood of each of the options as its answer.

    Raises:
        DataError: the model cannot be asked this: a special token in a text, too many tokens.
        ModelError: it has no chat template, or its log-probabilities are not finite.
    """
    encoder = Encoder(loaded)
    questions = [encode_with_options(item, encoder, options) for item in inquiries]
    scores, answers = Asker(encoder, config or EvaluateConfig()).ask(questions, "questions", progress)
    return [
        Reply(answer, {text: sum(scores[row_key(row)].logps) for text, row in question.candidate_texts.items()})
        for question, answer in zip(questions, answers, strict=True)
    ]
