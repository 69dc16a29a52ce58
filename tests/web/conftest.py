"""A run of the embedded benchmark whose one method has the retain oracle's weights: it forgot perfectly."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mmunlearner.config import DataConfig, MethodConfig, ModelConfig, RunConfig
from mmunlearner.core.files import write_json, write_text
from mmunlearner.core.recipes import to_yaml
from mmunlearner.models import resolve_source
from mmunlearner.run.run_dir import RunDir, find_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    path: Path = tmp_path_factory.mktemp("runs") / "small"
    config = RunConfig(
        name="small", out=str(path.parent), data=DataConfig("people"),
        model=ModelConfig(vanilla="people:vanilla", oracle="people:oracle"),
        methods={"forgetful": MethodConfig("ga", title="Perfect"), "never_made": MethodConfig("npo")},
    )  # fmt: skip
    write_text(path / "config.yaml", to_yaml(config))
    shutil.copytree(resolve_source("people:oracle"), path / "models" / "forgetful")
    write_json(path / "models" / "forgetful" / "train.json", {})
    run = find_run(path)
    assert run.splits.forget  # makes the data
    return run
