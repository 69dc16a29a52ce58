"""The application, and options as they are typed: lists, and those that are laid over a recipe."""

from __future__ import annotations

from typing import Annotated, get_origin

from cyclopts import App, Parameter
from cyclopts.argument import ArgumentCollection
from cyclopts.utils import UNSET

from mmunlearner import __version__
from mmunlearner.config import LoadConfig
from mmunlearner.core import recipes
from mmunlearner.core.validation import OPTIONS, InvalidError, validate
from mmunlearner.errors import ConfigError
from mmunlearner.option_types import SPLIT_AT_COMMAS

LOADING = "loading torch and transformers"
TextList = Annotated[tuple[str, ...], SPLIT_AT_COMMAS]
Load = Annotated[LoadConfig, Parameter(name="*")]
COMMAND_OPTIONS = ("--show-config", "--dry-run", "--flops", "--restart")  # of `run` and `sweep`, and not of the recipe


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


class Flags:
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


FLAGS = Flags()
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
