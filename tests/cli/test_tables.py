"""Tables of numbers keep every number and name whole, however narrow the terminal is."""

from __future__ import annotations

import pytest

from mmunlearner.cli.tables import table

HEADS = ("", "accuracy", "multiple choice", "cloze", "generation", "rouge l", "n")
ROWS = [
    (name, *(f"{value + i / 7:.1f} ± {error}.5" for i in range(5)), f"{216 + value:,}")
    for name, value, error in (("forget_vqa_test", 13, 1), ("neighbour_qa", 99, 10), ("two words", 1000, 0))
]


@pytest.mark.parametrize("width", [36, 60, 80, 100, 200])
def test_numbers_and_names_are_whole(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    table("scores", HEADS, ROWS, numbers=True)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    words = {word for line in lines for word in line.split()}
    for name, *numbers in ROWS:
        assert set(name.split()) <= words
        assert all(any(number in line for line in lines) for number in numbers)
    assert {word for head in HEADS for word in head.split()} <= words
    if width == 200:
        assert len(lines) == len(ROWS) + 2


def test_a_name_that_is_too_long_gives_way_to_the_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table("", ("", "accuracy"), [("layer." * 20, "99.5 ± 10.5")], numbers=True)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 40
    assert "99.5 ± 10.5" in text
    assert text.count("layer") >= 18  # a break may fall into some


def test_a_table_without_columns_of_numbers_is_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    table("", ("name",), [("a",), ("b",)], numbers=True)
    assert capsys.readouterr().out.split() == ["name", "a", "b"]
