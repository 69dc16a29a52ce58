from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.layouts import write_conversations

from mmunlearner.config import DataConfig, MaskConfig, MethodConfig, RunConfig
from mmunlearner.core.recipes import load_config
from mmunlearner.data import Example
from mmunlearner.errors import ConfigError, DataError
from mmunlearner.run.run_dir import RunDir, find_run, mask_name, open_run, record_config


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return RunConfig(name="it", out=str(tmp_path), data=DataConfig(root="here"))


def begin(config: RunConfig) -> RunDir:
    """Open a run and record its configuration."""
    with open_run(config) as run:
        record_config(run)
    return run


def test_a_run_is_found_again_with_its_configuration(config: RunConfig) -> None:
    opened = begin(config)
    assert begin(config) == opened == find_run(opened.path)


def test_a_wrong_recipe_can_be_corrected_under_its_name(config: RunConfig) -> None:
    folder = begin(config)
    (folder.path / "data.json").write_text("{}")
    (folder.path / "data").mkdir()
    (folder.path / "data" / "faces.parquet").write_text("somebody's")
    right = replace(config, data=DataConfig(root="there"))
    assert begin(right).config == right == load_config(folder.path / "config.yaml")
    assert not (folder.path / "data.json").exists()
    assert (folder.path / "data" / "faces.parquet").exists()


@pytest.mark.parametrize("begun", ["evaluation", "models", "masks", "work", "logs"])
def test_a_run_that_has_begun_is_not_overwritten(config: RunConfig, begun: str) -> None:
    folder = begin(config)
    (folder.path / begun).mkdir()
    with pytest.raises(ConfigError, match=r"holds a run of another configuration \(seed: 0 there, 1 here\)"):
        begin(replace(config, seed=1))
    assert load_config(folder.path / "config.yaml") == config
    assert begin(replace(config, jobs=3)).path == folder.path


def test_a_folder_of_something_else_is_refused(config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="is not empty and holds no run"):
        begin(config)
    with pytest.raises(ConfigError, match="holds no run"):
        find_run(tmp_path / "it")
    assert (tmp_path / "it" / "thesis.tex").read_text() == "years of work"


def test_only_a_visual_run_needs_images(config: RunConfig, tmp_path: Path) -> None:
    texts = {
        name: [Example(f"{name}/{k}", f"{name} {k}", "Who?", "x") for k in range(2)] for name in ("forget", "retain")
    }
    visual = replace(
        config,
        data=DataConfig("conversations", str(write_conversations(tmp_path / "texts", texts))),
        methods={"ga": MethodConfig("ga")},
    )
    with pytest.raises(DataError, match="no question of the forget set has an image, but the goal is visual"):
        begin(visual).splits  # noqa: B018
    for changes in ({"goal": "full"}, {"methods": {}}):
        assert begin(replace(visual, **changes)).splits.forget


@pytest.mark.parametrize(
    ("mask", "name"),
    [
        (MaskConfig(), "vision-projector-density0.5"),
        (MaskConfig(beta=1.0), "vision-projector"),
        (MaskConfig(beta=1.0, random=True, limit=64), "vision-projector-random-limit64"),
        (MaskConfig(("language",), beta=0.5, density=0.1, unit="batch", batch=8), "language-beta0.5-density0.1-batch8"),
        (MaskConfig(beta=1.0, batch=8), "vision-projector"),
        (MaskConfig(beta=1.00000001), "vision-projector-beta1-c1fdb18c"),
        (MaskConfig(density=0.1, per_layer=True), "vision-projector-density0.1-layers"),
    ],
)
def test_a_mask_is_named_by_its_options(mask: MaskConfig, name: str) -> None:
    assert mask_name(mask) == name


def test_masks_that_differ_in_a_forgotten_option_do_not_share_a_file() -> None:
    @dataclass(frozen=True)
    class Later(MaskConfig):
        forgotten: int = 0

    assert mask_name(Later(forgotten=1)) != mask_name(Later(forgotten=2))


def test_a_bound_of_a_column_that_the_data_do_not_have_is_refused(config: RunConfig) -> None:
    people = replace(config, data=DataConfig(forget_entities=()), bounds={"forget_vqa": 5, "neighbor_vqa": 3})
    with pytest.raises(ConfigError, match=r"^bounds.neighbor_vqa: .* did you mean neighbour_vqa\?$"):
        _ = begin(people).splits
