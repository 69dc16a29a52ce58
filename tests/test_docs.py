"""What the texts say is what the code does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmunlearner.config import RunConfig
from mmunlearner.core.recipes import build
from mmunlearner.data.benchmarks import rows

DATE = r"\d{4}-\d\d-\d\d\. "


def blocks(text: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_page_on_the_commands_is_what_help_says(repository: Path) -> None:
    """`make docs` writes it; in a process of its own, since cyclopts asks how that was called."""
    [code] = re.findall(r"-c '(from mmunlearner\.cli .*)' > docs/cli\.md", (repository / "Makefile").read_text())
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert (repository / "docs" / "cli.md").read_text(encoding="utf-8") == said


def test_links_between_the_texts_lead_somewhere(repository: Path) -> None:
    dead = []
    for text in (*repository.glob("*.md"), *repository.glob("docs/*.md")):
        for link in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", text.read_text(encoding="utf-8")):
            if not (text.parent / link).exists():
                dead.append(f"{text.name}: {link}")
    assert dead == []


def test_decisions_have_a_title_and_a_date(repository: Path) -> None:
    text = (repository / "docs" / "decisions.md").read_text(encoding="utf-8")
    undated = [
        title for title, first in re.findall(r"^### (.+)\n(.*)", text, re.MULTILINE) if not re.match(DATE, first)
    ]
    assert undated == []
    assert not re.search(r"^- \*\*", text, re.MULTILINE)


def test_the_guide_s_recipe_is_one(repository: Path) -> None:
    [recipe] = blocks(repository / "docs" / "guide.md", "yaml")
    config = build(RunConfig, yaml.load(recipe, yaml.BaseLoader))
    assert config.methods["vision"].trials
    assert config.methods["vision"].mask is not None


def test_the_guide_s_row_is_one(repository: Path, tmp_path: Path) -> None:
    [line] = blocks(repository / "docs" / "guide.md", "json")
    row = json.loads(line)
    picture = tmp_path / row["image"]
    picture.parent.mkdir()
    from PIL import Image

    Image.new("RGB", (8, 8)).save(picture)
    (tmp_path / rows.FILE).write_text(line, encoding="utf-8")
    [(_, example)] = rows.read(tmp_path)
    assert (example.entity, example.answer) == (row["entity"], row["answer"])


def test_the_guide_s_method_is_one(repository: Path) -> None:
    [code] = blocks(repository / "docs" / "guide.md", "python")
    namespace: dict = {}
    exec(code, namespace)
    method = namespace["CAPPED"]
    assert method.options == {"cap": 2.0, "retain_weight": 1.0}
    method.bind({"cap": 3})


@pytest.mark.slow
@pytest.mark.core
def test_the_readme_s_python_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = blocks(repository / "README.md", "python")
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    exec(code, namespace)
    assert namespace["made"].moved.forget_outside == 0
    assert (tmp_path / "unlearned" / "model.safetensors").is_file()
    assert (tmp_path / "answers" / "scores.json").is_file()
