"""Wordings of questions about facts, in a file that the user can edit: `wording.yaml`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator
from typing_extensions import TypedDict

from mmunlearner.core.recipes import read_recipe
from mmunlearner.core.validation import OPTIONS, InvalidError, Text, refusal, shorten, validate
from mmunlearner.data.benchmarks.person_rows import phrase
from mmunlearner.errors import ConfigError

Split = Literal["train", "eval", "test"]
SPLITS: tuple[Split, ...] = ("train", "eval", "test")
NAME = "name"
"""The attribute that is an entity's name: asked about pictures alone."""


def _check_template(text: str) -> str:
    if "{who}" not in text:
        raise refusal("a wording with {who} in it", shorten(text))
    return text


def _check_different(templates: list[str]) -> list[str]:
    if repeated := next((template for template in templates if templates.count(template) > 1), None):
        raise refusal("different wordings", f"{shorten(repeated)} twice")
    return templates


Template = Annotated[Text, AfterValidator(_check_template)]
Templates = Annotated[
    list[Template],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    AfterValidator(_check_different),
]
"""One wording or several. A wording with a blank, written `__`, is a cloze."""


class Wordings(TypedDict):
    """Wordings of one attribute for each split."""

    train: Templates
    eval: Templates
    test: Templates


class Subject(TypedDict):
    """Words for the entity in a picture, for each split."""

    train: Text
    eval: Text
    test: Text


class Wording(TypedDict):
    """Content of the file."""

    who: Subject
    name: Wordings
    facts: dict[str, Wordings]


def default_wording(attributes: Iterable[str], kind: str) -> Wording:
    """Return wordings made of the attributes' names; `kind` is what the entities are: person, country, product...

    No wording is in two splits, but all are made of the same few words: a tiny model knows words, not English.
    """

    def wordings(attribute: str) -> Wordings:
        words = phrase(attribute)
        return Wordings(
            train=[
                f"What is the {words} of {{who}}?",
                f"Which {words} does {{who}} have?",
                f"The {words} of {{who}} is __.",
            ],
            eval=[f"Which is the {words} of {{who}}?"],
            test=[f"What {words} does {{who}} have?"],
        )

    subject = Subject(
        train=f"the {kind} in this picture", eval=f"this {kind}", test=f"the {kind} in the picture"
    )  # fmt: skip
    return Wording(who=subject, name=wordings(NAME), facts={attribute: wordings(attribute) for attribute in attributes})


def read_wording(file: Path, attributes: Iterable[str]) -> Wording:
    """Read a file of wordings; attributes that are not in it are not asked for.

    Raises:
        ConfigError: the file is wrong, or has an attribute that the facts have not.
    """
    try:
        wording = validate(read_recipe(file), Wording, OPTIONS)
    except InvalidError as error:
        raise ConfigError(f"{file}: {error}") from None
    known = list(attributes)
    if strange := [attribute for attribute in wording["facts"] if attribute not in known]:
        raise ConfigError(f"{file}: facts.{strange[0]}: no such column of facts; there are {', '.join(known)}")
    return wording


HEAD = """\
# How each fact is asked. Change any wording, then give the same `mmunlearner init` command again with --overwrite:
# this file is read, never replaced. An attribute that is taken out is not asked for.
#
# {who}: in a question about a picture the words under `who`, in a question without one the entity's name.
# __   : a blank to fill in. Several wordings are used in turn.
# train: what the models are trained on. eval: the same facts in other words. test: about pictures held out, in still
#        other words. The same wording in two places would measure what was learned by heart.
"""


def wording_text(wording: Wording) -> str:
    """Return the file's text, with comments; `read_wording` reads it back equal."""
    lines = [HEAD, "who:", *(f"  {split}: {quote(wording['who'][split])}" for split in SPLITS)]
    lines += ["name:", *_templates(wording["name"], "  "), "facts:"]
    for attribute, wordings in wording["facts"].items():
        lines += [f"  {quote(attribute)}:", *_templates(wordings, "    ")]
    return "\n".join(lines) + ("" if wording["facts"] else " {}") + "\n"


def _templates(wordings: Wordings, indent: str) -> list[str]:
    return [
        line
        for split in SPLITS
        for line in (f"{indent}{split}:", *(f"{indent}  - {quote(template)}" for template in wordings[split]))
    ]


def quote(text: str) -> str:
    """Return a text as YAML writes it in double quotes, on one line."""
    return yaml.safe_dump(text, allow_unicode=True, default_style='"', width=10**9).strip()
