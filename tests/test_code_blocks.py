"""Code blocks of the documentation are run: commands at a small size, everything else as it stands."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jinja2.sandbox
import pytest
from PIL import Image
from support.pages import Block, blocks, pages
from support.tiny import picture

from mmunlearner import cli, data
from mmunlearner.config import DataConfig
from mmunlearner.core.recipes import load_config

REPOSITORY = Path(__file__).resolve().parents[1]
BLOCKS = [block for page in pages(REPOSITORY) for block in blocks(page)]
NOT_RUN = 5
"""Blocks that are marked as not run; whoever marks one more says so here too."""
SMALL = {
    "run": ["--dry-run"],
    "sweep": ["--dry-run"],
    "mask": ["--limit", "2", "--data.root", "people"],
    "unlearn": ["--train.steps", "1", "--train.batch_size", "2", "--data.root", "people"],
    "evaluate": ["--limit", "2", "--data.root", "people"],
}  # fmt: skip
"""Command -> options that make it small."""
PEOPLE = ("Ada Lovelace", "Bo Diddley", "Cy Young", "Di Sica", "Eve Arden", "Fay Wray", "Gus Grissom", "Hal Roach")


def of(language: str) -> pytest.MarkDecorator:
    chosen = [block for block in BLOCKS if block.language == language and not block.reason]
    assert chosen
    return pytest.mark.parametrize("block", chosen, ids=str)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a reader who has what the pages speak of: a picture, a recipe, pictures of people with facts."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(REPOSITORY / "recipes", tmp_path / "recipes")
    shutil.copyfile(REPOSITORY / "recipes" / "demo.yaml", tmp_path / "RECIPE")
    picture(0).open().save(tmp_path / "face.png")
    lines = ["name;occupation;city"]
    for number, name in enumerate(PEOPLE):
        lines.append(f"{name};{('mathematician', 'singer', 'pilot')[number % 3]};{('London', 'Turin')[number % 2]}")
        folder = tmp_path / "my-people" / "photos" / name
        folder.mkdir(parents=True)
        for view in range(2):
            Image.new("RGB", (32, 32), (25 * number, 90 * view, 40)).save(folder / f"{view}.png")
    (tmp_path / "my-people" / "facts.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    # The page itself is tried in a browser, by tests/web.
    monkeypatch.setattr("mmunlearner.web.page.serve", lambda run, port: None)
    return tmp_path


def test_marks() -> None:
    """A block is run, marked with the reason why not, a picture of folders, or written by `make docs`."""
    known = {"sh", "python", "yaml", "json", "jinja", ""}
    assert [
        str(b) for b in BLOCKS if b.language not in known and (b.page.name, b.language) != ("cli.md", "console")
    ] == []
    assert len([block for block in BLOCKS if block.reason]) == NOT_RUN
    fences = sum(len(re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)) for page in pages(REPOSITORY))
    assert fences == 2 * len(BLOCKS)  # none was passed over


@pytest.mark.slow
@of("sh")
def test_commands(block: Block, desk: Path) -> None:
    lines = block.code.replace("\\\n", "").splitlines()
    assert any(shlex.split(line, comments=True) for line in lines)
    for line in lines:
        words = [word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word)]
        match words:
            case []:
                pass
            case ["make", *targets]:
                subprocess.run(["make", "-n", *targets], cwd=REPOSITORY, check=True, capture_output=True)
            case [".venv/bin/python", "-m", "pytest", *arguments]:  # which tests it would run
                collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", *arguments]
                subprocess.run(collect, cwd=REPOSITORY, check=True, capture_output=True)
            case ["mmunlearner", "demo"]:
                call(["run", "demo", "--dry-run"])
            case ["mmunlearner", command, *arguments]:
                call([command, *arguments, *(o for o in SMALL.get(command, ()) if o not in arguments)])
            case _:
                raise AssertionError(f"{block}: {line}: cannot be run here; mark the block: <!-- not run: REASON -->")


def call(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 0, arguments


@of("yaml")
def test_recipes(block: Block, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(block.code, encoding="utf-8")
    assert load_config(recipe).methods


@of("python")
def test_python(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if block.page.name == "README.md":
        pytest.skip("test_docs.py runs it, and looks at what it made")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(block.code, names)
    assert names.keys() > {"__builtins__"}


@of("json")
def test_rows(block: Block, tmp_path: Path) -> None:
    """Each line is a row of the layout that its columns belong to."""
    for number, line in enumerate(block.code.splitlines()):
        row, folder = json.loads(line), tmp_path / str(number)
        images = row.get("images", row.get("image", []))
        for name in [images] if isinstance(images, str) else images:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(folder / name)
        folder.mkdir(exist_ok=True)
        if "question" in row:
            from mmunlearner.data.benchmarks import rows

            (folder / rows.FILE).write_text(line, encoding="utf-8")
            [(_, example)] = rows.read(folder)
            assert (example.question, example.answer) == (row["question"], row["answer"])
        else:
            other = json.loads(line.replace("Ada", "Eve"))
            for name, content in (("forget", row), ("retain", other)):
                (folder / f"{name}.json").write_text(json.dumps([content]), encoding="utf-8")
            layout = "conversations" if "conversations" in row else "chat"
            splits = data.load(DataConfig(layout, root=str(folder)))
            assert [example.answer.split()[0] for example in splits.forget] == ["Ada"]


@of("jinja")
def test_chat_templates(block: Block) -> None:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who is it?"}]}
    template = environment.from_string(block.code)
    text = template.render(messages=[turn], add_generation_prompt=True, bos_token="<s>", eos_token="</s>")
    assert "<image>" in text
    assert "Who is it?" in text
