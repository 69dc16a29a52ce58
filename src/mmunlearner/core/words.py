"""Words of a text, by script and kind of token: the one rule for whether a text contains an answer.

`fold` makes letters that count as the same equal; `words` cuts a folded text into tokens; `spans` finds an answer's
tokens side by side. The rules, with examples in many scripts, are in docs/scoring.md.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import regex

Words = tuple[str, ...]

# --- letters that count as the same ---------------------------------------------------------------------------------

_UNSEEN = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Me}©®]")
"""Joiners, direction marks, variation selectors, soft hyphens, enclosing marks, signs of a trade mark."""
_OPTIONAL_MARKS = regex.compile(
    r"[\u064B-\u0652\u0656-\u065F\u0670\u06D6-\u06DC\u06DF-\u06E4\u06E7\u06E8\u06EA-\u06ED\u0640"  # Arabic
    r"\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7"  # Hebrew
    r"]|(?<=i)\u0307"  # what is left of a dotted capital I
)
"""Marks that writers may leave out: vowel signs and lengthening of Arabic, points and accents of Hebrew."""
_SAME = str.maketrans("ıё♯٪٫⁄\u2010\u2011\u2212", "iе#%./---")
"""Dotless i, Russian yo, sharp, percent and decimal signs, hyphens and minus."""
_BEFORE = (
    (regex.compile("[™℠]"), ""),
    (regex.compile(r"(?<=\d)[\u00A0\u2009\u202F'’٬](?=\d{3}(?!\d))"), ""),  # thousands: 1'000, 1 000 with a hard space
    (regex.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])"), " "),  # 1½ is not 11/2
    (regex.compile(r"(?<=\d)(?=[⁰¹²³⁴-⁹])"), "^"),  # 10⁵ is not 105
)
"""Replacements in the text as written: the compatibility form would join these digits with their neighbours."""


def fold(text: str) -> str:
    """Return the text in the form in which letters that count as the same are equal; folding again changes nothing.

    NFKC and full case folding (full-width and half-width forms, ligatures, composed and decomposed letters, ß and ss,
    final sigma), decimal digits of all scripts as 0 to 9, and without what a reader does not see or a writer may omit.
    """
    # Each step may make work for another (a mark that goes lets its neighbours compose), so they repeat until at rest.
    while (folded := _fold_once(text)) != text:
        text = folded
    return text


def _fold_once(text: str) -> str:
    for pattern, replacement in _BEFORE:
        text = pattern.sub(replacement, text)
    if text.isascii():  # most texts: nothing but the case can differ
        return text.lower()
    text = _UNSEEN.sub("", unicodedata.normalize("NFKC", text).casefold())
    text = unicodedata.normalize("NFKC", _OPTIONAL_MARKS.sub("", text).translate(_SAME))
    return "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text)


# --- tokens ---------------------------------------------------------------------------------------------------------

# Scripts that write no spaces between words (a space in them separates phrases, or nothing).
_UNSPACED = r"\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Bopo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_LETTER = r"[\p{L}\p{M}\p{N}]"
_SPACED = rf"[{_LETTER}--[{_UNSPACED}]]"
# Without Korean, which is cut into syllables.
_WORD = rf"(?:[a-z0-9]|[{_LETTER}--[{_UNSPACED}\p{{Hangul}}]])"
_EMPHASIS = regex.compile(rf"(?<!{_LETTER}|\*)(\*{{1,3}})(?=[^\s*])(.+?)(?<=[^\s*])\1(?!{_LETTER}|\*)", regex.V1)
_TOKEN = regex.compile(
    rf"""
    (?P<sign>[-+–±<>≤≥](?<!(?:{_SPACED}|[)\]%]).)(?=\.?\d))?     # -5, but not B-52 nor the dash of 5-10
    (?P<dot>\.(?<!(?:{_LETTER}|\.).))?                         # .NET and .5, but no full stop
    (?P<word>{_WORD}+(?:[.,^](?<=\d.)(?=\d){_WORD}+)*)         # 3.5 and 1,000 are one word
    (?P<tail>
      \+\++ | \+(?!{_LETTER})                                 # C++, A+, 18+, but not a+b
      | \#(?!\d) | ♭                                         # C#, F#m, but not no#1
      | [-*](?<=(?<!{_LETTER})\p{{L}}{{1,2}}.)(?!{_LETTER}|[*-])  # A-, AB-, A*, but not pre-
      | \s?[%‰](?<=\d\s?.)                                    # 5% and 5 %
    )?
    | (?P<character>[[\p{{L}}\p{{N}}]&&[{_UNSPACED}]]\p{{M}}*)
    | (?P<syllable>[\p{{L}}&&\p{{Hangul}}]\p{{M}}*)
    | (?P<symbol>[\p{{S}}--[\p{{Sk}}~|=<>]])                     # a star, a currency, a lone +, emoji
    """,
    regex.VERBOSE | regex.V1,
)
_PLAIN = regex.compile(rf"{_WORD}+|[{_UNSPACED}\p{{Hangul}}&&[\p{{L}}\p{{N}}]]\p{{M}}*", regex.V1)
_UNSPACED_CHARACTER = regex.compile(rf"[[\p{{L}}\p{{N}}]&&[{_UNSPACED}]]\p{{M}}*", regex.V1)
_NUMBER = regex.compile(r"\d+(?:[.,^]\d+)*")
_THOUSANDS = (
    (regex.compile(r"\d{1,3}(,\d{3})+(\.\d+)?|\d{1,2}(,\d{2})+,\d{3}(\.\d+)?"), ",", "."),  # 1,234,567.8 and 12,34,567
    (regex.compile(r"\d{1,3}(\.\d{3})+,\d+|\d{1,3}(\.\d{3}){2,}"), ".", ","),  # 1.234,5 and 1.234.567
    (regex.compile(r"\d+,\d+"), "", ","),  # 3,5
)
"""Form of a number, its sign of thousands, its decimal sign; `1,000` is a thousand, `1.000` is one."""


@lru_cache(maxsize=1 << 15)  # several metrics cut the same answers
def words(text: str) -> Words:
    """Return the tokens of a text.

    A token is a word or number with the signs that belong to it (`C++`, `.NET`, `-5`, `3.5`, `5%`), one character of a
    script without spaces (`京`), or a symbol (`★`). Other punctuation is left out, but for a text of nothing else: then
    its parts between spaces are the tokens. Korean words are cut into syllables, the first of each with a space before
    it: an answer may be followed by particles within its word, but begins where the word does.
    """
    folded = fold(text)
    tokens: list[str] = []
    end_of_syllable = -1
    for match in _TOKEN.finditer(_EMPHASIS.sub(r"\2", folded)):
        sign, dot, word, tail, syllable = match.group("sign", "dot", "word", "tail", "syllable")
        if syllable:
            tokens.append(syllable if match.start() == end_of_syllable else f" {syllable}")
            end_of_syllable = match.end()
        elif word and word[0].isdecimal():
            first, *rest = _plain_number(f"0.{word}" if dot else word)
            tokens += [("" if sign in (None, "+") else sign.replace("–", "-")) + first, *rest]
            tokens[-1] += (tail or "").strip()
        else:
            tokens.append(match[0])
    return tuple(tokens) or tuple(folded.split())


def _plain_number(word: str) -> list[str]:
    """Return a number, and what is written on to it, without signs of thousands and with a decimal point.

    Digits with several signs that are no thousands are a date or the like: several numbers.
    """
    digits = "".join(_NUMBER.findall(word)[:1])
    unit = word[len(digits) :]
    for form, thousands, decimal in _THOUSANDS:
        if form.fullmatch(digits):
            plain = digits.replace(thousands, "") if thousands else digits
            return [plain.replace(decimal, ".") + unit]
    if "^" in digits or (digits.count(".") < 2 and "," not in digits):
        return [word]
    *numbers, last = regex.split("[.,]", digits)
    return [*numbers, last + unit]


def spans(answer: Words, text: Words) -> list[range]:
    """Return each place in a text where the tokens of an answer stand side by side; none for an empty answer."""
    size = len(answer)
    starts = range(len(text) - size + 1) if answer else ()
    return [range(start, start + size) for start in starts if text[start : start + size] == answer]


def plain_words(text: str) -> list[str]:
    """Return the words of a text without any signs, and single characters of scripts without spaces and of Korean."""
    return _PLAIN.findall(fold(text))


def space_out(text: str) -> str:
    """Return the text with spaces around each character of a script that writes none between words."""
    return text if text.isascii() else _UNSPACED_CHARACTER.sub(r" \g<0> ", text)


def is_unspaced(char: str) -> bool:
    """Return whether a character is of a script that writes no spaces between words."""
    return bool(_UNSPACED_CHARACTER.match(char))
