"""Words of a text by script and kind of token; what counts as the same word, and what does not."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.core.words import fold, plain_words, space_out, spans, words

SAME = [
    ("Straße", "STRASSE"),
    ("İstanbul", "istanbul"),
    ("DİYARBAKIR", "Diyarbakır"),
    ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
    ("Королёв", "КОРОЛЕВ"),
    ("cafe\u0301", "Café"),  # decomposed
    ("ﬁnance", "finance"),  # a ligature
    ("Ｔｏｋｙｏ １２", "tokyo 12"),  # full-width
    ("ｺｰﾋｰ", "コーヒー"),  # half-width
    ("がく", "か\u3099く"),
    ("서울", "\u1109\u1165\u110b\u116e\u11af"),  # single letters of Hangul
    ("مُحَمَّد", "محمد"),  # vowel signs
    ("محـــمد", "محمد"),  # lengthened
    ("שָׁלוֹם", "שלום"),  # points
    ("क़लम", "क\u093cलम"),
    ("क्\u200dष", "क्ष"),  # a joiner
    ("co\u00adoperate", "cooperate"),  # a soft hyphen
    ("नमस्ते १२", "नमस्ते 12"),
    ("٥٫٥", "5.5"),
    ("٪٥", "%5"),
    ("high-school", "High  School"),
    ("O’Brien", "o'brien"),
    ("AC/DC", "ac dc"),
    ("北京", "北 京"),
    ("「東京」", "東京"),
    ("ジョン・スミス", "ジョンスミス"),
    ("**Paris**", "paris"),
    ("Yahoo!", "yahoo"),
    ("C♯", "C#"),
    ("Coke™", "coke"),
    ("H₂O", "H2O"),
    ("5️⃣", "5"),
    ("👍🏽", "👍"),
    ("1,234,567.5", "1234567.5"),
    ("1.234.567", "1234567"),
    ("1.234,5", "1234.5"),
    ("12,34,567", "1234567"),
    ("10\u202f000", "10000"),
    ("10'000", "10,000"),
    ("3,5", "3.5"),
    (".5", "0.5"),
    ("+5", "5"),
    ("−5", "-5"),
    ("–5", "-5"),
    ("5 %", "5%"),
    ("½", "1/2"),
    ("10⁵", "10^5"),
    ("12.05.1990", "12/05/1990"),
    ("B-52", "b 52"),
]
DIFFERENT = [
    ("C", "C++", "C#", "C♭", "C+"),
    (".NET", "NET"),
    ("A", "A+", "A-", "A*"),
    ("O-", "O+", "O"),
    ("5", "-5", "5%", "5.5", "15", "50", "<5", "≥5", "5+"),
    ("UTC+5", "UTC-5"),
    ("1.5", "15", "1.50"),
    ("1,000", "1.000"),
    ("105", "10⁵"),
    ("11/2", "1½"),
    ("05", "5"),
    ("$5", "€5"),
    ("art", "party", "arts"),
    ("José", "Jose"),
    ("hat", "hut"),
    ("कल", "किला"),  # the same consonants
    ("บาน", "บ้าน"),  # a tone
    ("बल", "बाल"),
    ("서울", "서운"),
    ("北京", "東京"),
    ("はし", "ばし"),
    ("علم", "عالم"),
    ("й", "и"),
    ("★", "☆", "★★"),
    ("♂", "♀"),
    ("?", "!"),
]


@pytest.mark.parametrize(("text", "other"), SAME)
def test_ways_to_write_one_answer(text, other):
    assert words(text) == words(other)
    assert words(text)


@pytest.mark.parametrize("texts", DIFFERENT, ids="/".join)
def test_different_answers_stay_apart(texts):
    assert len({words(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("She knows C++, C# and .NET.", "she|knows|c++|c#|and|.net"),
        ("Grade: A-, not B+!", "grade|a-|not|b+"),
        ("From -5 to 5.5, (i.e. 10%)", "from|-5|to|5.5|i|e|10%"),
        ("pages 5-10; x=-3", "pages|5|10|x|-3"),
        ("a+b, F#m, 18+", "a|+|b|f#|m|18+"),
        ("他有5只狗。", "他|有|5|只|狗"),
        ("의사입니다 A", " 의|사|입|니|다|a"),
        ("ไก่", "ไ|ก่"),
        ("ខ្មែរ", "ខ្|មែ|រ"),
        ("हिन्दी में", "हिन्दी|में"),
        ("★★ 5€", "★|★|5|€"),
        ("?! ...", "?!|..."),
        ("", ""),
        (" \n\u200b", ""),
    ],
)
def test_tokens_of_a_text(text, tokens):
    assert "|".join(words(text)) == tokens


@given(st.text())
def test_folding_again_changes_nothing(text):
    folded = fold(text)
    assert fold(folded) == folded
    assert words(folded) == words(text)


@given(st.text(st.sampled_from("aB5.,-+#%^*'/ ½⁵°İßё北の가ส\u0301\u200dَ"), max_size=12))
def test_folding_again_changes_nothing_in_numbers_and_mixed_scripts(text):
    assert fold(fold(text)) == fold(text)


@given(st.text("ab", max_size=12), st.text("ab", min_size=1, max_size=3))
def test_spans_are_all_places(text, answer):
    found = spans(tuple(answer), tuple(text))
    assert [place.start for place in found] == [i for i in range(len(text)) if text[i:].startswith(answer)]
    assert {len(place) for place in found} <= {len(answer)}
    assert spans((), tuple(text)) == []


def test_plain_words_have_no_signs():
    assert plain_words("C++ 3.5% 北京 가나 हिन्दी") == ["c", "3", "5", "北", "京", "가", "나", "हिन्दी"]
    assert space_out("in 北京!").split() == ["in", "北", "京", "!"]
    assert space_out("in Berlin – ja") == "in Berlin – ja"


def test_the_documented_examples_hold(repository: Path):
    """Columns of the table in docs/scoring.md: `*a* = *b*` are the same words, `*a*, *b*` of the last are not."""
    lines = (repository / "docs" / "scoring.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines if line.startswith("| ") and line.count("|") == 5][1:]
    assert len(rows) > 15
    for _, _, _, same, different, _ in rows:
        for chain in re.findall(r"\*[^*=]+\*(?: = \*[^*=]+\*)+", same):
            assert len({words(text) for text in re.findall(r"\*([^*=]+)\*", chain)}) == 1, chain
        for group in different.split(";"):
            texts = re.findall(r"\*([^*]+)\*", group)
            assert all(words(a) != words(b) for a, b in combinations(texts, 2)), group
