from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.errors import on_one_line, reason


@given(st.text())
def test_any_message_is_one_printable_line(text: str):
    line = on_one_line(text * 20)
    assert line.isprintable()
    assert len(line) <= 1500


def test_the_remedy_stays():
    assert on_one_line("x" * 5000 + "; remove it\n").endswith("xxx; remove it")
    assert reason(ValueError("a\nb")) == "a"
    assert reason(ValueError("y" * 5000)).endswith("yyy...")
    assert reason(ValueError()) == "ValueError"
