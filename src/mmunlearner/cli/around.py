"""The commands around runs: lists, this machine, shells and editors."""

from __future__ import annotations

from typing import Literal

from mmunlearner.cli.options import app
from mmunlearner.core.progress import waiting
from mmunlearner.option_types import AtLeastOne


def list_all() -> None:
    """List methods and benchmarks with their options, metrics and recipes."""
    from mmunlearner.cli import catalogue
    from mmunlearner.cli import tables as show

    show.catalogue(catalogue.everything())


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


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print the script by which a shell completes commands and options.

    For bash: `mmunlearner completion bash > ~/.local/share/bash-completion/completions/mmunlearner`, then a new shell.

    Args:
        shell: The shell that you use.
    """
    print(app.generate_completion(shell=shell))


def schema() -> None:
    """Print the JSON schema of recipes, by which an editor completes options and shows their help.

    A recipe names it in its first line: `# yaml-language-server: $schema=recipe.schema.json`.
    """
    from mmunlearner.core.effective import recipe_schema

    print(recipe_schema(), end="")
