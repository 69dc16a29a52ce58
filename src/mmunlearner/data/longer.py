"""Longer answers: those that contain another answer to the same attribute, as `South Sudan` contains `Sudan`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from mmunlearner.core.words import spans, words
from mmunlearner.data.example import Splits

_MOST_WORDS, _MORE_WORDS = 5, 3
"""Of an answer, and of a longer one in addition: longer texts are sentences."""
_FRAME = set(words("a an the in at on of from by as with is was are he she it they his her their lives works"))
"""Words of a sentence about an answer: `She works as a pilot` is no other answer than `pilot`."""


def with_longer_answers(splits: Splits) -> Splits:
    """Return the splits; each evaluation item knows the answers to its attribute that contain its own (`longer`).

    An entity that has both answers shows that they do not exclude each other; nor do words such as `in` and `the`.
    """
    entities: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    items = [item for column in splits.evaluation.values() for item in column if item.attribute]
    for item in items:
        entities[item.attribute][item.answer].add(item.entity)

    def is_longer(text: str, answer: str, of: Mapping[str, set[str]]) -> bool:
        # The plain search is fast and mostly finds nothing.
        if text == answer or answer.casefold() not in text.casefold() or of[text] & of[answer]:
            return False
        whole, part = words(text), words(answer)
        rest = set(whole) - set(part) - _FRAME
        return (
            len(part) <= _MOST_WORDS and 0 < len(whole) - len(part) <= _MORE_WORDS and bool(rest and spans(part, whole))
        )

    longer = {
        (attribute, answer): found
        for attribute, of in entities.items()
        for answer in of
        if (found := tuple(sorted(text for text in of if is_longer(text, answer, of))))
    }
    evaluation = {
        column: tuple(
            replace(i, longer=longer.get((i.attribute, i.answer), ())) if i.attribute else i for i in column_items
        )
        for column, column_items in splits.evaluation.items()
    }
    return replace(splits, evaluation=evaluation) if longer else splits
