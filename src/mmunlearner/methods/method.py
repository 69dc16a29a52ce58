"""What a method is: two pure functions of answer log-probabilities, one per term."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmunlearner.core.names import did_you_mean, resolve_name
from mmunlearner.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from mmunlearner.batches import Answers


@dataclass(frozen=True)
class Reference:
    """What the vanilla model said of the same answers before training; where a method asks for no more than features,
    the other fields are empty."""

    logp_sum: Tensor
    """log p0(answer | question), [Q]."""
    topk_logps: Tensor
    """Its largest log-probabilities at each answer token, [T, K]; K is the vocabulary where it is small."""
    topk_ids: Tensor
    """Their tokens, int [T, K]."""
    features: Tensor | None = None
    """What the language model got to see of the images, in the batch's order, [image tokens, D]; empty without images,
    None where it is not known."""
    square: Tensor | None = None
    """What squared distances of features are relative to, where the batch is run in several passes; None: their own
    squared norm."""


Term = Callable[..., "Tensor"]
"""`(answers, reference, *, hyper-parameters) -> scalar`: minimised. Keyword-only arguments are the hyper-parameters.

A mean over the batch's questions: a batch that is run in several passes (`train.tokens_per_batch`) is the sum of their
terms, each weighted by its share of the questions.
"""


@dataclass(frozen=True)
class BoundTerm:
    """A term with its hyper-parameters filled in."""

    term: Term
    options: Mapping[str, float]
    words: bool
    """Whether it asks for answers, not for image features alone."""

    def __call__(self, answers: Answers, reference: Reference | None) -> Tensor:
        return self.term(answers, reference, **self.options)


@dataclass(frozen=True)
class Method:
    """A loss for what is forgotten and one for what is kept; they are never added up before the mask has acted."""

    name: str
    forget: Term | None
    retain: Term | None
    paper: str
    needs_reference: bool = False
    needs_mask: bool = False
    feature_option: str = ""
    """An option that needs the reference's image features where it is not 0."""
    word_option: str = ""
    """An option without which (0) its term asks for image features alone: the language model need not be run."""

    @property
    def options(self) -> dict[str, float]:
        """Hyper-parameters and their defaults, of both terms."""
        return {name: default for term in (self.forget, self.retain) for name, default in _keywords(term).items()}

    def wants_features(self, options: Mapping[str, float]) -> bool:
        """Whether the vanilla model's image features are to be cached for these options."""
        return bool({**self.options, **options}.get(self.feature_option, 0.0))

    def bind(self, options: Mapping[str, float]) -> tuple[BoundTerm | None, BoundTerm | None]:
        """Both terms with their hyper-parameters filled in.

        Raises:
            ConfigError: an option that neither term has, or a value that is no number.
        """
        for name, value in options.items():
            if name not in self.options:
                raise ConfigError(f"method {self.name}: unknown option {name}; {did_you_mean(name, self.options)}")
            if not isinstance(value, int | float):
                raise ConfigError(f"method {self.name}: option {name} is {value!r}; a number is expected")
        return self._bound(self.forget, options), self._bound(self.retain, options)

    def _bound(self, term: Term | None, options: Mapping[str, float]) -> BoundTerm | None:
        if term is None:
            return None
        mine = {name: float(options.get(name, default)) for name, default in _keywords(term).items()}
        return BoundTerm(term, mine, words=bool(mine.get(self.word_option, 1.0)))


def _keywords(term: Term | None) -> dict[str, Any]:
    parameters = inspect.signature(term).parameters.values() if term else ()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def resolve(name: str, known: Mapping[str, Method]) -> Method:
    """A method by name, or a user's own as `package.module:name`.

    Raises:
        ConfigError: there is none of that name.
    """
    if name in known:
        return known[name]
    if ":" not in name:
        raise ConfigError(f"unknown method {name}; {did_you_mean(name, known)}, or give package.module:name")
    found = resolve_name(name, "method")
    if not isinstance(found, Method):
        raise ConfigError(f"method {name}: is a {type(found).__name__}; a mmunlearner.methods.Method is expected")
    return found


def mean_nll(answers: Answers) -> Tensor:
    """CE: mean over questions of the mean cross-entropy over their answer tokens."""
    return answers.nll.mean()
