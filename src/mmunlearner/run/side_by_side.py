"""Several models, the same questions: `mmunlearner ask`, and what `mmunlearner compare` shows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from mmunlearner.config import EvaluateConfig, LoadConfig
from mmunlearner.core.progress import ProgressBar
from mmunlearner.core.time_left import Stage
from mmunlearner.data import Example, ImageRef
from mmunlearner.errors import ConfigError
from mmunlearner.evaluate import Reply, inquiry, replies
from mmunlearner.models import resolve_source
from mmunlearner.run.steps import load_as


def inquiries(questions: Sequence[str], pictures: Sequence[Path] = ()) -> list[Example]:
    """Return each question about each picture; without pictures, each question in words alone.

    Raises:
        ConfigError: there is no question.
        DataError: a question is empty, or a picture cannot be decoded.
    """
    if not questions:
        raise ConfigError('no question given; write it behind the options, e.g. "Who is this?"')
    subjects = [(ImageRef(str(picture)),) for picture in pictures] or [()]
    return [inquiry(question, images) for images, question in product(subjects, questions)]


def ask(
    models: Sequence[str],
    inquiries: Sequence[Example],
    options: Sequence[str] = (),
    *,
    load: LoadConfig | None = None,
    config: EvaluateConfig | None = None,
) -> list[list[Reply]]:
    """Return each model's replies to all inquiries; one model at a time is in memory.

    Raises:
        ModelError: there is no such model, or it cannot be loaded or asked.
        DataError: a model cannot be asked such a question.
    """
    load = load or LoadConfig()
    for model in models:
        resolve_source(model)  # a wrong name is told before any model is loaded
    answers = []
    # A guess at the seconds of each question; loading a model comes on top.
    with ProgressBar([Stage({model: 0.5 * len(inquiries) for model in models})]) as progress:
        for model in models:
            loaded = load_as(load, model, quantize=load.quantize)
            of_model = progress.child(model)
            answers.append(replies(loaded, inquiries, options, config=config, progress=of_model))
            of_model.end()
            del loaded  # before the next one is loaded
    return answers
