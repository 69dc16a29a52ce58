from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from support import versions

from mmunlearner import __version__
from mmunlearner.cli import app
from mmunlearner.cli.catalogue import everything
from mmunlearner.core.recipes import load_config, shipped_recipes

API = {
    "batches:Encoder": "loaded",
    "core.recipes:load_config": "recipe overrides",
    "data:load": "config seed",
    "evaluate:evaluate_model": "loaded evaluation out_dir config progress",
    "evaluate:rescore": "out_dir scoring",
    "models:load": "source dtype device device_map quantize compute_dtype attention trust_remote_code",
    "models:save": "loaded directory extra",
    "run.run:run": "config restart",
    "report:write": "run_dir",
    "saliency:compute": "encoder splits config seed data_hashes progress store",
    "saliency:load": "path",
    "unlearn:unlearn": "loaded splits config base work more",
}
"""The Python API: a dozen names and their arguments. A change here is a change for every user."""

COMMANDS = {
    "ask", "compare", "completion", "demo", "doctor", "evaluate", "finetune", "init", "list",
    "mask", "people", "report", "run", "schema", "sweep", "unlearn",
}  # fmt: skip
OF_DEVELOPERS = {"test", "docs", "lint", "dev"}
DISTRIBUTIONS = {"PIL": "pillow", "pydantic_core": "pydantic", "yaml": "pyyaml", "rouge_score": "rouge-score"}


@pytest.fixture(scope="module")
def project(repository: Path) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize(("name", "arguments"), API.items())
def test_the_api_is_what_users_call(name: str, arguments: str) -> None:
    module, _, attribute = name.partition(":")
    found = getattr(import_module(f"mmunlearner.{module}"), attribute)
    assert list(inspect.signature(found).parameters) == arguments.split()


def test_the_commands_are_those_of_the_readme(repository: Path) -> None:
    commands = {name for name in app if not name.startswith("-")}
    assert commands == COMMANDS
    used = re.findall(
        r"^(?:\$ )?mmunlearner (\w+)", (repository / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert used
    assert set(used) <= commands


def test_the_make_targets_of_the_texts_exist(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    targets = {name for names in re.findall(r"^([\w -]+):", makefile, re.MULTILINE) for name in names.split()}
    texts = [*repository.glob("*.md"), *repository.glob("docs/*.md"), repository / ".ci" / "run"]
    called = {
        target for text in texts for target in re.findall(r"\bmake ([\w-]+)(?=[`\n])", text.read_text(encoding="utf-8"))
    }
    assert {"demo", "test", "test-oldest", "test-newest"} <= called <= targets


def test_what_is_imported_is_declared_and_the_other_way_round(repository: Path, project: dict) -> None:
    imported = set()
    for file in (repository / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"mmunlearner"}
    distributions = {DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in foreign}
    declared = {Requirement(text).name.replace("_", "-") for text in project["dependencies"]}
    # An extra serves one command, which says what to install where it is missing.
    extras = {name: texts for name, texts in project["optional-dependencies"].items() if name not in OF_DEVELOPERS}
    optional = {Requirement(text).name.replace("_", "-") for texts in extras.values() for text in texts}
    assert declared <= distributions <= declared | optional


def test_the_tested_versions_lie_in_the_declared_ranges(repository: Path, project: dict) -> None:
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {r.name.lower().replace("_", "-"): r for r in (Requirement(line) for line in lines if line[:1] != "#")}
    for text in (*project["dependencies"], *project["optional-dependencies"]["test"]):
        wanted = Requirement(text)
        [pin] = pinned[wanted.name.lower().replace("_", "-")].specifier
        assert wanted.specifier.contains(Version(pin.version)), text


def test_the_oldest_releases_of_all_ranges_can_be_pinned() -> None:
    """What `make test-oldest` installs: one release of every range, the lowest that it admits."""
    requirements = versions.declared()
    for text, pin in zip(requirements, versions.oldest(requirements), strict=True):
        wanted, lowest = Requirement(text), Requirement(pin)
        [release] = lowest.specifier
        assert (wanted.name, release.operator) == (lowest.name, "==")
        assert f">={release.version}" in str(wanted.specifier).split(",")
        assert wanted.specifier.contains(release.version)


@pytest.mark.parametrize("vague", ["thing", "thing>=4", "thing>=4.1", "thing>=4.*", "thing==4.1.0", "thing<5"])
def test_a_bound_that_names_no_release_in_full_is_refused(vague: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(vague)}: write the oldest release in full"):
        versions.oldest(["numpy>=2.0.0", vague])


def test_the_newest_releases_are_free_but_for_torch() -> None:
    """Its newest may be at hand as gigabytes of CUDA packages alone."""
    [pin] = versions.newest()
    assert Requirement(pin).name == "torch"


def test_versions_agree(repository: Path) -> None:
    assert re.search(rf"^version: {re.escape(__version__)}$", (repository / "CITATION.cff").read_text(), re.MULTILINE)
    assert __version__ in (repository / "CHANGELOG.md").read_text(encoding="utf-8")


def test_demo_and_flags_are_shipped() -> None:
    assert {"demo", "flags"} <= set(shipped_recipes())


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_names_methods_that_exist(name: str) -> None:
    from mmunlearner.methods import METHODS, resolve

    config = load_config(name)
    assert config.methods
    for method in config.methods.values():
        resolve(method.method, METHODS).bind(method.options)


def test_the_catalogue_names_everything() -> None:
    found = everything()
    assert all(entry.description for entries in found.values() for entry in entries)
    assert {"mmunlearner", "ga", "ga_diff", "kl_min", "npo"} <= {entry.name for entry in next(iter(found.values()))}


@pytest.mark.slow
def test_the_wheel_works_without_the_checkout(repository: Path, tmp_path: Path) -> None:
    """Recipes, templates and models travel with it."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(tmp_path), str(repository)], check=True)
    [wheel] = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel)], check=True)
    shown = subprocess.run(
        [sys.executable, "-P", "-m", "mmunlearner", "list"],
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"demo", "flags"} <= set(shown.stdout.split())
    assets = tmp_path / "site" / "mmunlearner" / "models" / "assets"
    for name in ("vanilla", "oracle"):
        weights = next((assets / name).glob("*.safetensors"))
        assert weights.stat().st_size < 10 * 2**20
    assert list((tmp_path / "site" / "mmunlearner" / "report" / "templates").iterdir())
