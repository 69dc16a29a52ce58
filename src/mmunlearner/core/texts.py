"""Texts and names: what can be seen of a text, and when two names are one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

# Characters without a picture that Unicode counts as letters, marks or symbols: fillers, joiners, variation selectors,
# the empty Braille cell (of Default_Ignorable_Code_Point, those outside of the categories below).
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BLANK_CATEGORIES = frozenset(["Cc", "Cf", "Zl", "Zp", "Zs"])
"""Unicode's control and format characters (zero-width space, byte order mark, directions) and its spaces."""


def is_blank(text: str) -> bool:
    """Return whether nothing of a text can be seen: it is empty, or all of it are spaces and zero-width characters."""
    return all(unicodedata.category(character) in _BLANK_CATEGORIES for character in _INVISIBLE.sub("", text))


def canonical(name: str) -> str:
    """Return a name as data sets compare it: in Unicode's composed form (NFC), without outer and repeated spaces.

    Both spellings of `é`, one character or a letter and an accent, are the same text to Unicode, and so they are here.
    """
    return " ".join(unicodedata.normalize("NFC", name).split())


def appearance(name: str) -> str:
    """Return a key that is equal for names that look the same to a reader.

    Compatibility forms (NFKC: full-width letters, ligatures), spaces and invisible characters do not count; case does.
    """
    visible = _INVISIBLE.sub("", unicodedata.normalize("NFKC", name))
    return " ".join("".join(c for c in visible if unicodedata.category(c) != "Cf").split())


def distinct(texts: Iterable[str]) -> bool:
    """Return whether no two texts look the same."""
    keys = [appearance(text) for text in texts]
    return len(set(keys)) == len(keys)


def unwritable(value: object) -> tuple[str | int, ...] | None:
    """Return the path to a text, in plain values of lists and mappings, that is not Unicode; None if there is none.

    Such a text holds half of a surrogate pair, as `"\\ud83d"` in JSON: it cannot be written to any file.
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return ()
    entries: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, Mapping):
        entries = value.items()
        if any(unwritable(name) is not None for name in value):
            return ()
    elif isinstance(value, list | tuple):
        entries = enumerate(value)
    for step, item in entries:
        if (path := unwritable(item)) is not None:
            return (step, *path)
    return None
