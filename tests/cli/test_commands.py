from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmunlearner import cli
from mmunlearner.cli import commands
from mmunlearner.config import DataConfig, LoraConfig, RunConfig
from mmunlearner.core.recipes import load_config
from mmunlearner.errors import DataError

HEAVY = ("torch", "transformers", "matplotlib", "datasets")


def run_cli(*arguments: str, **kwargs) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mmunlearner", *arguments], capture_output=True, text=True, check=False, **kwargs
    )


def command(monkeypatch: pytest.MonkeyPatch, raised: BaseException) -> int:
    """Exit code of a command that ends in `raised`."""

    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(commands, "app", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    return int(caught.value.code or 0)


def ran(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """The configurations that would have been run."""
    configs: list[RunConfig] = []
    monkeypatch.setattr("mmunlearner.run.run.run", lambda config, **_: configs.append(config))
    monkeypatch.setattr("mmunlearner.cli.tables.report", lambda _: None)
    return configs


def child_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_fast() -> None:
    """Half a second of the processor; what else the machine does at the time is not counted."""
    seconds = []
    for _ in range(3):
        before = child_seconds()
        assert run_cli("--help").returncode == 0
        seconds.append(child_seconds() - before)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["list"]])
def test_printing_commands_load_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom mmunlearner import cli\ntry:\n    cli.main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('LOADED', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runn"], 'Unknown command "runn". Did you mean "run"?'),
        (["run"], 'Command "run" parameter RECIPE requires an argument.'),
        (["run", "absent.yaml"], "absent.yaml: no such recipe; known: "),
        (["run", "dmo"], "dmo: no such recipe; did you mean demo? (your own: a YAML file"),
        (["run", "demo", "--train.learning_rat", "1"], "Unknown option: --train.learning_rat. Did you mean --train.le"),
        (["run", "RECIPE", "--train.steps", "many"], "--train.steps: expected a whole number, found 'many'"),
        (["run", "RECIPE", "--goal", "visuel"], "--goal: expected one of visual, full, found 'visuel'"),
        (
            ["run", "RECIPE", "--methods.nop.method", "x"],
            "--methods.nop: no such method in the recipe; did you mean np",
        ),
        (["run", "RECIPE", "--methods.npo.optio", "x"], "--methods.npo.optio: unknown option; did you mean options?"),
    ],
)
def test_a_typing_error_is_answered_in_one_line(tmp_path, arguments: list[str], message: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("methods: {npo: {method: npo}}", encoding="utf-8")
    done = run_cli(*(str(recipe) if word == "RECIPE" else word for word in arguments), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_flags_lie_over_the_recipe(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train: {steps: 5, clip: 2}\nmodel: {trust_remote_code: true}\nmethods: {npo: {}}")
    flags = ["--train.steps", "9", "--model.no-trust_remote_code", "--train.report_to", "a", "--train.report_to", "b"]
    configs = ran(monkeypatch)
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", str(recipe), *flags, "--methods.npo.options.beta", "0.5", "--seed=3"])
    assert not caught.value.code
    [config] = configs
    assert (config.train.steps, config.train.clip, config.train.report_to) == (9, 2.0, ("a", "b"))
    assert config.model.trust_remote_code is False
    assert config.methods["npo"].options == {"beta": 0.5}
    assert config.seed == 3


LISTS = [
    (['"Doe, Jane",Bob'], ("Doe, Jane", "Bob")),
    (["Ada , Bob", "Cy"], ("Ada", "Bob", "Cy")),
    (['Dwayne "The Rock" Johnson,"O""Neill, Ann"'], ('Dwayne "The Rock" Johnson', 'O"Neill, Ann')),
    (["[Ada, 'Li, Wei']"], ("Ada", "Li, Wei")),
    (['"Doe, Jane"', "Bob,O'Brien"], ("Doe, Jane", "Bob", "O'Brien")),
]


@pytest.mark.parametrize(("texts", "items"), LISTS)
def test_every_command_has_one_rule_for_lists(
    tmp_path, monkeypatch: pytest.MonkeyPatch, texts: list[str], items: tuple[str, ...]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("seed: 4")
    flags = [word for text in texts for word in ("--data.forget_entities", text)]
    configs, singles = ran(monkeypatch), list[DataConfig]()
    monkeypatch.setattr("mmunlearner.run.single.mask", lambda *_, data, **__: singles.append(data))
    monkeypatch.setattr("mmunlearner.run.single.unlearn", lambda *_, data, **__: singles.append(data))
    monkeypatch.setattr("mmunlearner.cli.tables.mask", lambda _: None)
    monkeypatch.setattr("mmunlearner.cli.tables.weight_changes", lambda *_, **__: None)
    for name in (["run", str(recipe)], ["mask", "--model", "m", "--out", "o"], ["unlearn", "--model=m", "--out=o"]):
        with pytest.raises(SystemExit) as caught:
            cli.main([*name, *flags])
        assert not caught.value.code
    assert [data.forget_entities for data in (configs[0].data, *singles)] == [items] * 3


@pytest.mark.parametrize("name", [["run", "demo"], ["mask", "--model", "m", "--out", "o"]])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"Doe, Jane', 'items between commas, with "..." around an item that holds a comma, found \'"Doe, Jane\''),
        ('"The Rock" Johnson', 'items between commas, with "..." around an item'),
        ("[Ada", "a list or a group as YAML writes them, found '[Ada'"),
        ("{Ada: Bob}", "a list, found {'Ada': 'Bob'}"),
    ],
)
def test_a_text_that_is_no_list_is_one_line(
    name: list[str], text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*name, "--data.forget_entities", text])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: --data.forget_entities: expected {message}")


def test_fine_tuning_can_have_its_own_adapters(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: {base: tiny, lora: {rank: 4}}")
    configs = ran(monkeypatch)
    for flags in ([], ["--finetune.lora.rank", "0"], ["--finetune.lora.rank", "8", "--finetune.lora.alpha", "16"]):
        with pytest.raises(SystemExit):
            cli.main(["run", str(recipe), *flags])
    assert [config.finetune.lora for config in configs] == [None, LoraConfig(), LoraConfig(8, 16)]


def test_a_flag_of_one_call_is_forgotten_in_the_next(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("seed: 4")
    configs = ran(monkeypatch)
    for flags in (["--seed", "5"], []):
        with pytest.raises(SystemExit):
            cli.main(["run", str(recipe), *flags])
    assert [config.seed for config in configs] == [5, 4]


def test_errors_of_the_package_are_one_line_and_exit_code_2(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(monkeypatch, DataError("faces.parquet, row 3:\n no answer")) == 2
    assert capsys.readouterr().err == "error: faces.parquet, row 3: no answer\n"


def test_an_interrupt_names_the_way_to_resume(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(monkeypatch, KeyboardInterrupt()) == 130
    assert "the same command resumes" in capsys.readouterr().err


def test_a_scheduler_stops_a_command_as_the_user_does(monkeypatch, capsys) -> None:
    monkeypatch.setattr(commands, "app", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit, match="130"):
            cli.main([])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == "\ninterrupted; the same command resumes\n"


def wrapped(text: str) -> Exception:
    error = RuntimeError("could not serialise")
    error.__cause__ = RuntimeError(text)
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.safetensors"),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        wrapped("No space left on device"),
    ],
)
def test_a_full_disk_is_one_line(monkeypatch, capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    assert command(monkeypatch, error) == 2
    assert capsys.readouterr().err.startswith("error: the disk is full (")


def test_a_path_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_cli("people", "write", "--out", "file/below", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: file: File exists; name another path, or change its permissions\n"


@pytest.mark.parametrize("defect", [ZeroDivisionError(), OSError(errno.EBADF, "Bad file descriptor")])
def test_defects_are_not_hidden(defect: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(defect)):
        command(monkeypatch, defect)


def test_a_reader_that_stops_reading_is_no_error() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m mmunlearner run --help | head -1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ask", "--model", "people:vanilla"], 'no question given; write it behind the options, e.g. "Who is this?"'),
        (["ask", "Who?", "--model", "people:vanilla,no/such/folder"], "model no/such/folder: no such directory"),
        (["ask", "Who?", "--model", "people:vanilla", "--image", "absent.png"], "absent.png"),
        (["ask", " ", "--model", "people:vanilla"], "the question is empty"),
    ],
)
def test_wrong_inquiry(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_ask(capsys: pytest.CaptureFixture[str]) -> None:
    """Two models' columns under each question, an option with its likelihood, one that holds a comma."""
    models, options = "people:vanilla,people:oracle", 'teacher,"pilot, cook"'
    with pytest.raises(SystemExit) as caught:
        cli.main(["ask", "--model", models, "--option", options, "Who is this?", "Where?"])
    assert caught.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith("?")] == ["Who is this?", "Where?"]
    assert sum(line.split() == ["people:vanilla", "people:oracle"] for line in lines) == 2
    assert sum(line.startswith("  pilot, cook ") and line.count("%") == 4 for line in lines) == 2


@pytest.mark.parametrize("arguments", [["mask", "--model", "people:vanilla", "--out"], ["report"], ["plot"]])
def test_a_nul_in_a_path_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments, "a\0b"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_s_script_knows_the_options(shell: str, tmp_path: Path) -> None:
    done = run_cli("completion", shell)
    assert "density" in done.stdout
    if shell == "bash":
        (tmp_path / "script").write_text(done.stdout)
        subprocess.run(["bash", "-n", tmp_path / "script"], check=True)


def test_the_whole_configuration_is_a_recipe_again(tmp_path: Path) -> None:
    done = run_cli("run", "demo", "--show-config", "--train.steps", "7", "--data.forget_entities", '"Doe, Jane",Bob')
    recipe = tmp_path / "again.yaml"
    recipe.write_text(done.stdout)
    again = load_config(recipe)
    assert again == load_config("demo", {"train.steps": "7", "data.forget_entities": ["Doe, Jane", "Bob"]})
    assert "  steps: 7  # --train.steps" in done.stdout.splitlines()


def test_a_module_of_the_current_folder_is_found_behind_all_installed_ones(tmp_path: Path) -> None:
    """As the console script starts, whose own folder is first in the path."""
    (tmp_path / "my_own_loader.py").write_text("")
    (tmp_path / "yaml.py").write_text("raise SystemError")
    code = (
        "import sys\nsys.path[0] = '/nowhere'\nfrom mmunlearner import cli\ntry:\n    cli.main(['list'])\n"
        "except SystemExit as end:\n    assert not end.code\nimport my_own_loader\nprint(my_own_loader.__file__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "unlikelihood" in done.stdout  # the list, which the folder's yaml.py would have ended
    assert Path(done.stdout.splitlines()[-1]).resolve() == (tmp_path / "my_own_loader.py").resolve()
