"""Longer answers to the same attribute: `South Sudan` is not `Sudan`."""

from __future__ import annotations

from mmunlearner.data import Example, Splits
from mmunlearner.data.longer import with_longer_answers


def longer_answers(*answers: tuple[str, str, str]) -> dict[str, tuple[str, ...]]:
    """(entity, attribute, answer) -> answer -> longer answers that its items know of."""
    items = tuple(Example(str(k), entity, "?", a, attribute=fact) for k, (entity, fact, a) in enumerate(answers))
    splits = with_longer_answers(Splits((), (), (), {"forget_qa": items[::2], "retain_qa": items[1::2]}))
    return {i.answer: i.longer for column in splits.evaluation.values() for i in column if i.longer}


def test_items_know_the_longer_answers_to_their_attribute():
    assert longer_answers(
        ("1", "country", "Sudan"), ("2", "country", "South Sudan"), ("3", "country", "Niger"),
        ("4", "country", "Nigeria"), ("5", "city", "京都"), ("6", "city", "東京都"),
        ("7", "skill", "C"), ("8", "skill", "C++"),
    ) == {"Sudan": ("South Sudan",), "京都": ("東京都",)}  # fmt: skip


def test_a_longer_wording_is_no_other_answer():
    assert not longer_answers(("1", "job", "pilot"), ("2", "job", "a pilot"), ("3", "job", "She works as a pilot"))
    assert not longer_answers(("1", "job", "pilot"), ("2", "job", "pilot"), ("2", "job", "airline pilot"))
    assert not longer_answers(("1", "", "pilot"), ("2", "", "airline pilot"))
    assert not longer_answers(("1", "job", "pilot"), ("2", "home", "airline pilot"))
    long = "one of the very few people here who is a pilot of some fame"
    assert not longer_answers(("1", "job", "pilot"), ("2", "job", long))
