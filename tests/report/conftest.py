"""A finished run to report on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.fabricated import make_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run, shared by tests that only read it."""
    return make_run(tmp_path_factory.mktemp("finished") / "demo")


@pytest.fixture
def results_json(finished: Path) -> dict[str, Any]:
    """The content of its results.json, to be changed at will."""
    return json.loads((finished / "results.json").read_text())
