"""The rules by which answers are scored: those of this package, or those of the released benchmarks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from string import ascii_uppercase
from typing import NamedTuple

from mmunlearner.config import Scoring
from mmunlearner.core.words import spans, words
from mmunlearner.evaluate import similarity
from mmunlearner.evaluate.choice import chosen_option, mentions


class Rules(NamedTuple):
    """One way to score answers."""

    title: str
    """For the report: `Answers are scored by TITLE.`"""
    option: Callable[[str, Sequence[str]], str]
    """(output, texts of the options) -> letter of the option that it picks; empty: none, or several."""
    says: Callable[[str, str, Sequence[str]], bool]
    """(output, true answer, longer answers that contain the true one) -> whether the output gives the true answer."""
    rouge_l: Callable[[str, str], float]
    rouge_l_recall: Callable[[str, str], float]
    bleu: Callable[[str, str], float]


def says(output: str, answer: str, longer: Sequence[str] = ()) -> bool:
    """Return whether an output says an answer: its words side by side, as whole words, and not behind a `not`.

    Words within a longer answer do not count: who says `South Sudan` does not say `Sudan`.
    """
    output_words = words(output)
    others = [set(place) for text in longer for place in spans(words(text), output_words)]
    return any(not any(set(place) < other for other in others) for place in mentions(answer, output))


def released_option(output: str, options: Sequence[str] = ()) -> str:
    """Return the first letter or digit of an output, if an option has it: MMUnlearner's code for MLLMU-Bench."""
    first = re.sub("[^a-zA-Z0-9]", "", output)[:1].upper()
    return first if first and first in (ascii_uppercase[: len(options)] or ascii_uppercase) else ""


def released_says(output: str, answer: str, longer: Sequence[str] = ()) -> bool:
    """Return whether the true answer is part of the output, in upper or lower case (MLLMU-Bench, cloze)."""
    return answer.lower() in output.lower()


RULES: Mapping[Scoring, Rules] = {
    "package": Rules(
        "the rules of this package",
        chosen_option,
        says,
        similarity.rouge_l,
        similarity.rouge_l_recall,
        similarity.bleu,
    ),
    "released": Rules(
        "the rules of the released benchmarks' code",
        released_option,
        released_says,
        partial(similarity.rouge_l, released=True),
        partial(similarity.rouge_l_recall, released=True),
        similarity.released_bleu,
    ),
}
