"""The commands. Each reads its options, then imports and calls one package: `--help` loads no torch."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Literal, get_origin

from cyclopts import App, CycloptsError, Parameter, ValidationError
from cyclopts.argument import ArgumentCollection
from cyclopts.utils import UNSET
from pydantic import Field

from mmunlearner import __version__
from mmunlearner.cli.begin import init
from mmunlearner.config import (
    SPLIT_AT_COMMAS,
    AtLeastOne,
    DataConfig,
    EvaluateConfig,
    JudgeConfig,
    LoadConfig,
    MaskConfig,
    MethodConfig,
    NotNegative,
    RunConfig,
    TrainConfig,
)
from mmunlearner.core import recipes
from mmunlearner.core.files import disk_is_full
from mmunlearner.core.progress import ProgressBar, waiting
from mmunlearner.core.recipes import load_config
from mmunlearner.core.time_left import Stage
from mmunlearner.core.validation import OPTIONS, InvalidError, out_of_bounds, validate
from mmunlearner.errors import ConfigError, MMUnlearnerError

LOADING = "loading torch and transformers"
TextList = Annotated[tuple[str, ...], SPLIT_AT_COMMAS]
# Errors of the operating system that the user can put right; all others are defects of this package.
PATH_ERRORS = (
    errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EPERM,
    errno.EROFS,
)  # fmt: skip


def _split_lists(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Split the text of each option that is a list, by the rule of recipes.

    Raises:
        ConfigError: the text is no list, or the list is empty.
    """
    for argument in arguments:
        named = argument.name.startswith("--")  # and not a row of paths without an option
        if not (named and argument.tokens and get_origin(argument.resolved_hint) in (tuple, list)):
            continue
        tokens = list(argument.tokens)
        argument.tokens.clear()
        for token in tokens:
            items = _items(argument.name, token.value)
            if not items:  # cyclopts would take the default
                raise ConfigError(f"{argument.name}: expected a list, found {token.value!r}; leave the option out")
            for item in items:
                argument.append(token.evolve(value=item))


def _items(option: str, text: str) -> tuple[str, ...]:
    try:
        return validate(recipes.parse_text(text), TextList, OPTIONS)
    except (ConfigError, InvalidError) as error:
        raise ConfigError(f"{option}: {error}") from None


app = App(
    name="mmunlearner",
    help="Erase what a vision-language model knows of an entity's looks; keep what it knows in words; show both.",
    version=__version__,
    default_parameter=Parameter(name_transform=lambda name: name, negative_iterable=(), negative_none=()),
    help_format="markdown",
    suppress_keyboard_interrupt=False,
    config=_split_lists,
    help_epilogue=(
        "A list is written with commas, and an item that holds a comma in double quotes: `'\"Doe, Jane\",Bob'`. "
        "The option may also be given again for each item."
    ),
)


COMMAND_OPTIONS = ("--show-config", "--dry-run", "--flops", "--restart")  # of `run` and `sweep`, and not of the recipe


class _Flags:
    """The options of `run` as they were typed.

    They are laid over the recipe as texts, and `core.recipes` converts both: cyclopts only finds the options and shows
    their help.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str | list[str]] = {}

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        values: dict[str, list[str]] = {}
        for argument in arguments:
            if argument.name.startswith("--") and argument.name not in COMMAND_OPTIONS:
                for token in argument.tokens:
                    # A switch like `--no-candidates` has no text of its own.
                    value = token.value if token.implicit_value is UNSET else str(token.implicit_value)
                    option = ".".join((argument.name.removeprefix("--"), *token.keys))
                    values.setdefault(option, []).append(value)
                argument.tokens.clear()  # else cyclopts would convert them, by other rules than those of recipes
        self.texts = {
            # A repeated flag is a list, and each of its texts may hold several items.
            option: texts[0] if len(texts) == 1 else [item for text in texts for item in _items(f"--{option}", text)]
            for option, texts in values.items()
        }


_flags = _Flags()
Options = Annotated[RunConfig, Parameter(name="*")]
Load = Annotated[LoadConfig, Parameter(name="*")]
DryRun = Annotated[
    bool,
    Parameter(
        name="--dry-run",
        negative=(),
        help="Check everything that can be wrong, and show what the recipe would take (data, tokens, steps, memory, "
        "time), without loading a weight.",
    ),
]
Flops = Annotated[
    NotNegative,
    Parameter(help="With --dry-run: floating-point operations per second to compute times from; 0: measured here."),
]
ShowConfig = Annotated[
    bool,
    Parameter(
        name="--show-config",
        negative=(),
        help="Only print the whole configuration as YAML, each value with the file, flag or default that it is from.",
    ),
]
Restart = Annotated[
    bool,
    Parameter(
        negative=(),
        help="Remove what an earlier run has written to OUT/NAME, and compute all anew: with other options, data or "
        "models, or only once more.",
    ),
]


@app.command(config=_flags)
def demo(*, restart: Restart = False, show_config: ShowConfig = False, options: Options = RunConfig()) -> None:
    """Unlearn invented people with every method, compare them and write the report: minutes on two cores, no download.

    The same as `run demo`: any option can be changed. Defaults shown are those of options that the recipe leaves out.
    """
    _run("demo", restart=restart, show_config=show_config)


@app.command(config=_flags)
def run(
    recipe: str,
    /,
    *,
    dry_run: DryRun = False,
    flops: Flops = 0.0,
    restart: Restart = False,
    show_config: ShowConfig = False,
    options: Options = RunConfig(),
) -> None:
    """Run a whole recipe: data, models, masks, unlearning, evaluation, report.

    What is complete in OUT/NAME is skipped: the same command resumes an interrupted run.

    Args:
        recipe: A YAML file, or the name of a shipped recipe. Options given here win over the recipe's;
            a method of the recipe is reached as `--methods.NAME.train.learning_rate 1e-4`.
            Defaults shown are those of options that the recipe leaves out.
    """
    _run(recipe, dry_run=dry_run, flops=flops, restart=restart, show_config=show_config)


@app.command(config=_flags)
def sweep(
    recipe: str,
    /,
    *,
    dry_run: DryRun = False,
    flops: Flops = 0.0,
    restart: Restart = False,
    show_config: ShowConfig = False,
    options: Options = RunConfig(),
) -> None:
    """Run a recipe with every method tried at every setting of a grid, in OUT/NAME-sweep.

    Each trial is judged on one half of the forget and retain entities; the table's scores are those of the other half.
    `--grid.learning_rate 1e-5,3e-5 --grid.retain_weight 1,3`: all combinations of training options
    and of each method's own options.

    Args:
        recipe: A YAML file, or the name of a shipped recipe; it may hold the grid.
    """
    _run(recipe, grid=True, dry_run=dry_run, flops=flops, restart=restart, show_config=show_config)


def _run(
    recipe: str,
    *,
    grid: bool = False,
    dry_run: bool = False,
    flops: float = 0.0,
    restart: bool = False,
    show_config: bool = False,
) -> None:
    if show_config:
        from mmunlearner.core.effective import effective_yaml

        print(effective_yaml(recipe, _flags.texts), end="")
        return
    config = load_config(recipe, _flags.texts)  # before torch is imported: a typing error is answered at once
    from mmunlearner.cli import tables as show

    with waiting(LOADING):
        from mmunlearner.run import run as pipeline
        from mmunlearner.run import tuning
        from mmunlearner.run.forecast import forecast

    config = tuning.sweep(config) if grid else config
    if dry_run:
        with waiting("checking the recipe, and counting tokens, memory and time"):
            estimate = forecast(config, speed=flops)
        show.forecast(estimate)
        return
    page = pipeline.run(config, restart=restart)
    show.report(page)
    if grid:
        show.trials(page.parent)


@app.command
def finetune(
    *,
    model: str,
    out: Path,
    oracle: bool = False,
    data: DataConfig = DataConfig(),
    train: TrainConfig = TrainConfig(),
    load: Load = LoadConfig(),
    seed: int = 0,
) -> None:
    """Fine-tune a model on a benchmark: the vanilla model of a run, or its retain oracle.

    Args:
        model: Directory or hub id to start from, or `tiny`: a LLaVA of two million weights that has seen the
            invented people.
        out: Directory for the trained model.
        oracle: Leave out the images of the entities to forget.
    """
    with waiting(LOADING):
        from mmunlearner.run import single
    single.finetune(model, out, data=data, train=train, load=load, oracle=oracle, seed=seed)
    print(f"model: {out}")


@app.command
def mask(
    *,
    model: str,
    out: Path,
    data: DataConfig = DataConfig(),
    mask: Annotated[MaskConfig, Parameter(name="*")] = MaskConfig(),
    load: Load = LoadConfig(),
    seed: int = 0,
) -> None:
    """Compute the saliency mask, the weights that the forget term may move.

    Args:
        model: Directory or hub id of the model to unlearn, or `people:vanilla`.
        out: File for the mask (.safetensors); its statistics are written beside it (.json, .svg).
    """
    from mmunlearner.cli import tables as show

    with waiting(LOADING):
        from mmunlearner.run import single
    show.mask(single.mask(model, out, data=data, mask=mask, load=load, seed=seed))


@app.command
def unlearn(
    *,
    model: str,
    out: Path,
    method: str = "",
    mask: Path | None = None,
    options: dict[str, float] | None = None,
    data: DataConfig = DataConfig(),
    train: TrainConfig = TrainConfig(),
    load: Load = LoadConfig(),
    seed: int = 0,
) -> None:
    """Unlearn with one method.

    Args:
        model: Directory or hub id of the model to unlearn, or `people:vanilla`.
        out: Directory for the unlearned model.
        method: A name that `mmunlearner list` shows, or `package.module:name`; if left out, `unlikelihood`, or
            `mmunlearner` with a mask.
        mask: File that `mmunlearner mask` wrote: outside it, the forget term moves nothing.
        options: The method's hyper-parameters, e.g. `--options.beta 0.4`.
    """
    from mmunlearner.cli import tables as show

    with waiting(LOADING):
        from mmunlearner.run import single
    config = MethodConfig(method=method or ("mmunlearner" if mask else "unlikelihood"), options=options or {})
    single.unlearn(model, out, method=config, data=data, train=train, load=load, mask=mask, seed=seed)
    show.weight_changes(out, masked=mask is not None)


@app.command
def evaluate(
    *,
    out: Path,
    model: str = "",
    against: str = "",
    oracle: Path | None = None,
    lmms: tuple[str, ...] = (),
    lmms_python: str = "",
    lmms_model: str = "",
    data: DataConfig = DataConfig(),
    evaluate: Annotated[EvaluateConfig, Parameter(name="*")] = EvaluateConfig(),
    judge: JudgeConfig = JudgeConfig(),
    load: Load = LoadConfig(),
    seed: int = 0,
) -> None:
    """Evaluate a model: save and score its answers; without --model, score again the answers that OUT holds.

    Args:
        out: Directory for the answers (a line of JSON per item) and scores.json.
        model: Directory or hub id of the model to evaluate, or `people:vanilla`.
        against: Model before unlearning, or directory of its answers: its accuracy is shown beside this one's, and what
            was forgotten and lost. A model is asked the same questions; its answers are kept in OUT/against-NAME.
        oracle: Directory of the retain oracle's answers: the distance to them is shown, by KS and JS of truth ratios.
        lmms: Tasks of lmms-eval instead, e.g. `pope,mme,mmbench_en,mmmu_val`: general ability of the saved directory
            --model, written to OUT/lmms.json.
        lmms_python: Python of the environment that has lmms-eval.
        lmms_model: The model's name in lmms-eval; if left out, it follows from the configuration's `model_type`.
    """
    from mmunlearner.cli import tables as show

    if lmms:
        from mmunlearner.evaluate.lmms import Lmms, evaluate_lmms

        with waiting(f"lmms-eval ({out / 'lmms' / 'log.txt'})"):
            scores = evaluate_lmms(model, lmms, out, Lmms(lmms_python, lmms_model, evaluate.limit))
        show.lmms(scores, out)
        return
    from mmunlearner.evaluate import judge as judging
    from mmunlearner.evaluate import read_columns, rescore

    # Before the evaluation, which takes long.
    if judge.endpoint:
        judging.check_judge(judge)
    if oracle is not None:
        read_columns(oracle)
    if against and not any(Path(against).glob("*.jsonl")):
        with waiting(LOADING):
            from mmunlearner.models import load_skeleton
        load_skeleton(against, trust_remote_code=load.trust_remote_code)
    if model:
        with waiting(LOADING):
            from mmunlearner.run import single
        single.evaluate(model, out, data=data, evaluate=evaluate, load=load, seed=seed)
    earlier = Path(against) if against else None
    if earlier is not None and not any(earlier.glob("*.jsonl")):  # a model, and no answers
        earlier = out / f"against-{re.sub(r'[^A-Za-z0-9.]+', '-', against).strip('-')}"
        if not earlier.exists():
            with waiting(LOADING):
                from mmunlearner.run import single
            single.evaluate(against, earlier, data=data, evaluate=evaluate, load=load, seed=seed)
    if judge.endpoint:
        with ProgressBar([Stage({"judge": 60.0})]) as progress:  # a guess: the endpoint alone knows its pace
            of_judge = progress.child("judge")
            sent = judging.judge(out, judge, progress=of_judge)
            of_judge.end()
        unscored = judging.unscored(out)
        print(f"judge {judge.model}: {sent} answers judged now, {len(unscored)} replies without a number from 1 to 10")
    scoring = recipes.check(evaluate).scoring
    with waiting("scoring the answers"):
        scores = rescore(out, scoring)
    if earlier is None:
        show.scores(scores, out)
    else:
        from mmunlearner.evaluate.against import Against

        show.scores(scores, out, Against.of(against, earlier, out, scoring))
    if oracle is not None:
        show.distances(out, oracle)


@app.command
def ask(
    *questions: str,
    model: tuple[str, ...],
    image: tuple[Path, ...] = (),
    option: tuple[str, ...] = (),
    max_new_tokens: Annotated[int, Field(ge=1)] = EvaluateConfig.max_new_tokens,
    load: Load = LoadConfig(),
) -> None:
    """Ask models questions of your own, about pictures or without any, and read their answers side by side.

    `mmunlearner ask --model people:vanilla --model people:oracle --image face.png "Who is this?"`.
    The models are loaded one after the other, so that memory for one suffices.

    Args:
        questions: Questions; each is asked about each picture.
        model: Directory or hub id of a model, or `people:vanilla` or `people:oracle`.
        image: File of a picture; without one the questions are asked in words alone.
        option: Possible answer whose likelihood is shown too.
        max_new_tokens: Most tokens of an answer.
    """
    from mmunlearner.cli import tables as show

    with waiting(LOADING):
        from mmunlearner.run.side_by_side import ask, inquiries
    asked = inquiries(questions, image)
    config = EvaluateConfig(max_new_tokens=max_new_tokens)
    show.replies(asked, model, ask(model, asked, option, load=load, config=config))


@app.command
def compare(run: Path, /, *, port: Annotated[int, Field(ge=0, le=65535)] = 8384) -> None:
    """Serve a page on this machine where you pick or drop a picture, ask, and read a run's models side by side.

    Vanilla model, an unlearned one and the oracle answer one after the other; as many of them as fit stay in memory.
    The page loads nothing from elsewhere and can be reached from this machine alone. Ctrl-C ends it.

    Args:
        run: A run's directory, e.g. `runs/demo`.
        port: Port of the page at 127.0.0.1; 0: one that is free.
    """
    from mmunlearner.web.page import serve

    serve(run, port)


@app.command
def report(run: Path, /, *others: Path) -> None:
    """Write the report of a run again, from its files alone; of several runs, print one table of their means.

    Args:
        run: A run's directory, e.g. `runs/demo`.
        others: Further runs of the same benchmark and goal, e.g. with other seeds.
    """
    from mmunlearner import report
    from mmunlearner.cli import tables as show

    if others:
        print(report.means_markdown([run, *others]))
        return
    with waiting("writing the report"):
        page = report.write(run)
    show.report(page)


@app.command(name="list")
def list_() -> None:
    """List methods and benchmarks with their options, metrics and recipes."""
    from mmunlearner.cli import catalogue
    from mmunlearner.cli import tables as show

    show.catalogue(catalogue.everything())


@app.command
def doctor(*, model: str = "", tokens: AtLeastOne = 1024, images: AtLeastOne = 4) -> int:
    """Check versions, devices and memory of this machine; exit code 1 if something that is needed is broken.

    Args:
        model: Directory or hub id of a model: also check which of its masks and trainings fit here. Loads no weight.
        tokens: With --model: tokens of one sequence, those of its image included.
        images: With --model: sequences in a batch, each with its own image.
    """
    from mmunlearner.cli import doctor
    from mmunlearner.cli import tables as show

    with waiting("looking at this machine"):
        checks = doctor.examine()
    show.checks(checks)
    if model:
        with waiting("reading the model's configuration"):
            fits = doctor.examine_model(model, tokens, images)
        show.checks(fits)
    return 0 if doctor.healthy(checks) else 1


app.command(init)


@app.command
def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print the script by which a shell completes commands and options.

    For bash: `mmunlearner completion bash > ~/.local/share/bash-completion/completions/mmunlearner`, then a new shell.

    Args:
        shell: The shell that you use.
    """
    print(app.generate_completion(shell=shell))


@app.command
def schema() -> None:
    """Print the JSON schema of recipes, by which an editor completes options and shows their help.

    A recipe names it in its first line: `# yaml-language-server: $schema=recipe.schema.json`.
    """
    from mmunlearner.core.effective import recipe_schema

    print(recipe_schema(), end="")


people = App(name="people", help="The embedded benchmark: invented people, drawn and described.")
app.command(people)


@people.command
def write(*, out: Path) -> None:
    """Write the benchmark in MLLMU-Bench's layout: parquet splits, and the general set as rows.

    Args:
        out: Folder for the data; a folder that has them completely is left as it is.
    """
    from mmunlearner.data.benchmarks.people import prepare

    with waiting("drawing the people"):
        folder = prepare(out)
    print(f"data: {folder}")


def main(arguments: list[str] | None = None) -> None:
    """Entry point: exit code 0, or 2 with one line on what is wrong, or 130 where the user stopped it."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a letter shows a question mark: a name in a table is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # The user's own `module:NAME` beside the recipe: `python -m` finds it there, the console script would not. At the
    # end, so that no file of the folder takes the place of an installed module; not where Python runs in safe mode.
    if not sys.flags.safe_path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except KeyboardInterrupt:
        print("\ninterrupted; the same command resumes", file=sys.stderr)
        sys.exit(130)  # as shells report SIGINT
    except BrokenPipeError:  # the reader of the output has gone, as in `mmunlearner list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit complains
        sys.exit(141)  # as shells report SIGPIPE
    except Exception as error:
        message = _explain(error)
        if message is None:  # a defect: its traceback is of use
            raise
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)
    sys.exit(result if isinstance(result, int) else 0)


def _explain(error: Exception) -> str | None:
    """Return a line on an error that the user can put right; None for a defect of this package."""
    # cyclopts had pydantic check the bounds of an option: its message is replaced by that of recipes.
    if isinstance(error, ValidationError) and error.argument and (problem := out_of_bounds(error.__cause__)):
        return f"{error.argument.name}: {problem}"
    if isinstance(error, CycloptsError):
        error.verbose = False  # else its text names functions of this package
        return str(error)
    if isinstance(error, MMUnlearnerError):
        return str(error)
    return _file_problem(error)


def _file_problem(error: Exception) -> str | None:
    """Return a line on a file or a disk that the user can put right."""
    if disk_is_full(error):
        return f"the disk is full ({error}); free some space, the same command resumes"
    if isinstance(error, ValueError) and "embedded null" in str(error):  # raised by every function that takes a path
        return "a path or name has a NUL character in it; name another"
    if isinstance(error, OSError) and error.errno in PATH_ERRORS:
        return f"{error.filename}: {error.strerror}; name another path, or change its permissions"
    return None
