"""Runs a model on a batch: log-probabilities of the answers, image features, hidden states.

Shapes: B sequences, L tokens, Q questions, T answer tokens of all questions together, V vocabulary, D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from mmunlearner.batches.batch import Batch, ForwardInputs
from mmunlearner.errors import MMUnlearnerError, ModelError, reason
from mmunlearner.models import replaced_forward
from mmunlearner.models.attention import mask_for


@dataclass(frozen=True)
class Answers:
    """A model's prediction of the answer tokens of Q questions."""

    logits: Tensor
    """float32 [T, V]."""
    tokens: Tensor
    """int [T]."""
    question: Tensor
    """int [T]: the number of each token's question."""
    count: int
    """Q."""
    features: Tensor | None = None
    """Image features as the language model reads them (the projector's output), [image tokens, D]; None where images
    reach it by cross-attention."""
    hidden: Mapping[int, Tensor] = field(default_factory=dict)
    """Decoder layer -> its output at the positions that predict the answer tokens, [T, D]; for `hidden_layers`."""
    second: Answers | None = None
    """Prediction of second answers to the same questions, where a method has them."""
    other: Answers | None = None
    """Prediction for the questions of the step's other set, a constant to autograd, where a method reads it."""

    @classmethod
    def none(cls, features: Tensor | None, device: torch.device) -> Answers:
        """Return the answers to no question: for a loss of image features alone."""
        empty = torch.empty(0, dtype=torch.long, device=device)
        return cls(empty.float()[:, None], empty, empty, 0, features)

    @property
    def logps(self) -> Tensor:
        """Log-probability of each answer token, [T]."""
        return -nn.functional.cross_entropy(self.logits, self.tokens, reduction="none")

    @property
    def lengths(self) -> Tensor:
        """Answer tokens of each question, [Q]."""
        return self.per_question(torch.ones_like(self.tokens, dtype=self.logits.dtype))

    @property
    def logp_sum(self) -> Tensor:
        """log p(answer | question) of each question, [Q]."""
        return self.per_question(self.logps)

    @property
    def nll(self) -> Tensor:
        """Mean cross-entropy over the answer tokens of each question, [Q]."""
        return -self.logp_sum / self.lengths

    def per_question(self, values: Tensor) -> Tensor:
        """Return the sum of token values [T] within each question, [Q]."""
        return torch.zeros(self.count, dtype=values.dtype, device=values.device).index_add(0, self.question, values)


def answers(model: nn.Module, batch: Batch, hidden_layers: Sequence[int] = ()) -> Answers:
    """Run the forward passes; logits are computed only where an answer token is predicted.

    `hidden_layers` are numbers of decoder layers, the first being 0, whose outputs are returned too.

    Raises:
        ModelError: the decoder has no such layer, or does not run it for these questions.
    """
    with _decoder_inputs(model) as embeddings, _layer_outputs(model, hidden_layers) as states:
        outputs = [_run(model, inputs, logits_to_keep=inputs.keep) for inputs in batch.passes]
    logits = torch.cat([output.logits for output in outputs]) if len(outputs) > 1 else outputs[0].logits
    hidden: dict[int, Tensor] = {}
    for layer, of_passes in states.items():
        if len(of_passes) != len(batch.passes):
            # Layers of cross-attention are skipped where there is no image.
            raise ModelError(f"decoder layer {layer}: is not run for some of the questions; choose another layer")
        predicting = [state[inputs.keep] for state, inputs in zip(of_passes, batch.passes, strict=True)]
        hidden[layer] = torch.cat(predicting)[batch.index]
    return Answers(
        logits=logits.float()[batch.index],  # log-probabilities need more digits than bfloat16 has
        tokens=batch.tokens,
        question=batch.question,
        count=batch.count,
        features=_image_embeddings(model, batch, embeddings),
        hidden=hidden,
    )


def image_features(model: nn.Module, batch: Batch) -> Tensor | None:
    """Run the forward passes up to the language model, and return the batch's image features, [image tokens, D].

    None where images reach the language model by cross-attention.
    """
    # Where only the features matter (method option `anchor` alone), this is all that is computed and differentiated: of
    # seven billion weights, the vision tower's third of a billion.
    decoder = unwrapped(model).get_decoder()
    original = decoder.forward

    def skip(*arguments: Any, inputs_embeds: Tensor | None = None, **options: Any) -> Any:
        if inputs_embeds is None:  # images by cross-attention: there are no features to stop at
            return original(*arguments, **options)
        return BaseModelOutputWithPast(last_hidden_state=inputs_embeds)  # pyright: ignore[reportArgumentType]

    with _decoder_inputs(model) as embeddings, replaced_forward(decoder, skip):
        for inputs in batch.passes:
            _run(model, inputs, logits_to_keep=1)
    return _image_embeddings(model, batch, embeddings)


def unwrapped(model: nn.Module) -> Any:
    """Return the model that DistributedDataParallel has wrapped, or else the model itself."""
    return getattr(model, "module", model)


def _run(model: nn.Module, inputs: ForwardInputs, **options: Any) -> Any:
    """Run one forward pass; a mask of shared sequences is put into the form that the model's attention takes.

    Raises:
        ModelError: the processor's inputs do not fit the model.
    """
    tensors: dict[str, Any] = dict(inputs.inputs)
    if tensors["attention_mask"].dtype == torch.bool:
        tensors["attention_mask"] = mask_for(unwrapped(model), tensors["attention_mask"])
    try:
        return model(**tensors, **options, use_cache=False)
    except MMUnlearnerError:
        raise
    except ValueError as error:  # of transformers, about sizes of pictures and their tokens
        raise ModelError(
            f"{type(unwrapped(model)).__name__} does not take what its processor gives ({reason(error)}); take "
            "config.json and the processor's files from the same checkpoint"
        ) from error


@contextmanager
def _decoder_inputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the embeddings that the language model reads in each pass, [B, L, D]: of texts and of images."""
    embeddings: list[Tensor] = []

    def collect(_: nn.Module, __: tuple[Any, ...], arguments: dict[str, Any]) -> None:
        if arguments.get("inputs_embeds") is not None:  # None where the decoder embeds the ids itself
            embeddings.append(arguments["inputs_embeds"])

    handle = unwrapped(model).get_decoder().register_forward_pre_hook(collect, with_kwargs=True)
    try:
        yield embeddings
    finally:
        handle.remove()


@contextmanager
def _layer_outputs(model: nn.Module, layers: Sequence[int]) -> Iterator[Mapping[int, list[Tensor]]]:
    """Collect the outputs of these decoder layers in each pass, [B, L, D]."""
    # By hooks, since `output_hidden_states` numbers the layers that ran, applies the final norm to the last, and keeps
    # all of them.
    states: dict[int, list[Tensor]] = {layer: [] for layer in layers}

    def collect(of_passes: list[Tensor], _: nn.Module, __: Any, output: Any) -> None:
        of_passes.append(output if isinstance(output, Tensor) else output[0])

    modules = unwrapped(model).get_decoder().layers if layers else ()
    for layer in states:
        if not 0 <= layer < len(modules):
            raise ModelError(f"decoder layer {layer}: the model has layers 0 to {len(modules) - 1}")
    handles = [modules[layer].register_forward_hook(partial(collect, states[layer])) for layer in states]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


def _image_embeddings(model: nn.Module, batch: Batch, embeddings: Sequence[Tensor]) -> Tensor | None:
    """Return those embeddings that stand at image tokens; None where images go by cross-attention instead."""
    token = getattr(unwrapped(model).config, "image_token_id", None)
    if token is None or len(embeddings) < len(batch.passes):
        return None
    ids = [inputs.inputs["input_ids"] for inputs in batch.passes]
    # The decoder's inputs at image tokens are what the projector put there.
    return torch.cat([values[where == token] for values, where in zip(embeddings, ids, strict=True)])
