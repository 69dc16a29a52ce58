"""Documentation against code: commands parse, snippets run, files and names exist."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from pkgutil import resolve_name

import pytest
import yaml
from cyclopts import App
from support.pages import blocks as blocks_of
from support.pages import pages, spans

from mmunlearner.cli.commands import app
from mmunlearner.config import MaskConfig, MethodConfig, RunConfig
from mmunlearner.core.recipes import build
from mmunlearner.data.benchmarks import rows

DATE = r"\d{4}-\d\d-\d\d\. "


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced code of one language."""
    return [block.code for block in blocks_of(page) if block.language == language]


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


def spoken_options(repository: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield (page, command or nothing, option) of each option that prose or code names: `mmunlearner run X --dry-run`.

    The changelog is left out, and of the decisions what they say of other days: both speak of names that are gone.
    """
    for page in pages(repository):
        if page.name == "CHANGELOG.md":
            continue
        texts = [*spans(page), *(line for block in blocks(page, "sh") for line in block.splitlines())]
        for text in texts:
            program = re.match(r"(?:mmunlearner (?P<command>[a-z]+)|(?P<other>\w[^-]*))?", text)
            if program and program["other"]:  # of another program, such as pip
                continue
            for option in re.findall(r"(?<![\w-])--([a-z]\w*(?:[.-]\w+)*)", text):
                yield page, (program and program["command"]) or "", option


def has_option(command: str, option: str) -> bool:
    """Whether a command takes an option; one of a method has `methods.NAME.` in front."""
    own = re.match(r"methods\.\w+\.(?:(mask)\.)?([\w.]+)$", option)
    if own and command in ("run", "sweep", "demo", ""):
        if own[1]:
            return own[2] in {field.name for field in fields(MaskConfig)}
        return own[2].split(".")[0] in {field.name for field in fields(MethodConfig)} and (
            not own[2].startswith("train.") or has_option("run", own[2])
        )
    if option in ("help", "version"):  # of every command
        return True
    inner = [app[command][name] for name in app[command] if not name.startswith("-")]  # `people build` of `people`

    def takes(command: App) -> bool:
        try:
            command.assemble_argument_collection().match(f"--{option}")
        except ValueError:
            return False
        return True

    return any(takes(each) for each in inner or [app[command]])


def test_spoken_options(repository: Path) -> None:
    """Each command and option that a page names exists; an option without a command is one of some command."""
    commands = [name for name in app if not name.startswith("-")]
    wrong, count = [], 0
    for page, command, option in spoken_options(repository):
        count += 1
        if command and command not in commands:
            wrong.append(f"{page.name}: no command {command}")
        elif not any(has_option(name, option) for name in ([command] if command else commands)):
            wrong.append(f"{page.name}: mmunlearner {command} has no option --{option}")
    assert wrong == []
    assert count > 40


def test_spoken_commands(repository: Path) -> None:
    commands = {name for name in app if not name.startswith("-")}
    named = {
        (page.name, name)
        for page in pages(repository)
        for text in spans(page)
        for name in re.findall(r"^mmunlearner ([a-z]+)", text)
        if page.name != "CHANGELOG.md"
    }
    assert [pair for pair in named if pair[1] not in commands] == []
    assert len(named) > 10


@pytest.mark.parametrize(
    ("command", "option", "there"),
    [
        ("run", "methods.vision.train.steps", True),
        ("run", "methods.vision.train.stepz", False),
        ("run", "methods.vision.mask.unit", True),
        ("run", "methods.vision.mask.units", False),
        ("run", "dry-run", True),
        ("mask", "dry-run", False),
        ("unlearn", "options.beta", True),
        ("evaluate", "judge.endpoints", False),
    ],
)
def test_options_that_are_there(command: str, option: str, there: bool) -> None:
    assert has_option(command, option) == there


def test_spoken_settings(repository: Path) -> None:
    """Options of recipes in prose, such as `train.steps: 5`, exist."""
    sections = "data|model|train|finetune|evaluate|judge|mask"
    wrong, count = [], 0
    for page in pages(repository):
        for text in spans(page) if page.name not in ("CHANGELOG.md", "decisions.md") else ():
            match = re.fullmatch(rf"(?:({sections})\.(\w+(?:\.\w+)*))(?:[: ].*)?", text)
            if match and not re.search(r"\.(json|jsonl|py|safetensors|html|md|yaml|svg|parquet)\b", text):
                section, name = match.groups()
                known = {
                    "mask": lambda name: name in {field.name for field in fields(MaskConfig)},
                    "judge": lambda name: has_option("evaluate", f"judge.{name}"),
                }.get(section, lambda name, section=section: has_option("run", f"{section}.{name}"))
                try:
                    resolve_name(f"mmunlearner.{section}.{name}")
                except (ImportError, AttributeError):
                    count += 1
                    wrong += [] if known(name) else [f"{page.name}: {text}"]
    assert wrong == []
    assert count > 20


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
        *re.findall(r"^([A-Z_]+)(?:: [^=\n]+)? = ", source, re.MULTILINE),
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
    recipes = blocks(repository / "docs" / "guide.md", "yaml")
    config, *_, staged = [build(RunConfig, yaml.load(recipe, yaml.BaseLoader)) for recipe in recipes]
    assert len(staged.finetune.stages) == 2
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
