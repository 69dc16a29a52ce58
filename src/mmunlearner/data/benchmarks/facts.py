"""A person's facts: the texts that are made from them, and which of them a question asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmunlearner.data.example import Example

NAME = "Name"


def facts(biography: Mapping[str, Any]) -> dict[str, str]:
    """Fact -> its value in words: lists joined, nested facts named after both, what is empty left out."""
    found: dict[str, str] = {}
    for key, value in biography.items():
        if isinstance(value, Mapping):
            found |= {f"{key} {inner}": text for inner, text in facts(value).items()}
        elif text := _words(value):
            found[str(key)] = text
    return found


def _words(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(text for item in value if (text := _words(item)))
    return "" if value is None or isinstance(value, Mapping) else str(value).strip()


def texts(entity: str, biography: Mapping[str, Any], prefix: str = "text") -> list[Example]:
    """What is true of a person, asked by name: the texts that protect it (P of the language part)."""
    known = facts(biography)
    name = known.pop(NAME, entity)
    return [
        Example(f"{prefix}/{key}", entity, f"What is the {spoken(key)} of {name}?", value, attribute=key)
        for key, value in known.items()
    ]


def spoken(key: str) -> str:
    """A fact's name within a sentence: `Date_of_Birth` is `date of birth`."""
    return " ".join(key.replace("_", " ").split()).lower()


def attribute(question: str, answer: str, known: Mapping[str, str]) -> str:
    """Which fact is asked: the one whose value the answer is, or holds; the question decides between several.

    Empty where no fact fits.
    """
    equal = [key for key, value in known.items() if value.casefold() == answer.strip().casefold()]
    held = [key for key, value in known.items() if _within(value, answer)]
    for fits in (equal, held):
        named = [key for key in fits if _within(spoken(key), question)]
        if named or len(fits) == 1:
            return (named or fits)[0]
    return max((key for key in known if _within(spoken(key), question)), key=len, default="")


def wrong_answers(example: Example, choices: Sequence[Example]) -> tuple[str, ...]:
    """The answer with the wrong options of a multiple choice about the same fact in place of the right one.

    None where no such question's right option is the answer or stands within it.
    """
    fits = [c for c in choices if c.attribute == example.attribute and _within(c.answer, example.answer)]
    if not fits:
        return ()
    asked = max(fits, key=lambda choice: len(choice.answer))
    return tuple(_pattern(asked.answer).sub(lambda _: wrong, example.answer) for wrong in asked.perturbed)  # noqa: B023


def _within(part: str, text: str) -> bool:
    return part.strip().casefold() in text.casefold() and bool(part.strip()) and bool(_pattern(part).search(text))


def _pattern(words: str) -> re.Pattern[str]:
    """These words in a row, in any case."""
    return re.compile(rf"(?<!\w){re.escape(words.strip())}(?!\w)", re.IGNORECASE)
