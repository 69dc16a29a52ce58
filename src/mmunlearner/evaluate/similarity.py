"""Similarity of an answer to the truth: ROUGE-L by rouge_score, BLEU by sacrebleu, in any script.

The released benchmarks know ASCII letters alone (ROUGE) and words between spaces (BLEU): a Chinese answer gets 0 or 1.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from mmunlearner.core.words import plain_words, space_out, words


def rouge_l(output: str, reference: str, *, released: bool = False) -> float:
    """Return ROUGE-L F1 with stemming of English (MLLMU-Bench), 0 to 1."""
    return float(_rouge_scorer(released).score(reference, output)["rougeL"].fmeasure)


def rouge_l_recall(output: str, reference: str, *, released: bool = False) -> float:
    """Return ROUGE-L recall with stemming of English (TOFU, CLEAR), 0 to 1."""
    return float(_rouge_scorer(released).score(reference, output)["rougeL"].recall)


def bleu(output: str, reference: str) -> float:
    """Return sentence BLEU with sacrebleu's smoothing and effective order, 0 to 1."""
    from sacrebleu import sentence_bleu

    # Characters of a script without spaces are its words.
    score = sentence_bleu(space_out(output), [space_out(reference)]).score
    return min(1.0, score / 100)  # rounding makes it exceed 100 at times


def released_bleu(output: str, reference: str) -> float:
    """Return MLLMU-Bench's BLEU: nltk's up to four words, with its first smoothing, of what stands between spaces."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    score: Any = sentence_bleu([reference.split()], output.split(), smoothing_function=SmoothingFunction().method1)
    return float(score)


class _Tokenizer:
    """rouge_score's own tokens of ASCII texts, and the same of other letters: words, or characters without spaces."""

    def __init__(self) -> None:
        from rouge_score.tokenizers import DefaultTokenizer

        self._english = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        if text.isascii():
            tokens = self._english.tokenize(text)
        else:
            tokens = [token for word in plain_words(text) for token in self._stem(word)]
        # An answer of symbols is like itself.
        return tokens or list(words(text))

    def _stem(self, word: str) -> list[str]:
        return self._english.tokenize(word) if word.isascii() else [word]


@cache  # one scorer for all answers
def _rouge_scorer(released: bool) -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # 2 s to import: only where texts are scored

    return RougeScorer(["rougeL"], use_stemmer=True, tokenizer=None if released else _Tokenizer())
