"""The HTML page: one file that loads nothing, says the worst first and shows any text as text."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.fabricated import MODELS, face, make_run

from mmunlearner.report import page as pages
from mmunlearner.report.drawings import drawings
from mmunlearner.report.page import THUMBNAIL, thumbnail
from mmunlearner.report.results import Run, load

FEW = ("vanilla", "oracle", "mmunlearner_vision")
VOID = {"meta", "img", "br", "link", "input", "hr"}
NASTY = "\"'><img src=x onerror=alert(1)></style></script><script>alert(1)</script>{{ 7 * 7 }}"


def page(run: Run) -> str:
    return pages.page(run, drawings(run))


class Reader(HTMLParser):
    """Collects tags, attributes and visible text, and insists that tags nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "title"} & set(self.open):
            self.text += f" {data}"

    def has(self, anchor: str) -> bool:
        return any(attributes.get("id") == anchor for tag, attributes in self.tags if tag == "section")


@pytest.fixture(scope="module")
def whole(finished: Path) -> str:
    return page(load(finished))


@pytest.fixture(scope="module")
def read(whole: str) -> Reader:
    return Reader(whole)


def test_the_page_loads_nothing_from_anywhere(whole: str, read: Reader) -> None:
    assert "http:" not in whole
    assert "https:" not in whole
    assert "@import" not in whole
    assert not {tag for tag, _ in read.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in read.tags:
        for key, value in attributes.items():
            assert not key.startswith("on")
            if key in ("src", "href", "xlink:href", "srcset", "poster"):
                assert value.startswith(("#", "data:image/png;base64,"))
    assert set(re.findall(r"url\((.)", whole)) <= {"#"}


def test_browsers_are_told_to_load_nothing(read: Reader) -> None:
    policy = [a["content"] for tag, a in read.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_every_id_stands_once_and_every_link_leads_somewhere(read: Reader) -> None:
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for tag, a in read.tags if tag == "a"} <= set(ids)


def test_every_section_of_a_whole_run_is_there(read: Reader) -> None:
    for anchor in ("results", "findings", "trade-off", "columns", "losses", "saliency", "gallery", "cost", "details"):
        assert read.has(anchor), anchor
    for model, *_ in MODELS.values():
        assert model in read.text
    assert "torch: 2.13.0" in read.text
    assert "ROUGE-L F1" in read.text


def test_a_bare_run_has_only_the_sections_that_it_can_fill(tmp_path: Path) -> None:
    read = Reader(page(load(make_run(tmp_path / "run", count=20, only=FEW, beside=False))))
    assert read.has("results")
    assert not any(read.has(anchor) for anchor in ("losses", "saliency", "gallery"))
    ids = {attributes.get("id") for _, attributes in read.tags}
    assert {a["href"][1:] for tag, a in read.tags if tag == "a"} <= ids


@pytest.mark.parametrize("only", [("ga",), ("vanilla",), ("vanilla", "oracle"), ("vanilla", "mmunlearner_vision")])
def test_any_set_of_models_makes_a_page(tmp_path: Path, only: tuple[str, ...]) -> None:
    read = Reader(page(load(make_run(tmp_path / "run", count=20, only=only))))
    assert read.has("results")
    assert read.has("trade-off") == (len(only) > 1)
    for name, mark in (("oracle", "→ oracle"), ("vanilla", "= vanilla")):
        assert (name in only and len(only) > 1) == (f"to {'the ' * (name == 'oracle')}{name} ({mark})" in read.text)


def test_a_failed_gate_stands_before_everything_else(tmp_path: Path) -> None:
    read = Reader(page(load(make_run(tmp_path / "run", count=20, gate=False, only=FEW))))
    assert "Nothing can be claimed" in read.text
    assert read.text.index("The memorisation gate failed") < read.text.index("Results")
    assert "Forgotten, and" not in read.text
    assert "To forget" not in read.text


def everywhere(value: Any, nasty: str) -> Any:
    """The same with every free text replaced."""
    fixed = {"role", "good", "goal", "name", "mask", "image", "family", "unit", "parts", "part"}
    if isinstance(value, dict):
        return {k: v if k in fixed else everywhere(v, nasty) for k, v in value.items()}
    if isinstance(value, list):
        return [everywhere(entry, nasty) for entry in value]
    return nasty if isinstance(value, str) else value


def test_text_from_outside_stays_text(tmp_path: Path) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw.update(everywhere(raw, NASTY), name=NASTY, gate=None)

    read = Reader(page(load(make_run(tmp_path / "run", count=20, only=("vanilla", "oracle", "ga"), change=change))))
    assert not [tag for tag, _ in read.tags if tag == "script"]
    assert not [attributes for _, attributes in read.tags if any(key.startswith("on") for key in attributes)]
    assert all(attributes.get("src", "data:").startswith("data:") for _, attributes in read.tags)
    assert NASTY in read.text


def test_answers_are_marked_right_or_wrong(tmp_path: Path) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["gallery"] = [
            {"entity": "Ada", "image": None, "question": "Which city?", "truth": "Oslo",
             "answers": {"vanilla": "It is Oslo.", "mmunlearner_vision": "It is Lima.", "oracle": ""},
             "correct": {"vanilla": True, "mmunlearner_vision": False, "oracle": False}}
        ]  # fmt: skip

    run_dir = make_run(tmp_path / "run", count=20, only=FEW, beside=False, change=change)
    text = Reader(page(load(run_dir))).text
    marks = re.findall(r"(Before|After|Oracle)\s+(It is \w+\.|\(nothing\))\s+([✓✗])", text)
    assert marks == [("Before", "It is Oslo.", "✓"), ("After", "It is Lima.", "✗"), ("Oracle", "(nothing)", "✗")]
    assert "no picture" in text


def test_a_thumbnail_is_a_small_png_of_the_picture(tmp_path: Path) -> None:
    face(tmp_path / "face.png", 1)
    Image.new("RGB", (900, 600), "navy").save(tmp_path / "large.jpg")
    for name, size in (("face.png", (64, 64)), ("large.jpg", (THUMBNAIL, 2 * THUMBNAIL // 3))):
        data = base64.b64decode(thumbnail(tmp_path, name).removeprefix("data:image/png;base64,"))
        assert Image.open(io.BytesIO(data)).size == size


@pytest.mark.parametrize("name", ["", ".", "missing.png", "broken.png", "../secret.png", "/etc/hostname"])
def test_a_picture_that_is_missing_broken_or_elsewhere_is_left_out(tmp_path: Path, name: str) -> None:
    face(tmp_path / "secret.png", 1)
    inside = tmp_path / "run"
    inside.mkdir()
    (inside / "broken.png").write_bytes((tmp_path / "secret.png").read_bytes()[:90])
    assert thumbnail(inside, name) == ""


def test_reporting_imports_no_torch(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run", count=20, only=FEW)
    code = (
        "import sys; from mmunlearner.report import load, print_report; from mmunlearner.report.write import files; "
        f"run = load({str(run_dir)!r}); files(run); print_report(run.results); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
