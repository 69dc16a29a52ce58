from __future__ import annotations

import pytest

from mmunlearner.data import Example
from mmunlearner.data.benchmarks.person_rows import fact_questions, facts, perturbed_answers, phrase

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
