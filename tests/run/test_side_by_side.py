from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mmunlearner.errors import ConfigError
from mmunlearner.run.side_by_side import ask, inquiries


def test_each_question_about_each_picture(tmp_path: Path) -> None:
    pictures = [tmp_path / name for name in ("a.png", "b.png")]
    for picture in pictures:
        Image.new("RGB", (8, 8)).save(picture)
    asked = [(item.images[0].path, item.question) for item in inquiries(["Who?", "Where?"], pictures)]
    assert asked == [(str(picture), question) for picture in pictures for question in ("Who?", "Where?")]
    assert [(item.images, item.question) for item in inquiries(["Who?"])] == [((), "Who?")]
    with pytest.raises(ConfigError, match="no question given"):
        inquiries([], pictures)


def test_together_as_alone() -> None:
    """Two models in one call say what each says in a call of its own."""
    models, asked = ("people:vanilla", "people:oracle"), inquiries(["Where does Ada live?"])
    together = ask(models, asked, ["teacher"])
    assert together == [answers for model in models for answers in ask([model], asked, ["teacher"])]
