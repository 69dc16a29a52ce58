"""The package's jinja2 templates; everything that is filled in is escaped unless it was rendered here."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from mmunlearner.report import words


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("mmunlearner.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": words.percent,
        "points": words.points,
        "difference": words.difference,
        "duration": words.duration,
        "memory": words.memory,
        "count": words.count,
        "tidy": words.tidy,
    }
    return made


def template(name: str) -> Template:
    return _environment().get_template(name)


def source(name: str) -> str:
    """A file beside the templates as it is."""
    return (files("mmunlearner.report") / "templates" / name).read_text(encoding="utf-8")


def render(name: str, **values: object) -> Markup:
    """Fill in a template of this package; what comes back is HTML."""
    return Markup(template(name).render(**values))
