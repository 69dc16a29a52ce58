"""Methods: two loss terms, or one edit of the weights, and what they read of a batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from mmunlearner.config import Augment, Part, TrainConfig
from mmunlearner.core.names import did_you_mean, resolve_name
from mmunlearner.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mmunlearner.batches import Answers
    from mmunlearner.data import Example

TermName = Literal["forget", "retain"]
VanillaNeed = Literal["answers", "features", "hidden", "guess"]
Options = Mapping[str, float]


@dataclass(frozen=True)
class Needs:
    """Inputs of a term beside the questions themselves. Everything else is absent, and not computed."""

    mask: bool = False
    """A mask of its gradient, without which the method is not itself."""
    answers: bool = True
    """The model's prediction of the answer tokens. Without it (and without `hidden`) the language model is not run."""
    hidden: tuple[float, ...] = ()
    """Hidden states of decoder layers, each at a depth between 0 (the first) and 1 (the last)."""
    second_answer: Callable[[Example], str] | None = None
    """Another answer to the same question (a refusal, say), which the model predicts too: `answers.second`."""
    other_set: bool = False
    """The model's answers to the other set's questions in the same step: `answers.other`, None in a step without them.
    They are constants to this term. A loss L(forget, retain) of both sets is two terms, both L: the forget term moves
    the first argument, the retain term the second, and their gradients add up to that of L, of which the mask meets the
    forget set's part alone."""
    vanilla: Collection[VanillaNeed] = ()
    """Outputs of the vanilla model for the same questions: its answers (log-probability and likeliest tokens, of second
    answers too), image features, hidden states at the same depths, the probability of its answers as guesses."""

    @property
    def language_model(self) -> bool:
        """True if the language model has to be run."""
        return self.answers or bool(self.hidden)


@dataclass(frozen=True)
class Reference:
    """Outputs of the vanilla model for a batch, as far as the method needs them."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    second: Reference | None = None
    """The same of the second answers."""

    @property
    def logp_sum(self) -> Tensor:
        """log p0(answer | question), [Q]."""
        return self._get("logp_sum", "answers")

    @property
    def topk_logps(self) -> Tensor:
        """Largest log-probabilities of p0 at each answer token, [T, K]; K is the vocabulary where it is small."""
        return self._get("topk_logps", "answers")

    @property
    def topk_ids(self) -> Tensor:
        """Tokens of `topk_logps`, int [T, K]."""
        return self._get("topk_ids", "answers")

    @property
    def guess(self) -> Tensor:
        """Probability of each answer where the same is asked about images of retained entities, mean over them, [Q]:
        what a model gives the answer that knows the question and not the face.
        """
        return self._get("guess", "guess")

    @property
    def features(self) -> Tensor:
        """Image features as the language model reads them, in the batch's order, [image tokens, D]; none for texts.

        Raises:
            ModelError: the model reads its images by cross-attention.
        """
        return self._get("features", "features")

    @property
    def hidden(self) -> Tensor:
        """Hidden states where answer tokens are predicted, of the layers that the terms need, [layers, T, D]."""
        return self._get("hidden", "hidden")

    @property
    def features_scale(self) -> Tensor:
        """Squared norm of the features that distances are relative to: this batch's, or its share of a step's."""
        return self.tensors.get("features_scale", self.features.float().pow(2).sum())

    def to(self, device: torch.device | str) -> Reference:
        """Return the same reference on another device."""
        tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return Reference(tensors, self.second.to(device) if self.second else None)

    def _get(self, name: str, need: VanillaNeed) -> Tensor:
        if name in self.tensors:
            return self.tensors[name]
        if need == "features":
            raise ModelError("image features of the vanilla model: this model does not read its images as tokens")
        raise ConfigError(f"the term reads reference.{name}, but its method does not say Needs(vanilla=({need!r},))")


Term = Callable[..., "Tensor"]
"""`(answers, reference, *, hyper-parameters) -> scalar`: minimised. Keyword-only arguments are the hyper-parameters.

A mean over the batch's questions: a batch that is run in several passes (`train.tokens_per_batch`) is the sum of their
terms, each weighted by its share of the questions.
"""
Edit = Callable[..., None]
"""`(encoder, splits, mask, *, hyper-parameters)`: changes the weights of the encoder's model in place, without
gradient steps. Keyword-only arguments are the hyper-parameters; `mask` says which weights may change, None: all."""


def answers_alone(options: Options) -> dict[TermName, Needs]:
    """Return the needs of terms that read the model's answers and nothing else."""
    return {}


@dataclass(frozen=True)
class BoundTerm:
    """A term with its hyper-parameters filled in."""

    name: TermName
    loss: Callable[[Answers, Reference | None], Tensor]
    needs: Needs

    def __call__(self, answers: Answers, reference: Reference | None) -> Tensor:
        return self.loss(answers, reference)


@dataclass(frozen=True)
class Budget:
    """Training options of a method where neither the recipe nor the command sets them."""

    learning_rate: float = 1e-4
    steps: int = 40
    """Forget steps, at least."""
    images_per_entity: int = 0
    """Forget images to draw of each entity, views of one image counted apart; the steps follow. 0: `steps` alone."""
    parts: tuple[Part, ...] = get_args(Part)
    """Parts whose weights train."""
    augment: Augment = "none"

    def fill(self, train: TrainConfig, entities: int) -> TrainConfig:
        """Return the options with those filled in that are left to the method; `entities` are those to forget."""
        images_per_step = train.batch_size * train.accumulation
        steps = max(self.steps, -(-self.images_per_entity * entities // images_per_step))
        return replace(
            train,
            learning_rate=train.learning_rate or self.learning_rate,
            steps=train.steps or steps,
            parts=train.parts or self.parts,
            augment=self.augment if train.augment == "auto" else train.augment,
        )


@dataclass(frozen=True, kw_only=True)
class Relearning:
    """Unlearning against relearning: the forget loss is lowered where an attacker would bring it back from, too.

    A copy of the model learns a random half of the forget entities again, by a step of AdamW on all its weights beside
    each forget step. The gradient of the forget loss of the *other* half at the copy's weights is added to the
    gradient of the model's own (first order, as in Nichol et al. 2018, arXiv 1803.02999). Each field is an option of
    the methods that have it.
    """

    relearn_weight: float = 0.0
    """Weight of that loss; 0: there is no copy."""
    relearn_steps: float = 8
    """Steps of the copy until it starts anew, from the weights that the model then has and with another half."""
    relearn_rate: float = 3e-4
    """Learning rate of the copy."""


@dataclass(frozen=True)
class Method:
    """A loss of what is forgotten and one of what is retained, or an edit of the weights.

    The two losses are never added up before the mask has acted on the forget term.
    """

    name: str
    paper: str
    forget: Term | None = None
    retain: Term | None = None
    edit: Edit | None = None
    needs: Callable[[Options], Mapping[TermName, Needs]] = answers_alone
    """All options -> what each term reads; a term that is left out reads the model's answers alone."""
    budget: Budget = Budget()
    """Training options that suit the method."""
    relearning: type[Relearning] | None = None
    """Options of unlearning against relearning, where the forget term can be lowered at a copy's weights too."""

    def __post_init__(self) -> None:
        # An edit has no backward pass for a term to join.
        if bool(self.edit) == bool(self.forget or self.retain):
            raise ConfigError(f"method {self.name}: give it loss terms, or an edit")

    @property
    def options(self) -> dict[str, float]:
        """Hyper-parameters and their defaults, of both terms or of the edit."""
        functions = (self.forget, self.retain, self.edit, self.relearning)
        return {name: default for function in functions for name, default in _keywords(function).items()}

    @property
    def needs_mask(self) -> bool:
        """True if the method is not itself without a mask."""
        return any(needs.mask for needs in self.needs(self.options).values())

    @property
    def needs_reference(self) -> bool:
        """True if the vanilla model is asked before training, at the default options."""
        return any(needs.vanilla for needs in self.needs(self.options).values())

    def bind(self, options: Options) -> tuple[BoundTerm | None, BoundTerm | None]:
        """Fill in the hyper-parameters of both terms.

        Raises:
            ConfigError: an option that the method does not have, or a value that is no number.
        """
        filled = self.filled(options)
        needs = self.needs(filled)
        names: dict[TermName, Term | None] = {"forget": self.forget, "retain": self.retain}
        forget, retain = (
            BoundTerm(
                name, partial(term, **{option: filled[option] for option in _keywords(term)}), needs.get(name, Needs())
            )
            if term
            else None
            for name, term in names.items()
        )
        return forget, retain

    def filled(self, options: Options) -> dict[str, float]:
        """Return all options, those that are not given at their defaults.

        Raises:
            ConfigError: an option that the method does not have, or a value that is no number.
        """
        for name, value in options.items():
            if name not in self.options:
                hint = did_you_mean(name, self.options)
                raise ConfigError(f"method {self.name}: unknown option {name}; {hint}")
            if not isinstance(value, int | float):
                raise ConfigError(f"method {self.name}: option {name} is {value!r}; a number is expected")
        # As floats: a sweep's 1 and 1.0 are one setting.
        return {name: float(options.get(name, default)) for name, default in self.options.items()}

    def bind_relearning(self, options: Options) -> Relearning | None:
        """Fill in the options of unlearning against relearning; None where there is none.

        Raises:
            ConfigError: an option that the method does not have, or a value that it cannot have.
        """
        filled = self.filled(options)
        if self.relearning is None or not filled["relearn_weight"]:
            return None
        relearning = self.relearning(**{name: filled[name] for name in _keywords(self.relearning)})
        steps = relearning.relearn_steps
        if steps < 1 or steps % 1:
            raise ConfigError(
                f"method {self.name}: option relearn_steps is {steps:g}; a whole number from 1 is expected"
            )
        for name in ("relearn_weight", "relearn_rate"):
            if filled[name] <= 0:
                raise ConfigError(f"method {self.name}: option {name} is {filled[name]:g}; it has to be above 0")
        return relearning

    def bind_edit(self, options: Options) -> Edit:
        """Fill in the hyper-parameters of the edit.

        Raises:
            ConfigError: an option that the method does not have, or a value that is no number.
        """
        if self.edit is None:
            raise ConfigError(f"method {self.name}: trains; it has no edit")
        return partial(self.edit, **self.filled(options))


def _keywords(function: Callable[..., Any] | None) -> dict[str, Any]:
    # The signature is the only place where a method's author writes hyper-parameters and their defaults.
    parameters = inspect.signature(function).parameters.values() if function else ()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def resolve(name: str, methods: Mapping[str, Method]) -> Method:
    """Return a method by name, or a user's own as `package.module:name`.

    Raises:
        ConfigError: there is none of that name.
    """
    if name in methods:
        return methods[name]
    if ":" not in name:
        raise ConfigError(f"unknown method {name}; {did_you_mean(name, methods)} (your own: package.module:name)")
    method = resolve_name(name, "method")
    if not isinstance(method, Method):
        raise ConfigError(f"method {name}: is a {type(method).__name__}; a mmunlearner.methods.Method is expected")
    return method


def mean_nll(answers: Answers) -> Tensor:
    """Return CE: the mean over questions of the mean cross-entropy over their answer tokens."""
    return answers.nll.mean()
