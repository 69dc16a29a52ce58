"""The option that an answer picks: by a letter in many forms, or by its text; and what picks none."""

from __future__ import annotations

from string import ascii_uppercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.evaluate.choice import chosen_option, mentions

CITIES = ("Paris", "Rome", "New Rome", "Oslo")
LETTERS = st.sampled_from(ascii_uppercase[:4])
BY_LETTER = [
    "B",
    "b",
    "Ｂ",
    "Ⓑ",
    "B.",
    "b)",
    "(B)",
    "[b]",
    "**B**",
    "`B`",
    "B: Rome",
    "B) Rome",
    "(B) Rome",
    "**B.** Rome",
    "B - Rome",
    "B\nRome",
    "B、Rome",
    "B Rome",
    "B is right",
    "B because she said so",
    "B. Options A and C are wrong.",
    "Option B",
    "option b.",
    "Answer: B",
    "ANSWER: **b**",
    "The answer is B",
    "The correct option would be (B).",
    "I choose B, since it is warm",
    "It must be (B), I think.",
    "I would say B.",
    "not A but B",
    "La réponse est B car",
    "Die Antwort lautet B, weil",
    "La respuesta correcta es la B.",
    "Ответ: B",
    "答案是B",
    "答案：B。",
    "选B",
    "正解はBです",
    "정답은 B입니다",
    "उत्तर है B।",
    "الإجابة هي B",
]
NONE = [
    "",
    "7",
    "?",
    "A man in a suit",
    "A 50-year-old man",
    "He is a pilot. A",
    "The answer is a man",
    "The answer is A man",
    "a pilot",
    "Artist",
    "A A A A",
    "E un pilota",
    "C'est un pilote",
    "D'accord",
    "C++",
    "C# developer",
    "B-52",
    "B.A. in history",
    "D. H. Lawrence",
    "R&B",
    "A/B",
    "A: Paris\nB: Rome\nC: New Rome",
    "A. B. C. D.",
    "B or C",
    "A, B and C are right",
    "Both A and D",
    "It is not B",
    "B isn't it",
    "Rome or Paris",
    "Not Rome",
    "Ответ: Б",
    "答案是乙",
    "E",
    "I do not know",
]


@pytest.mark.parametrize("output", BY_LETTER)
def test_a_letter_is_picked(output):
    assert chosen_option(output, CITIES) == "B"


@pytest.mark.parametrize("output", NONE)
def test_nothing_is_picked(output):
    assert chosen_option(output, CITIES) == ""


@pytest.mark.parametrize(
    ("output", "letter"),
    [
        ("Paris", "A"),
        ("A Paris", "A"),
        ("A is right", "A"),
        ("A.", "A"),
        ("She lives in Rome.", "B"),
        ("rome!", "B"),
        ("It is New Rome", "C"),  # which contains another option
        ("Oslo, not Paris", "D"),
        ("B: Paris", "B"),  # a letter weighs more than a text
        ("The answer is option C: New Rome", "C"),
    ],
)
def test_an_option_is_picked_by_its_text(output, letter):
    assert chosen_option(output, CITIES) == letter


def test_options_may_be_letters_themselves():
    """Blood groups: the letter of an option weighs more than its text."""
    groups = ("O", "A", "AB", "B")
    assert [chosen_option(text, groups) for text in ("A", "B", "AB", "Group O")] == ["A", "B", "C", "A"]
    assert chosen_option("A+", ("A-", "A+", "B-", "B+")) == "B"


@pytest.mark.parametrize(
    ("options", "output"),
    [
        (("医生", "律师", "教师", "农民"), "她是律师。"),
        (("의사", "변호사", "교사", "농부"), "그는 변호사입니다."),
        (("หมอ", "ทนาย", "ครู", "ชาวนา"), "เธอเป็นทนาย"),
        (("طبيب", "محام", "معلم", "مزارع"), "هو مُحامٍ"),
        (("डॉक्टर", "वकील", "शिक्षक", "किसान"), "वह एक वकील है।"),
        (("C", "C++", "C#", "F#"), "He likes C++ most"),
        (("5", "-5", "5%", "15"), "It was -5."),
    ],
)
def test_texts_in_any_script_are_picked(options, output):
    assert chosen_option(output, options) == "B"


def test_without_known_options_any_letter_is_one():
    assert chosen_option("The answer is F.", ()) == "F"
    assert chosen_option("F", ("x", "y")) == ""


@given(
    LETTERS, st.sampled_from(["{}", "({})", "{}.", "**{}**", "Answer: {}", "The answer is {}.", "答案是{}。", "{}: x"])
)
def test_every_letter_is_picked_in_the_same_forms(letter, form):
    """So that no option gains by the way in which a model rambles."""
    assert chosen_option(form.format(letter), CITIES) == letter


@given(LETTERS, LETTERS)
def test_two_letters_are_no_choice(first, second):
    for form in ("{} or {}", "({}) ({})", "{}/{}", "The answer is {} and {}.", "I say ({}) or maybe ({})"):
        assert chosen_option(form.format(first, second), CITIES) in ("", first if first == second else "")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("He is a pilot", True),
        ("He is not a pilot", False),
        ("He isn't the pilot", False),
        ("never a pilot", False),
        ("not a doctor but a pilot", True),
        ("No, a pilot", True),
        ("not only a pilot", True),
        ("He is not a pilot. He was a pilot.", True),
    ],
)
def test_what_stands_behind_a_not_is_not_said(output, said):
    assert bool(mentions("pilot", output)) is said


@given(st.text(max_size=30))
def test_any_text_picks_one_option_or_none(output):
    assert chosen_option(output, CITIES) in ("", "A", "B", "C", "D")
