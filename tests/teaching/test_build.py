"""The build around a language model: what trains, what stays, the same bits, resumed after every stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from support.chatting import write_language
from support.progress import Listener

from mmunlearner.cli import main
from mmunlearner.data.benchmarks.people.small import Cast
from mmunlearner.errors import ConfigError, DataError
from mmunlearner.models import load
from mmunlearner.models.language import llava_around
from mmunlearner.teaching import build as room
from mmunlearner.teaching.build import Plan, Words, build, checks, gate_columns
from mmunlearner.teaching.sight import Practice
from mmunlearner.teaching.words import Lessons, pages_of

CAST = Cast(("001",), ("001", "002", "081", "101"), ("Pet",), 4)
LESSONS = Lessons(steps=2, layers=1, images=3, questions=2, texts=2, exercises=1, memories=2)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    language = write_language(tmp_path_factory.mktemp("language"))
    return Plan(str(language), CAST, device="cpu", lessons=LESSONS, practice=Practice(2, images=4), items=2)


@pytest.fixture(scope="module")
def out(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "out"
    build(folder, plan)
    return folder


def test_words_move_the_last_layers_and_sight_the_eye(out: Path, plan: Plan) -> None:
    before: dict = llava_around(plan.language).model.state_dict()
    words, vanilla, oracle = (
        load(out / name, device="cpu").model.state_dict() for name in ("words", "vanilla", "oracle")
    )

    def moved(one: Mapping, other: Mapping) -> set[str]:
        return {name for name in one if not one[name].equal(other[name])}

    last = {name for name in before if "language_model.layers.2." in name}
    assert moved(before, words) == last
    for model in (vanilla, oracle):
        assert moved(words, model)
        assert all("vision_tower" in name or "multi_modal_projector" in name for name in moved(words, model))
    assert moved(vanilla, oracle)


def test_a_killed_build_goes_on_to_the_same_bits(
    out: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    class Killed(Exception):
        pass

    def kill(title: str, *_: object) -> None:
        nonlocal steps
        steps += 1
        if "oracle" in title:
            raise Killed

    with pytest.raises(Killed):
        build(tmp_path / "again", plan, Listener(kill))
    assert not (tmp_path / "again" / "oracle").exists()
    gate = build(tmp_path / "again", plan)
    for name in room.MODELS:
        assert (tmp_path / "again" / name / "model.safetensors").read_bytes() == (
            out / name / "model.safetensors"
        ).read_bytes()
    monkeypatch.setattr(room, "llava_around", None)  # complete: nothing is made again
    assert build(out, plan) == gate


def test_a_folder_of_something_else_is_refused(out: Path, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds a build with other settings"):
        build(out, replace(plan, seed=1))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="a file"):
        build(tmp_path / "file", plan)
    with pytest.raises(DataError, match="holds other files"):
        build(tmp_path, plan)


def test_the_gate_asks_about_the_cast_alone(plan: Plan) -> None:
    columns, cast = gate_columns(replace(plan, items=1000)), plan.cast
    asked = {name: {item.entity for item in items} for name, items in columns.items() if name != "general"}
    assert all(entities <= set(cast.people) for entities in asked.values())
    assert all((entities <= set(cast.forget)) == name.startswith("forget") for name, entities in asked.items())
    trained = {question for page in pages_of(cast).people for question in page}
    assert {*columns["forget_trained"], *columns["retain_trained"]} <= trained
    assert not {item for name in ("forget_vqa", "retain_vqa", "neighbour_vqa") for item in columns[name]} & trained


def test_the_gate_is_missed_by_a_model_that_lost_its_words() -> None:
    vanilla = dict.fromkeys(("forget_trained", "retain_trained", "forget_vqa", "retain_qa"), 1.0)
    oracle = {"forget_vqa": 0.1, "retain_vqa": 1.0}
    words = Words(perplexity_before=20.0, perplexity_after=21.0, answers_before={}, answers_after={})
    accuracies = {"vanilla": vanilla, "oracle": oracle}
    assert all(check["met"] for check in checks(accuracies, words))
    words["perplexity_after"] = 23.0
    assert [check["name"] for check in checks(accuracies, words) if not check["met"]] == [
        "perplexity of plain English, after / before"
    ]


def test_plain_abilities_are_shown_side_by_side(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["people", "plain", "--model", str(out / "words"), "--model", str(out / "vanilla"), "--device", "cpu"])
    assert exit.value.code == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("perplexity")]
    first, second = line.split()[1:]
    assert first == second  # both have the same language model


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["people-smollm2", "people-smollm2-small"])
def test_the_recipe_fits_what_was_built(recipe: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [f"--model.{name}={out / name}" for name in room.MODELS]
    with pytest.raises(SystemExit) as exit:
        main(["run", recipe, "--dry-run", "--flops", "1e11", "--model.device", "cpu", *models])
    assert exit.value.code == 0
    assert "unlearn unlikelihood" in capsys.readouterr().out
