from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from support.tiny import VOCABULARY, llava

from mmunlearner import cli
from mmunlearner.cli import doctor
from mmunlearner.cli.doctor import Check, _assets, _disk, _package, examine, examine_model, healthy
from mmunlearner.models import sources
from mmunlearner.run.forecast import Speed


def by_name(checks: tuple[Check, ...]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_every_dependency_is_checked() -> None:
    checks = by_name(examine())
    declared = {Requirement(text) for text in metadata.requires("mmunlearner") or ()}
    assert {r.name for r in declared if not r.marker} <= set(checks)
    assert "pytest" not in checks
    assert checks["torch"].value == metadata.version("torch")
    assert {"python", "disk", "cores", "hub", "LoRA", "bfloat16", "people:vanilla", "people:oracle"} <= set(checks)


@pytest.mark.parametrize(
    ("requirement", "verdict", "found"),
    [("numpy>=1", "ok", metadata.version("numpy")), ("numpy<1", "wrong", metadata.version("numpy")),
     ("no-such-package>=2", "wrong", "missing")],
)  # fmt: skip
def test_a_package_is_compared_with_its_range(requirement: str, verdict: str, found: str) -> None:
    check = _package(Requirement(requirement))
    assert (check.verdict, check.value) == (verdict, found)
    assert check.remedy == ("" if verdict == "ok" else f'pip install "{requirement}"')


def test_a_note_is_healthy_and_an_error_is_not() -> None:
    assert healthy((Check("a", "", "ok"), Check("b", "", "note")))
    assert not healthy((Check("a", "", "ok"), Check("b", "", "wrong")))


def test_a_full_disk_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _disk(tmp_path).verdict == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    assert _disk(tmp_path).verdict == "wrong"


def test_half_a_model_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, content in (("vanilla", b"\x10\x00"), ("oracle", None)):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        if content is not None:
            (folder / "model.safetensors").write_bytes(content)
    monkeypatch.setattr(sources, "ASSETS", tmp_path)
    assert [(check.name, check.verdict) for check in _assets()] == [
        ("people:vanilla", "wrong"),
        ("people:oracle", "wrong"),
    ]


def test_torch_that_cannot_be_imported_is_reported_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Check("torch", "cannot be imported (libcudart.so.13: no such file)", "wrong", "install torch again")
    monkeypatch.setattr(doctor, "_import_trouble", lambda: broken)
    checks = examine()
    assert checks[-1] == broken
    assert "cores" not in by_name(checks)


@pytest.mark.parametrize(("verdict", "code"), [("ok", 0), ("note", 0), ("wrong", 1)])
def test_the_exit_code_is_the_verdict(
    verdict, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: (Check("thing", "1.0", verdict, "mend it"),))
    with pytest.raises(SystemExit) as caught:
        cli.main(["doctor"])
    assert caught.value.code == code
    output = capsys.readouterr().out
    assert all(word in output for word in ("thing", "1.0", "mend it"))


GIB = 2**30


def fit(folder: Path, monkeypatch: pytest.MonkeyPatch, available: int, **options: int) -> dict[str, Check]:
    monkeypatch.setattr(doctor, "_memory_here", lambda: (available, True))
    return by_name(examine_model(str(folder), **options))


def test_fitting_trainings_of_a_model_are_found_without_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llava(VOCABULARY).model.config.save_pretrained(tmp_path)
    plenty, little = (fit(tmp_path, monkeypatch, available) for available in (GIB, 2**20))
    assert list(plenty) == [
        "weights", "for a batch of", "mask of vision", "mask of language", "mask of all", "unlearning vision",
        "unlearning language", "unlearning all", "unlearning all, adapters of rank 16",
        "unlearning all, adapters of rank 16 on int8", "unlearning all, adapters of rank 16 on nf4",
    ]  # fmt: skip
    assert {check.verdict for check in plenty.values()} == {"ok"}
    assert plenty["for a batch of"].value.startswith("4 sequences of 1,024 tokens")
    assert {check.verdict for name, check in little.items() if name.startswith(("mask", "unlearning"))} == {"note"}
    assert "model.lora.rank 16" in little["unlearning all"].remedy


def test_more_tokens_need_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llava(VOCABULARY).model.config.save_pretrained(tmp_path)
    few = fit(tmp_path, monkeypatch, 100 * 2**20, tokens=100, images=1)["unlearning all"]
    many = fit(tmp_path, monkeypatch, 100 * 2**20, tokens=10000, images=4)["unlearning all"]
    assert (few.verdict, many.verdict) == ("ok", "note")


def test_the_command_checks_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    llava(VOCABULARY).model.config.save_pretrained(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", "--model", str(tmp_path)])
    assert ended.value.code == 0
    assert "unlearning language" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", "--model", str(tmp_path / "gone")])
    assert ended.value.code == 2
    assert "no such directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("problem", "check"),
    [
        ("", Check("hub", "answers", "ok")),
        (
            "no route",
            Check("hub", "not asked (no route)", "note", "models and data must be directories, or on this mac"),
        ),
    ],
)
def test_the_hub_is_really_asked(monkeypatch: pytest.MonkeyPatch, problem: str, check: Check) -> None:
    monkeypatch.setattr(doctor, "hub_problem", lambda: problem)
    hub = by_name(examine())["hub"]
    assert (hub.value, hub.verdict) == (check.value, check.verdict)
    assert hub.remedy.startswith(check.remedy)


@pytest.mark.parametrize(
    ("short", "verdict", "said"), [(2.0, "ok", "2.0 times as fast"), (0.25, "note", "4.0 times as slow")]
)
def test_short_numbers_are_measured(monkeypatch: pytest.MonkeyPatch, short: float, verdict: str, said: str) -> None:
    speeds = {"bfloat16": short * 1e9, "float32": 1e9}
    monkeypatch.setattr("mmunlearner.run.forecast.measured_speed", lambda _, dtype, side: Speed(speeds[dtype], 1.0))
    check = doctor._short_numbers()
    assert check.verdict == verdict
    assert said in check.value
