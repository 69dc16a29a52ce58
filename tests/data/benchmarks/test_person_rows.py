from __future__ import annotations

from pathlib import Path

import pytest

from mmunlearner.data import Example
from mmunlearner.data.benchmarks.person_rows import (
    as_multiple_choice,
    contains_words,
    fact_questions,
    facts,
    perturbed_answers,
    phrase,
)
from mmunlearner.data.tables import Cell
from mmunlearner.errors import DataError

BIOGRAPHY = {
    "Name": "Ann Lee",
    "Date_of_Birth": "1 May 1980",
    "Height": 170,
    "Languages": ["French", "Welsh"],
    "Parents": {"Father": "a baker", "Mother": "a pilot"},
    "Nationality": "French",
    "Award": None,
    "Note": "",
}


def test_facts_are_words():
    assert facts(BIOGRAPHY) == {
        "Name": "Ann Lee", "Date_of_Birth": "1 May 1980", "Height": "170", "Languages": "French, Welsh",
        "Parents Father": "a baker", "Parents Mother": "a pilot", "Nationality": "French",
    }  # fmt: skip


def test_texts_ask_each_fact_by_name():
    texts = fact_questions("007", BIOGRAPHY)
    assert [(e.question, e.answer) for e in texts][:2] == [
        ("What is the date of birth of Ann Lee?", "1 May 1980"),
        ("What is the height of Ann Lee?", "170"),
    ]
    assert {e.entity for e in texts} == {"007"}
    assert len({e.id for e in texts}) == len(texts) == 6
    assert all(e.image is None and e.task == "generation" for e in texts)


def test_a_person_without_a_name_is_asked_by_id():
    assert fact_questions("007", {"Job": "spy"})[0].question == "What is the job of 007?"


def test_a_fact_within_a_sentence():
    assert phrase("Date_of_Birth") == "date of birth"


CHOICES = [
    Example(
        "1", "a", "Job?", "baker", choices=("baker", "nurse", "pilot"), perturbed=("nurse", "pilot"), attribute="Job"
    ),
    Example("2", "a", "Home?", "Tarn", choices=("Tarn", "Lunden"), perturbed=("Lunden",), attribute="Home"),
]


@pytest.mark.parametrize(
    ("answer", "key", "wrong"),
    [
        ("baker", "Job", ("nurse", "pilot")),
        ("Ann is a Baker.", "Job", ("Ann is a nurse.", "Ann is a pilot.")),
        ("Tarn", "Home", ("Lunden",)),
        ("Tarn", "Birthplace", ()),
        ("a bakery", "Job", ()),
    ],
)
def test_perturbed_answers_come_from_the_multiple_choice_about_the_same_fact(
    answer: str, key: str, wrong: tuple[str, ...]
):
    assert perturbed_answers(Example("3", "a", "?", answer, attribute=key), CHOICES) == wrong


OPTIONS = {"A": "Doctor", "B": "a baker", "C": "C++ expert", "D": "B.A. student"}


def right_option(answer: str) -> str:
    at = Cell(Path("x.json"), row=1)
    return as_multiple_choice(Example("1", "Ann", "Job?", answer), OPTIONS, at, at).answer


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("A", "A"),
        ("(d)", "D"),
        ("**C**", "C"),
        ("b.", "B"),
        ("doctor", "A"),
        ("A baker.", "B"),
        ("A Doctor", "A"),
        ("A - doctor", "A"),
        ("B: a baker", "B"),
        ("B. bakes bread", "B"),  # a label, and a text that no option has
        ("C++ expert", "C"),
        ("B.A. student", "D"),
    ],
)
def test_a_right_option_is_named_by_text_or_letter(answer: str, letter: str):
    assert right_option(answer) == OPTIONS[letter]


@pytest.mark.parametrize(
    "answer", ["A pilot", "A\nteacher", "E", "", "B-52", "B.A.", "C#", "C++", "B: Doctor", "A a baker", "Artist"]
)
def test_what_names_no_option_is_an_error(answer: str):
    with pytest.raises(DataError, match="expected one of A, B, C, D, or the text of one"):
        right_option(answer)


@pytest.mark.parametrize(
    ("text", "answer", "contained"),
    [
        ("他是医生。", "医生", True),
        ("เขาเป็นหมอ", "หมอ", True),
        ("He writes C++.", "C++", True),
        ("He writes C++.", "C", False),
        ("He writes c.", "C", True),
        ("a party", "art", False),
    ],
)
def test_words_in_a_text(text: str, answer: str, contained: bool):
    assert contains_words(text, answer) is contained
