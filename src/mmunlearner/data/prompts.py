"""What a model is shown and what it should say, by the rules of MLLMU-Bench (zero-shot and few-shot)."""

from __future__ import annotations

from string import ascii_uppercase

from mmunlearner.data.example import Example

LETTER_INSTRUCTION = "Answer with the option's letter only."
CLOZE_INSTRUCTION = "Fill in the [Blank]."


def prompt(example: Example) -> str:
    """The text of the user's turn, without the image: the shots with their answers, then the question."""
    shown = [f"{_asked(shot)}\nAnswer: {target(shot)}" for shot in example.shots]
    return "\n\n".join([*shown, _asked(example)])


def _asked(example: Example) -> str:
    if example.task == "multiple_choice":
        options = [f"{letter}: {choice}" for letter, choice in zip(ascii_uppercase, example.choices, strict=False)]
        return "\n".join([example.question, *options, LETTER_INSTRUCTION])
    if example.task == "cloze":
        return f"{example.question.replace('__', '[Blank]')}\n{CLOZE_INSTRUCTION}"
    return example.question


def target(example: Example) -> str:
    """The text of the assistant's turn: the right letter, or the answer in words."""
    if example.task == "multiple_choice":
        return ascii_uppercase[example.choices.index(example.answer)]
    return example.answer
