"""Prints the constraints at one end of the declared ranges: `python tests/support/versions.py oldest` or `newest`.

Reads with the standard library alone, since `make` asks it before there is an environment.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LOWEST = re.compile(r"([\w-]+)(?:\[[\w,]+\])?>=(\d+\.\d+\.\d+)(?:,<[\d.]+)?")


def declared() -> list[str]:
    """What the package and its tests require, as pyproject.toml says it."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["test"]]


def oldest(requirements: Iterable[str]) -> list[str]:
    """`name>=release` -> `name==release`.

    Raises:
        ValueError: a requirement has no lower bound, or one that names no release in full (`>=4`).
    """
    matches = [(text, LOWEST.fullmatch(text)) for text in requirements]
    if vague := [text for text, match in matches if match is None]:
        raise ValueError(f"{', '.join(vague)}: write the oldest release in full, as in name>=4.0.0")
    return [f"{match[1]}=={match[2]}" for _, match in matches if match]


def newest() -> list[str]:
    """torch as in constraints.txt and nothing else: a newer one may be at hand as gigabytes of CUDA packages alone."""
    pinned = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in pinned if line.startswith("torch==")]


if __name__ == "__main__":
    print("\n".join({"oldest": lambda: oldest(declared()), "newest": newest}[sys.argv[1]]()))
