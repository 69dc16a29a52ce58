"""The option that an answer to a multiple choice picks: by its letter, or else by its text (docs/scoring.md)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from string import ascii_uppercase
from typing import NamedTuple

import regex

from mmunlearner.core.words import Words, spans, words

_NEGATIONS = {"not", "never", "nor", "neither", "cannot", "t"}  # `isn't` is cut into `isn` and `t`
_ARTICLES = {"a", "an", "the"}

# A letter of its own: not of a name such as C'est, B-52, B.A., R&B, C++ or J. B. Smith.
_LETTER = regex.compile(
    r"""
    (?<![\p{Latin}\p{N}] | \p{Latin}['’.&/-] | \p{Lu}\.\s)
    [A-Za-z]
    (?![\p{Latin}\p{N}+#♭] | ['’&/-][\p{Latin}\p{N}] | \.\s?\p{Lu}(?!\p{Latin}))
    """,
    regex.VERBOSE,
)
_MARKS = " \t\n.,:;!?()[]{}<>\"'“”‘’«»*_`~#>-–—、。।【】「」『』"
_LABEL = regex.compile(r"""["'”’*_`)\]}】」]*(?:[.:)\]},、】=]|\s+[-–—=]\s|\s*\n|$)""")
_LISTED = regex.compile(r"[:.)\]]\s*[^\s\p{P}]")
_AND = regex.compile(
    r"(?i)\s*[,/&、]\s*(?:and|or)?\s*|\s+(?:and|or|und|oder|et|ou|y|o|e|и|или)\s+|\s*(?:和|或|と|및)\s*"
)
_CUE = regex.compile(
    r"""(?i)
    (?: \b(?:answer|option|choice|letter|choose|select|pick|réponse|respuesta|resposta|risposta|antwort|antwoord|svar
      |odpowiedź|odpověď|cevap|jawaban|ответ|відповідь|απάντηση|الإجابة|الجواب|תשובה|उत्तर)
      | 答案|选择?|選|正解|答え|정답|답 )
    [\p{L}\p{M}]* (?:[\s:=]+[\p{L}\p{M}]+){0,3} [\s:=([{"'“*_`]* $""",
    regex.VERBOSE,
)
"""Words that lead to a letter: the word for an answer in many languages, and at most three words behind it."""
_ENCLOSED = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "【": "】", "「": "」"}
_ENCLOSED |= {mark: mark for mark in "*_`"}
_POSSIBLE_WORDS = "AEIOUY"
"""Letters that are words of European languages: `A man`, `E un pilota`, `O homem`, `Y el hombre`."""


def mentions(answer: str, text: str) -> list[range]:
    """Return the places among the words of a text where it says an answer: the answer's words, and not behind a `not`.

    Negation is read in English alone.
    """
    said = words(text)
    return [place for place in spans(words(answer), said) if not _is_negated(said[: place.start])]


def _is_negated(before: Words) -> bool:
    *_, last = ["", *(word for word in before[-2:] if word not in _ARTICLES)]
    return last in _NEGATIONS


class _Mention(NamedTuple):
    """A letter that stands alone in an answer."""

    letter: str
    start: int
    before: str
    after: str

    @property
    def option(self) -> str:
        return self.letter.upper()

    @property
    def may_be_word(self) -> bool:
        """True for `a man` and `A man`, but not for `A is right`, `A.` or `B because`."""
        is_vowel_or_small = self.letter.islower() or self.letter in _POSSIBLE_WORDS
        return is_vowel_or_small and bool(regex.match(r"\s+(?!is\b)[\p{L}\p{N}]", self.after))

    @property
    def is_label(self) -> bool:
        """True at the beginning of the answer, as `B`, `b)`, `(B)`, `**B**`, `B: Paris`, `B because`."""
        if self.before.strip(_MARKS) or regex.match(r"\s+is(?:\s+not|n['’]t)\b", self.after):
            return False
        return bool(_LABEL.match(self.after)) or (self.letter.isupper() and not self.may_be_word)

    @property
    def is_listed(self) -> bool:
        """True where it looks like the label of an option: `C: Rome`, `(C)`."""
        return self.is_enclosed or bool(_LISTED.match(self.after))

    @property
    def is_enclosed(self) -> bool:
        """True for `(B)`, `**b**`."""
        return bool(self.after) and _ENCLOSED.get(self.before[-1:]) == self.after[0]

    @property
    def is_pick(self) -> bool:
        """True for `(B)`, `the answer is B`, `option b`, and for a capital at the end of a line."""
        if self.is_enclosed:
            return True
        if _CUE.search(self.before):
            return not self.may_be_word
        last = self.after.partition("\n")[0]
        # A word may be the last one of an answer that is cut off: `He is a pilot. A`.
        ends = bool(last.strip()) or self.letter not in _POSSIBLE_WORDS or self.before.rstrip()[-1:] in ":=："
        return self.letter.isupper() and not last.strip(_MARKS) and ends

    @property
    def is_negated(self) -> bool:
        return _is_negated(tuple(word for word in words(self.before) if word not in ("option", "answer", "letter")))


def chosen_option(output: str, options: Sequence[str]) -> str:
    """Return the letter of the option that an answer picks; empty if it picks none, or several.

    Args:
        options: texts in order A, B, C...; empty if they are unknown: then any letter may be one.
    """
    text = unicodedata.normalize("NFKC", output).strip()
    letters = ascii_uppercase[: len(options)] or ascii_uppercase
    if (alone := text.strip(_MARKS).upper()) and alone in set(letters):
        return alone
    equal = [letter for letter, option in zip(letters, options, strict=False) if words(option) == words(text)]
    if len(equal) == 1:
        return equal[0]
    found = [
        _Mention(match[0], match.start(), text[: match.start()], text[match.end() :])
        for match in _LETTER.finditer(text)
        if match[0].upper() in letters
    ]
    joined = {
        mention.start
        for pair in pairwise(found)
        for mention in pair
        if pair[0].option != pair[1].option and _AND.fullmatch(text[pair[0].start + 1 : pair[1].start])
    }
    found = [mention for mention in found if mention.start not in joined]
    if found and found[0].is_label:
        listing = any(mention.is_listed and mention.option != found[0].option for mention in found[1:])
        return "" if listing else found[0].option
    picked = {mention.option for mention in found if mention.is_pick and not mention.is_negated}
    return "".join(picked) if len(picked) == 1 else "" if picked else _named_option(text, letters, options)


def _named_option(text: str, letters: str, options: Sequence[str]) -> str:
    """Return the letter of the only option whose text an answer says; empty if it says none, or several."""
    places = [
        (letter, place) for letter, option in zip(letters, options, strict=False) for place in mentions(option, text)
    ]
    # `Sudan` is not named by `South Sudan` where that is an option too.
    named = {letter for letter, place in places if not any(set(place) < set(longer) for _, longer in places)}
    return "".join(named) if len(named) == 1 else ""
