from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.miniature import recipe

from mmunlearner.run.plan import needed, plan
from mmunlearner.run.run_dir import RunDir


def test_every_step_comes_after_those_that_it_needs(tmp_path: Path) -> None:
    steps = plan(RunDir(tmp_path, recipe(tmp_path)))
    before: set[str] = set()
    for name, step in steps.items():
        assert set(step.needs) <= before, name
        before.add(name)
    assert not any(step.done() for step in steps.values())


def test_a_target_includes_the_steps_that_it_needs(tmp_path: Path) -> None:
    config = recipe(tmp_path, trials=0)
    names = set(needed(plan(RunDir(tmp_path, config)), "unlearn vision"))
    assert names == {
        "finetune vanilla", "measure retain-image-512", "measure forget-image-512", "measure text-image-512", "masks",
        "unlearn vision",
    }  # fmt: skip
    shipped = replace(config, model=replace(config.model, vanilla="people:vanilla", base=""))
    assert set(needed(plan(RunDir(tmp_path, shipped)), "unlearn npo")) == {"unlearn npo"}


def test_trials_need_the_references_that_judge_them(tmp_path: Path) -> None:
    names = needed(plan(RunDir(tmp_path, recipe(tmp_path, trials=2))), "unlearn npo")
    assert {"evaluate vanilla", "evaluate oracle"} <= set(names)


def test_work_counts_questions_and_their_gradients(tmp_path: Path) -> None:
    """40 fine-tuning steps of 8 images with 3 questions; npo has one term, four steps of 3 images with 2 questions."""
    steps = plan(RunDir(tmp_path, recipe(tmp_path, trials=2)))
    assert steps["finetune vanilla"].work() == 3 * 40 * 8 * 3
    assert steps["unlearn npo"].work() == 3 * 2 * 4 * 3 * 2
    assert steps["unlearn vision"].work() == 3 * 2 * 4 * (1 + 2) * 3 * 2
