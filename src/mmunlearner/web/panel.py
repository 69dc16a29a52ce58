"""Content of the page: the models of a run, the pictures of its data, and replies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

from mmunlearner.config import EvaluateConfig
from mmunlearner.data import Example, ImageRef, group_by_image
from mmunlearner.data.prompts import AnswerPools, answer_pools
from mmunlearner.errors import ConfigError
from mmunlearner.evaluate import Reply, inquiry, replies
from mmunlearner.report import load as load_run
from mmunlearner.report.results import FILE
from mmunlearner.run.run_dir import REFERENCES, RunDir
from mmunlearner.run.steps import load_model
from mmunlearner.web.shelf import Shelf


@dataclass(frozen=True)
class Subject:
    """A picture of the run's data, with the questions about it."""

    image: ImageRef
    entity: str
    questions: tuple[Example, ...]


@dataclass
class Panel:
    """A run's models and pictures; one question is answered at a time.

    Raises:
        ConfigError: the run has no model yet.
    """

    run: RunDir
    shelf: Shelf = field(init=False)
    _lock: Lock = field(default_factory=Lock)  # a model's answers must not mix, and two may not fit

    def __post_init__(self) -> None:
        self.shelf = Shelf(lambda name: load_model(self.run, self.run.source(name)))
        if not self.names:
            raise ConfigError(f"{self.run.path}: has no model yet; `mmunlearner run` makes them")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the models that are there: the references, then those that unlearned."""
        named = [*self.run.references, *self.run.config.methods]
        # A reference by directory or hub id was not trained by the run.
        return tuple(
            name
            for name in named
            if self.run.source(name) != str(self.run.model(name)) or self.run.trained(name).exists()
        )

    @property
    def unlearned(self) -> tuple[str, ...]:
        """Names of the models that unlearned."""
        return tuple(name for name in self.names if name not in REFERENCES)

    @cached_property
    def main(self) -> str:
        """The unlearned model of the report's headline, or the first; empty where there is none."""
        if (self.run.path / FILE).is_file() and (model := load_run(self.run.path).results.main):
            return model.name if model.name in self.unlearned else next(iter(self.unlearned), "")
        return next(iter(self.unlearned), "")

    def title(self, name: str) -> str:
        """Return the name of a model in tables."""
        method = self.run.config.methods.get(name)
        return method.title or name if method else name

    @cached_property
    def subjects(self) -> dict[str, list[Subject]]:
        """Column of the evaluation -> its pictures.

        Raises:
            DataError: the data of the run cannot be read any more.
        """
        columns = {
            column: [
                Subject(group[0].images[0], group[0].entity, tuple(group))
                for group in group_by_image(items)
                if len(group[0].images) == 1
            ]
            for column, items in self.run.splits.evaluation.items()
        }
        return {column: subjects for column, subjects in columns.items() if subjects}

    @cached_property
    def pools(self) -> AnswerPools:
        """Attribute -> all answers to it in the data."""
        return answer_pools(self.run.splits.evaluation.values())

    def ask(self, name: str, question: str, image: ImageRef | None, options: Sequence[str]) -> Reply:
        """Return a model's reply to a question, about a picture or without one.

        Raises:
            MMUnlearnerError: the question is empty, the picture cannot be decoded, or the model cannot be asked.
        """
        asked = inquiry(question, (image,) if image else ())
        config = EvaluateConfig(max_new_tokens=self.run.config.evaluate.max_new_tokens)
        with self._lock:
            [reply] = replies(self.shelf.take(name), [asked], options, config=config)
        return reply
