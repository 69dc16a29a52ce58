"""Source of the site: the Markdown of the repository with its links turned to pages, and a page for each module."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
from importlib import import_module
from pathlib import Path

from tools.site.demo import write_page
from tools.site.docstrings import restructured

NAVIGATION = {
    "Use": ("guide", "report", "data", "methods", "scoring", "families", "Commands <cli>"),
    "Evidence": ("results", "benchmarks", "demo"),
    "Code": ("api/mmunlearner", "examples", "contributing", "decisions", "changelog"),
}
"""Heading of the side bar -> its pages."""
EXAMPLES = ("flat_loop.py", "unlearn_and_look.ipynb", "your_method.py", "your_benchmark.py")
PICTURES = {".svg", ".png"}
LANGUAGES = {".py": "python", ".cff": "yaml", ".yaml": "yaml", ".txt": "text"}
DEMO = """# Report of the demo

Every run ends with such a page: one file that opens without a network. It was made of a finished run of `make demo`
by the code of this version. <a href="demo/report.html">Open it on its own</a>.

<iframe class="report" src="demo/report.html" title="Report of the demo"></iframe>
"""


def stage(repository: Path, out: Path) -> Path:
    """Write the source of the site to a new folder, and return it."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    pages = page_names(repository)
    linked: set[Path] = set()
    for file, name in pages.items():
        text = turn_links(file.read_text(encoding="utf-8"), file, repository, linked)
        (out / f"{name}.md").write_text(text, encoding="utf-8")
    with (out / "index.md").open("a", encoding="utf-8") as index:
        for caption, names in NAVIGATION.items():
            index.write(f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(names) + "\n```\n")
    examples = [repository / "examples" / name for name in EXAMPLES]
    for file in sorted(linked | set(examples)):
        show_file(file, repository, out)
    entries = "\n".join(source_page(file, repository) for file in examples)
    (out / "examples.md").write_text(f"# Examples\n\n```{{toctree}}\n:maxdepth: 1\n\n{entries}\n```\n")
    (out / "demo.md").write_text(DEMO)
    write_page(repository / "docs" / "demo", out / "run", out / "extra" / "demo" / "report.html")
    stage_reference(repository, out)
    return out


def page_names(repository: Path) -> dict[Path, str]:
    """Return file -> name of its page, of all Markdown that becomes a page."""
    top = {"README.md": "index", "CONTRIBUTING.md": "contributing", "CHANGELOG.md": "changelog"}
    return {repository / file: name for file, name in top.items()} | {
        file: file.stem for file in sorted((repository / "docs").glob("*.md"))
    }


def turn_links(text: str, file: Path, repository: Path, linked: set[Path]) -> str:
    """Return the Markdown of `file` with links to files of the repository turned to pages of the site.

    Files that get a page of their own for this are added to `linked`.

    Raises:
        FileNotFoundError: there is no such file.
    """
    pages = page_names(repository)

    def turned(match: re.Match[str]) -> str:
        path, anchor = match["path"], match["anchor"] or ""
        target = Path(os.path.normpath(file.parent / path))
        if not target.is_file():
            raise FileNotFoundError(f"{file.relative_to(repository)}: no such file to link to: {path}")
        if target in pages:
            return f"]({pages[target]}.md{anchor})"
        if target.is_relative_to(repository / "src" / "mmunlearner"):
            return f"](api/{module_name(target, repository / 'src')}.rst)"
        linked.add(target)
        return f"]({source_page(target, repository)}{'' if target.suffix in PICTURES else '.md'})"

    # Code is not touched: a link within it is an example.
    parts = re.split(r"(^```.*?^```|`[^`\n]*`)", text, flags=re.MULTILINE | re.DOTALL)
    pattern = re.compile(r"\]\((?!https?://|mailto:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)]*)?\)")
    return "".join(part if index % 2 else pattern.sub(turned, part) for index, part in enumerate(parts))


def source_page(file: Path, repository: Path) -> str:
    """Return the name of the page that shows a file of the repository."""
    return f"files/{file.relative_to(repository).as_posix()}"


def show_file(file: Path, repository: Path, out: Path) -> None:
    """Write a page that shows a file of the repository; of a picture, a copy."""
    page = out / source_page(file, repository)
    page.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix in PICTURES:
        shutil.copyfile(file, page)
    elif file.suffix == ".ipynb":
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        texts = ("".join(cell["source"]) for cell in cells)
        code = (cell["cell_type"] == "code" for cell in cells)
        blocks = [f"```python\n{text}\n```" if is_code else text for text, is_code in zip(texts, code, strict=True)]
        page.with_name(f"{file.name}.md").write_text("---\norphan: true\n---\n\n" + "\n\n".join(blocks) + "\n")
    else:
        title, text = file.relative_to(repository).as_posix(), file.read_text(encoding="utf-8")
        # More backticks than any fence within the file.
        block = f"`````{LANGUAGES.get(file.suffix, 'text')}\n{text}`````\n"
        page.with_name(f"{file.name}.md").write_text(
            f"---\norphan: true\n---\n\n# `{title}`\n\n{block}", encoding="utf-8"
        )


def module_name(file: Path, root: Path) -> str:
    """Return the dotted name of a module's file."""
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def stage_reference(repository: Path, out: Path) -> None:
    """Write a page for each module of the package; that of a room lists its public names and its modules."""
    (out / "api").mkdir()
    root = repository / "src"
    files = {module_name(file, root): file for file in sorted(root.rglob("*.py")) if file.stem != "__main__"}
    for name, file in files.items():
        show_file(file, repository, out)
        heading = "Python reference" if name == "mmunlearner" else name.removeprefix("mmunlearner.")
        source = f"Source: :doc:`{file.relative_to(repository).as_posix()} </{source_page(file, repository)}>`"
        lines = [heading, "=" * len(heading), "", f".. automodule:: {name}"]
        if inner := [module for module in files if module.rpartition(".")[0] == name]:
            lines += [*public_names(name), "", ".. toctree::", "   :maxdepth: 1", "", *(f"   {m}" for m in inner)]
        else:
            lines.append("   :members:")
        (out / "api" / f"{name}.rst").write_text("\n".join([*lines, "", source]) + "\n", encoding="utf-8")


def public_names(package: str) -> list[str]:
    """Return the lines of a list of a package's public names: where each is defined, and what it is."""
    module = import_module(package)
    lines = []
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        home = getattr(value, "__module__", "")
        if home.startswith("mmunlearner"):
            summary = next(restructured((inspect.getdoc(value) or "").splitlines()), "")
            lines.append(f"- :py:obj:`{name} <{home}.{name}>`: {summary}")
        else:  # a table of entries, which has no docstring of its own
            lines.append(f"- ``{name}``")
    return ["", "Public names:", "", *lines, ""] if lines else []
