"""The notebook runs from its first cell to its last, in one namespace, as a kernel would run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest


@pytest.mark.slow
def test_notebook(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads((repository / "examples" / "unlearn_and_look.ipynb").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec("".join(cell["source"]), namespace)
    before, after = namespace["before"], namespace["after"]
    assert after["forget_vqa"] < before["forget_vqa"] - 0.4
    assert after["forget_qa"] == before["forget_qa"]
    assert after["retain_vqa"] > 0.8
    assert len(plt.get_fignums()) == 3
    plt.close("all")
