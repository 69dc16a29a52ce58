"""ROUGE-L and BLEU: equal to the well-known packages in English, and of use in every other script."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import sentence_bleu

from mmunlearner.evaluate.similarity import bleu, released_bleu, rouge_l, rouge_l_recall

VOCABULARY = ["ann", "ben", "works", "working", "as", "a", "doctor's", "in", "Paris,", "red-hot", "3.5", "C++", "hat."]
SENTENCES = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=8).map(" ".join)
ROUGE = RougeScorer(["rougeL"], use_stemmer=True)
SCRIPTS = [
    "他是医生",
    "京都に住む",
    "그는 의사",
    "เขาเป็นหมอ",
    "ຄູສອນ",
    "គ្រូ",
    "هو طبيب",
    "הוא רופא",
    "वह वकील",
    "он врач",
]


@given(SENTENCES, SENTENCES)
def test_english_scores_equal_those_of_the_packages(output, reference):
    expected = ROUGE.score(reference, output)["rougeL"]
    for released in (False, True):
        assert rouge_l(output, reference, released=released) == expected.fmeasure
        assert rouge_l_recall(output, reference, released=released) == expected.recall
    assert bleu(output, reference) == min(1, sentence_bleu(output, [reference]).score / 100)


@given(st.text(string.printable), st.text(string.printable))
def test_any_ascii_text_with_words_has_the_rouge_of_rouge_score(output, reference):
    if any(char.isalnum() for char in output) and any(char.isalnum() for char in reference):
        assert rouge_l(output, reference) == ROUGE.score(reference, output)["rougeL"].fmeasure


@given(SENTENCES)
def test_typographic_marks_change_nothing_in_english(text):
    assert rouge_l(f"“{text.replace(chr(39), '’')}” – ", text) == pytest.approx(1)


@pytest.mark.parametrize("text", [*SCRIPTS, "★★☆", "naïve café", "a doctor"])
def test_the_truth_itself_scores_one(text):
    assert rouge_l(text, text) == rouge_l_recall(text, text) == pytest.approx(1)
    assert bleu(text, text) == pytest.approx(1)
    assert rouge_l("★☆★" if text[0] != "★" else "x", text) < 1
    assert rouge_l("", text) == bleu("", text) == 0


@pytest.mark.parametrize("text", SCRIPTS)
def test_a_part_of_the_truth_scores_between(text):
    part = text[: len(text) - 2].strip()
    assert 0 < rouge_l_recall(part, text) < 1
    assert 0 < bleu(f"{part} x", text) < 1


def test_scores_in_chinese_count_characters():
    assert rouge_l("他是律师", "他是医师") == pytest.approx(3 / 4)
    assert rouge_l_recall("他是", "他是医生") == pytest.approx(1 / 2)
    assert rouge_l("他是律师", "他是医师", released=True) == 0


def test_rouge_l_is_stemmed_and_takes_the_longest_common_subsequence():
    assert rouge_l("he work in paris", "he works near paris") == pytest.approx(0.75)
    assert rouge_l_recall("he works", "he works near paris") == pytest.approx(0.5)


@given(SENTENCES, SENTENCES, SENTENCES)
def test_scores_are_bounded_and_more_text_keeps_the_recall(before, answer, after):
    output = f"{before} {answer} {after}"
    assert rouge_l_recall(output, answer) == pytest.approx(1)
    assert 0 < rouge_l(output, answer) <= 1
    assert 0 <= bleu(output, answer) <= 1


def test_released_bleu_is_nltk_s_with_four_words():
    """Of one word the longer n-grams are smoothed: (1 * 0.1^3)^(1/4)."""
    assert released_bleu("doctor", "doctor") == pytest.approx(0.1 ** (3 / 4))
    assert released_bleu("she is a doctor", "she is a doctor") == pytest.approx(1)
    assert released_bleu("", "doctor") == 0
