"""Texts that show nothing, names that are one, and texts that no file can hold."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.core.texts import appearance, canonical, distinct, is_blank, unwritable

INVISIBLE = " \t\u00a0\u2028\u3000\u200b\u200d\u2060\ufeff\u202e\u00ad\u115f\u3164\uffa0\ufe0f\u2800\U000e0020"


@given(st.text(st.sampled_from(INVISIBLE)), st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=1))
def test_a_text_is_blank_if_nothing_of_it_is_seen(hidden: str, visible: str):
    shown = visible and visible not in INVISIBLE
    assert is_blank(hidden + visible + hidden) == (not shown)


@pytest.mark.parametrize("text", ["-5", "+", "C++", "।", "東", "👍", "٣", "é", "e\u0301", "\ue000", "\u0301"])
def test_symbols_marks_and_every_script_are_texts(text: str):
    assert not is_blank(text)


@given(st.text())
def test_the_forms_of_unicode_are_one_name(name: str):
    for form in ("NFC", "NFD"):
        assert canonical(f"  {unicodedata.normalize(form, name)}\u00a0") == canonical(name)
    assert canonical(canonical(name)) == canonical(name)
    assert appearance(canonical(name)) == appearance(name)


@given(
    st.text(st.characters(codec="utf-8"), min_size=1), st.integers(0, 9), st.sampled_from("\u200b\ufeff\u2060\ufe0f")
)
def test_invisible_characters_do_not_tell_names_apart(name: str, at: int, sign: str):
    assert appearance(name[:at] + sign + name[at:]) == appearance(name) or unicodedata.normalize("NFKC", name) != name


@pytest.mark.parametrize(("one", "other"), [("Ａｄａ", "Ada"), ("ﬁnn", "finn"), ("①", "1"), ("Jo  Li", "Jo\tLi")])
def test_compatibility_forms_look_the_same(one: str, other: str):
    assert not distinct([one, "x", other])


@pytest.mark.parametrize(("one", "other"), [("ada", "Ada"), ("José", "Jose"), ("O'Neil", "Oneil"), ("+", "-")])
def test_case_and_accents_tell_names_apart(one: str, other: str):
    assert distinct([one, other])


PLAIN = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(PLAIN)
def test_half_of_a_pair_is_found_wherever_it_is(value: object):
    assert unwritable(value) is None
    assert unwritable([1, {"a": [value, "b\udfff"]}]) == (1, "a", 1)
    assert unwritable({"a": {"\ud83d": value}}) == ("a",)
