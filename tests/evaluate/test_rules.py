"""Right and wrong by the rules of the package, in many scripts, and by those of the released benchmarks."""

from __future__ import annotations

import re
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.evaluate.rules import RULES, released_option, released_says, says

ANSWERS = {
    "Latin": ("pilot", "high-school teacher", "O'Brien", "Zoë", "naïve art", "Straße 5", "Łódź"),
    "Turkish": ("İstanbul", "Iğdır", "Diyarbakır"),
    "languages": ("C", "C++", "C#", ".NET", "F#", "R"),
    "blood groups": ("A+", "A-", "AB+", "AB-", "O+", "O-"),
    "numbers": ("5", "-5", "15", "5.5", "5%", "1,000", "10.000.000", "≥5", "$7", "€7"),
    "dates": ("12.05.1990", "12.06.1990", "1991-05-12"),
    "Greek": ("γιατρός", "δικηγόρος", "Αθήνα"),
    "Cyrillic": ("врач", "Королёв", "учитель", "Київ"),
    "Arabic": ("طَبِيب", "محامٍ", "القاهرة", "٥٠"),
    "Hebrew": ("רוֹפֵא", "ירושלים", "צה״ל"),
    "Devanagari": ("डॉक्टर", "कल", "किला", "हिन्दी"),
    "Bengali": ("ডাক্তার", "উকিল", "ঢাকা"),
    "Tamil": ("மருத்துவர்", "ஆசிரியர்", "சென்னை"),
    "Chinese": ("医生", "律师", "北京", "上海市"),
    "Japanese": ("東京", "パイロット", "お医者さん", "京都"),
    "Korean": ("의사", "변호사", "서울", "부산"),
    "Thai": ("หมอ", "ทนายความ", "เชียงใหม่", "น้ำ"),
    "Lao": ("ຄູ", "ໝໍ", "ວຽງຈັນ"),
    "Khmer": ("គ្រូ", "ពេទ្យ", "ភ្នំពេញ"),
    "Burmese": ("ဆရာဝန်", "ရှေ့နေ"),
    "Georgian": ("ექიმი", "თბილისი"),
    "Armenian": ("բժիշկ", "Երևան"),
    "Amharic": ("ሐኪም", "ጠበቃ"),
    "symbols": ("★", "☆", "♂", "♀", "🇫🇷", "🇩🇪", "♠", "→"),
}
SENTENCES = (
    "{}",
    "{}.",
    "It is {}, I think.",
    "The answer: {}!",
    "({})",
    "**{}**",
    "“{}”",
    "- {}\n- and more",
    "I am sure (it is {}) of that",
    "<b>{}</b>",
)
UNSPACED = ("他是{}。", "これは{}です", "เขาเป็น{}ครับ")
SPACED = [(script, answer) for script, answers in ANSWERS.items() for answer in answers]


@pytest.mark.parametrize(("script", "answer"), SPACED, ids=lambda value: value)
def test_an_answer_is_right_for_itself_in_every_sentence(script, answer):
    sentences = (
        (*SENTENCES, *UNSPACED) if script in ("Chinese", "Japanese", "Thai", "Lao", "Khmer", "numbers") else SENTENCES
    )
    for sentence in sentences:
        for form in (answer, answer.upper(), answer.lower()):
            assert says(sentence.format(form), answer), sentence
    assert not says("", answer)
    assert not says("I do not know.", answer)


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
def test_another_answer_of_the_attribute_is_never_right(answers):
    for answer, other in permutations(answers, 2):
        longer = [text for text in answers if text != answer and says(text, answer)]
        for sentence in SENTENCES:
            assert not says(sentence.format(other), answer, longer), (other, answer)


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("그는 의사입니다", "의사"),
        ("서울에 삽니다", "서울"),
        ("İstanbul'da yaşıyor", "İstanbul"),
        ("그녀는 북한 산에", "북한 산"),
        ("a Paris–Lyon line", "Lyon"),
        ("Ann's from Rome", "Ann"),
        ("costs 1,000.", "1000"),
        ("it is 5 %.", "5%"),
    ],
)
def test_answers_within_words_and_signs_that_follow_them(output, answer):
    assert says(output, answer)


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("주의사항", "의사"),
        ("He goes to a party.", "art"),
        ("born in 1905", "1990"),
        ("born in 19900", "1990"),
        ("version 3.10", "3.1"),
        ("He is not married", "married"),
        ("C is fine", "C++"),
        ("New. York", "★"),
        ("...", "★"),
        ("  ", "  "),
        ("well.", "."),
    ],
)
def test_what_is_not_said(output, answer):
    assert not says(output, answer)


def test_punctuation_alone_is_an_answer_where_it_stands_alone():
    assert says("?", "?")
    assert says("it is ? here", "?") is False  # beside words, marks are no tokens
    assert not says("?", "!")


@pytest.mark.parametrize(
    ("output", "answer", "longer", "right"),
    [
        ("It is South Sudan.", "Sudan", ["South Sudan"], False),
        ("It is Sudan, not South Sudan.", "Sudan", ["South Sudan"], True),
        ("South Sudan", "South Sudan", [], True),
        ("東京都です", "京都", ["東京都"], False),
        ("京都です", "京都", ["東京都"], True),
    ],
)
def test_a_part_of_a_longer_answer_is_not_said(output, answer, longer, right):
    assert says(output, answer, longer) is right


@given(st.text(), st.text(min_size=1))
def test_any_text_can_be_scored(output, answer):
    for rules in RULES.values():
        assert rules.says(output, answer, ()) in (True, False)
        assert 0 <= rules.bleu(output, answer) <= 1
        assert 0 <= rules.rouge_l(output, answer) <= 1


# --- the released benchmarks ----------------------------------------------------------------------------------------


@given(st.text(), st.lists(st.text(), min_size=2, max_size=5))
def test_the_released_rule_takes_the_first_letter_or_digit(output, options):
    """Written as in MMUnlearner's MLLMU_eval.py, in a few words."""
    response = re.sub(r"[^a-zA-Z0-9]", "", output)
    letters = dict.fromkeys("ABCDE"[: len(options)])
    expected = response[0].upper() if response and response[0].upper() in letters else None
    assert (released_option(output, options) or None) == expected


def test_the_released_rules_count_what_the_package_does_not():
    assert released_option("A man in a suit", ("x", "y")) == "A"
    assert released_option("The answer is B", ("x", "y")) == ""
    assert released_says("a C# developer", "C")
    assert released_says("Parisian", "paris")
    assert not released_says("high school", "high-school")
