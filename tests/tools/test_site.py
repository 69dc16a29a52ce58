"""The site of the documentation: what turns the repository's Markdown and docstrings into pages, and checks links."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmunlearner import report
from tools.site.check import broken_links
from tools.site.demo import store, write_page
from tools.site.docstrings import restructured
from tools.site.stage import page_names, stage_reference, turn_links


@pytest.mark.parametrize(
    ("page", "text", "expected"),
    [
        ("README.md", "[guide](docs/guide.md#recipes)", "[guide](guide.md#recipes)"),
        ("docs/guide.md", "[top](../README.md), [data](data.md)", "[top](index.md), [data](data.md)"),
        ("docs/guide.md", "[npo](../src/mmunlearner/methods/npo.py)", "[npo](api/mmunlearner.methods.npo.rst)"),
        ("README.md", "[cite](CITATION.cff)", "[cite](files/CITATION.cff.md)"),
        ("README.md", "![plot](docs/images/tradeoff.svg)", "![plot](files/docs/images/tradeoff.svg)"),
        ("README.md", "[x](https://a.org/b.md) [here](#results)", "[x](https://a.org/b.md) [here](#results)"),
        ("README.md", "`[a](b.md)`\n```\n[a](b.md)\n```\n", "`[a](b.md)`\n```\n[a](b.md)\n```\n"),
    ],
)
def test_links_lead_to_pages(repository: Path, page: str, text: str, expected: str) -> None:
    linked: set[Path] = set()
    assert turn_links(text, repository / page, repository, linked) == expected
    assert linked == {repository / name for name in ("CITATION.cff", "docs/images/tradeoff.svg") if name in text}


def test_dead_link(repository: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^docs.guide\.md: no such file to link to: absent\.md"):
        turn_links("[x](absent.md)", repository / "docs" / "guide.md", repository, set())


def test_every_page_and_module_is_there(repository: Path, tmp_path: Path) -> None:
    names = set(page_names(repository).values())
    assert {file.stem for file in (repository / "docs").glob("*.md")} | {"index", "contributing"} <= names
    stage_reference(repository, tmp_path)
    modules = [file for file in (repository / "src").rglob("*.py") if file.stem != "__main__"]
    assert len(list((tmp_path / "api").iterdir())) == len(modules)
    room = (tmp_path / "api" / "mmunlearner.data.rst").read_text(encoding="utf-8")
    assert ":py:obj:`Example <mmunlearner.data.example.Example>`: One question about one entity" in room


def test_docstrings() -> None:
    docstring = [
        "Return `a_` of *.json files, |x|.",
        "",
        "    forget_*  `as` it stands",
        "",
        "Raises:",
        "    DataError: a_",
    ]
    assert list(restructured(docstring)) == [
        r"Return ``a_`` of \*.json files, \|x\|.", "", "::", "", "    forget_*  `as` it stands", "",
        "Raises:", r"    DataError: a\_",
    ]  # fmt: skip


def test_broken_links(tmp_path: Path) -> None:
    """A page may point to another site, and may load nothing from there."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="sub/a.html#x">1</a><img src="none.png"><a href="https://b.org">2</a>'
        '<script src="//c.org/d.js"></script>'
    )
    (tmp_path / "sub" / "a.html").write_text(
        '<p id="x"><a href="../index.html">1</a><a href="#y">2</a><a href=".">3</a><img src="data:image/png;base64,AA">'
    )
    assert broken_links(tmp_path) == [
        "index.html: none.png", "index.html: loads //c.org/d.js", "sub/a.html: #y", "sub/a.html: .",
    ]  # fmt: skip


def test_report_of_the_stored_demo(repository: Path, tmp_path: Path) -> None:
    """It is made by today's code, of files that can be stored again."""
    stored, page = repository / "docs" / "demo", tmp_path / "site" / "report.html"
    write_page(stored, tmp_path / "run", page)
    assert f"run {report.load(stored).results.name}" in page.read_text(encoding="utf-8")
    store(tmp_path / "run", tmp_path / "again")
    names = [{file.relative_to(folder) for file in folder.rglob("*")} for folder in (stored, tmp_path / "again")]
    assert names[0] == names[1]
