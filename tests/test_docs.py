"""Documentation against code: commands parse, snippets run, files and names exist."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest
import yaml

from mmunlearner.cli.commands import app
from mmunlearner.config import RunConfig
from mmunlearner.core.recipes import build
from mmunlearner.data.benchmarks import rows

DATE = r"\d{4}-\d\d-\d\d\. "


def blocks(text: Path, language: str) -> list[str]:
    """Return the fenced code of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def pages(repository: Path) -> list[Path]:
    return [*repository.glob("*.md"), *repository.glob("docs/*.md")]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def shell_lines(repository: Path) -> Iterator[str]:
    """Yield the commands of all pages and of the examples' docstrings."""
    for page in pages(repository):
        for block in blocks(page, "sh"):
            yield from block.replace("\\\n", "").splitlines()
    for example in repository.glob("examples/*.py"):
        docstring = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
        yield from re.findall(r"^    (\S.*)$", re.sub(r"\\\n *", "", docstring), re.MULTILINE)


def test_cli_page(repository: Path) -> None:
    """`make docs` writes it; in a process of its own, since cyclopts asks how it was called."""
    [code] = re.findall(r"-c '(from mmunlearner\.cli .*)' > docs/cli\.md", (repository / "Makefile").read_text())
    page = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert (repository / "docs" / "cli.md").read_text(encoding="utf-8") == page


def test_links(repository: Path) -> None:
    dead = []
    for page in pages(repository):
        text = page.read_text(encoding="utf-8")
        for link, anchor in re.findall(r"\]\((?!https?://|mailto:)([^)#]*)#?([^)]*)\)", text):
            target = page.parent / link if link else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                dead.append(f"{page.name}: {link}#{anchor}")
    assert dead == []


def test_commands(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    parsed = 0
    for line in shell_lines(repository):
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert re.search(rf"^{words[1]}\b.*:", makefile, re.MULTILINE), line
        elif words[:1] == ["mmunlearner"] or words[1:3] == ["-m", "mmunlearner"]:
            arguments = words[words.index("mmunlearner") + 1 :]
            app.parse_args(arguments, exit_on_error=False, print_error=False)  # raises for what does not exist
            parsed += 1
    assert parsed > 12


def test_decisions(repository: Path) -> None:
    """Each has a title and a date, and stands under a room."""
    text = (repository / "docs" / "decisions.md").read_text(encoding="utf-8")
    entries = re.findall(r"^### (.+)\n(.*)", text, re.MULTILINE)
    assert [title for title, first in entries if not re.match(DATE, first)] == []
    package = repository / "src" / "mmunlearner"
    titles = [title.lower() for title in re.findall(r"^## (.+)$", text, re.MULTILINE)]
    assert [title for title in titles[1:] if not (package / title).is_dir()] == []


def test_contributing_files(repository: Path) -> None:
    """Files that it names exist; X and ROOM stand for any name."""
    text = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = [name for name in re.findall(r"`([\w./-]+/[\w./-]+)`", text) if not re.search(r"\bX\b|_X\b|ROOM", name)]
    roots = (repository, repository / "src" / "mmunlearner")
    assert len(named) > 20
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []


def test_glossary(repository: Path) -> None:
    """Names of code in the glossary are defined in the package."""
    text = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, _, glossary = text.partition("## Glossary")
    rows_ = re.findall(r"^\| .* \| (.*) \|$", glossary.partition("## How to add")[0], re.MULTILINE)
    names = {
        name
        for row in rows_
        for group in re.findall(r"\(([^)]*`[^)]*)\)", row)
        for name in re.findall(r"`([\w.]+)`", group)
    }
    source = "\n".join(file.read_text(encoding="utf-8") for file in (repository / "src").rglob("*.py"))
    defined = {
        *re.findall(r"^ *(?:class|def) (\w+)", source, re.MULTILINE),
        "Splits.forget",
        "Splits.retain",
        "Splits.text",
    }
    assert len(names) > 20
    assert names - defined == set()


def test_python_names(repository: Path) -> None:
    """Names such as `mmunlearner.data.overlap` exist; the changelog names old ones too."""
    names = {
        name
        for page in pages(repository)
        if page.name != "CHANGELOG.md"
        for name in re.findall(r"`(mmunlearner(?:\.\w+)+)", page.read_text(encoding="utf-8"))
    }
    assert names
    for name in names:
        resolve_name(name)


def test_readme_table(repository: Path) -> None:
    """Every name of the Python table can be imported."""
    section = (repository / "README.md").read_text(encoding="utf-8").partition("## Python")[2].partition("\n## ")[0]
    names = [
        name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`([\w.]+)`", row)
    ]
    assert len(names) > 8
    for name in names:
        resolve_name(f"mmunlearner.{name}")


def test_guide_recipe(repository: Path) -> None:
    [recipe] = blocks(repository / "docs" / "guide.md", "yaml")
    config = build(RunConfig, yaml.load(recipe, yaml.BaseLoader))
    assert config.methods["vision"].trials
    assert config.methods["vision"].mask is not None


def test_guide_row(repository: Path, tmp_path: Path) -> None:
    from PIL import Image

    [line] = blocks(repository / "docs" / "guide.md", "json")
    row = json.loads(line)
    picture = tmp_path / row["image"]
    picture.parent.mkdir()
    Image.new("RGB", (8, 8)).save(picture)
    (tmp_path / rows.FILE).write_text(line, encoding="utf-8")
    [(_, example)] = rows.read(tmp_path)
    assert (example.entity, example.answer) == (row["entity"], row["answer"])


def test_guide_method(repository: Path) -> None:
    [code] = blocks(repository / "docs" / "guide.md", "python")
    namespace: dict = {}
    exec(code, namespace)
    method = namespace["CAPPED"]
    assert method.options == {"cap": 2.0, "retain_weight": 1.0}
    method.bind({"cap": 3})


@pytest.mark.slow
@pytest.mark.core
def test_readme_python(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = blocks(repository / "README.md", "python")
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    exec(code, namespace)
    assert namespace["result"].weight_changes.forget_outside == 0
    assert (tmp_path / "unlearned" / "model.safetensors").is_file()
    assert (tmp_path / "answers" / "scores.json").is_file()
