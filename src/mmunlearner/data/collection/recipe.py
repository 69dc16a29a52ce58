"""The commented recipe that begins a user's own unlearning."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path

from mmunlearner.data.collection.wording import quote
from mmunlearner.data.example import Splits
from mmunlearner.data.splits import validation
from mmunlearner.errors import DataError

TINY = """\
model:
  # A model of two million weights that learns these questions from 64 x 64 pixels in minutes on a CPU: to try the whole
  # path. It says little about a real model. For that, give its directory or hub id:
  #   base: llava-hf/llava-1.5-7b-hf   # is trained on these questions first (finetune), with and without the pictures
  #                                    # to forget: the vanilla model that knows too much, and the oracle
  #   vanilla: my-model                # knows these entities already; nothing is trained first, and without
  #                                    # `oracle` forgetting is compared with guessing
  base: tiny

# How vanilla model and oracle are trained, where `base` is given.
finetune:
  optimizer: muon
  learning_rate: 1e-2
  weight_decay: 0.02
  steps: {finetune_steps}
  batch_size: {finetune_batch}
  texts: {texts}
  questions: 3
  augment: all      # few pictures are not learned by heart
"""

REAL = """\
model:
  # Is trained on these questions first (finetune), with and without the pictures to forget: the vanilla model that
  # knows too much, and the oracle. Where a model knows these entities already, write `vanilla: {model}` in the place
  # of `base`; without `oracle` forgetting is compared with guessing.
  base: {model}
  # weights: bfloat16              # half the memory; see docs/guide.md

# How vanilla model and oracle are trained: by adapters, three times over all questions.
finetune:
  learning_rate: 1e-4
  steps: {finetune_steps}
  batch_size: {finetune_batch}
  questions: 1
  schedule: linear
  lora: {{rank: 16, alpha: 16}}
"""

TINY_STEPS = 400
"""Steps after which the tiny model knew 24 people of 8 pictures and 8 facts each."""
RATES = ("1e-5", "3e-5")
"""Learning rates to try on a real model: the published one, and three times that."""
RECIPE = """\
# yaml-language-server: $schema=recipe.schema.json
# Written by `mmunlearner init`. First see what it takes, then run it:
#   mmunlearner run {path} --dry-run
#   mmunlearner run {path}
# Every option: docs/cli.md, or `mmunlearner run --help`.
name: {name}
goal: visual        # what is known by looks is forgotten, what is known in words stays; full: both are forgotten
seed: {seed}

data:
  format: rows
  root: {root}
  forget_entities: [{forget}]

{model}
# How methods unlearn: a batch has so many pictures, each with so many of its questions. What is left out here
# (learning rate, steps) is the method's own; `mmunlearner list` shows it.
train: {{batch_size: {batch}, questions: {questions}, retain_per_forget: 2}}
evaluate: {{max_new_tokens: {tokens}, limit: 300}}   # at most so many questions per column; 0: all

methods:
  # The default of `mmunlearner unlearn`: makes the answers about the pictures to forget unlikely.
  unlikelihood:
    title: Unlikelihood
    method: unlikelihood
{unlikelihood}
  # The paper's method: the forget term moves the weights of vision and projector that matter for it.
  mmunlearner:
    title: MMUnlearner (vision)
    method: mmunlearner
    mask: {{parts: [vision, projector], density: 0.4}}
    options: {{anchor: 1, bound: 2}}
{mmunlearner}
  # A control: the same with weights chosen at random. A mask that is no better chose nothing that matters.
  random_mask:
    title: Random mask (vision)
    role: control
    method: mmunlearner
    mask: {{parts: [vision, projector], density: 0.4, random: true}}
    options: {{anchor: 1, bound: 2}}
{mmunlearner}
  # A baseline to compare with: ascent on the forget set, descent on the retain set.
  ga_diff:
    title: GA_Diff
    role: baseline
    method: ga_diff
{ga_diff}
"""


def recipe_text(folder: Path, forget: Sequence[str], splits: Splits, *, model: str, seed: int) -> str:
    """Return the recipe of a collection: budgets follow from the number of pictures and questions."""
    tiny = model == "tiny"
    batch, questions = (12, 3) if tiny else (4, 1)
    pictures = len({key for e in splits.forget for key in e.image_keys})
    batch = min(batch, pictures)
    trained = len(splits.forget + splits.retain) + sum(bool(e.images) for e in splits.background)
    finetune_batch = min(24, trained) if tiny else 4
    words = max(len(e.answer.split()) for items in splits.evaluation.values() for e in items)
    entities = len({e.entity for e in splits.vanilla_training})
    # Once over the forget set, or a fixed number for the tiny model, which sees its pictures changed each time.
    steps = 60 if tiny else max(10, ceil(len(splits.forget) / (batch * questions)))
    block = (TINY if tiny else REAL).format(
        model=quote(model),
        finetune_batch=finetune_batch,
        texts=min(12, entities),
        finetune_steps=TINY_STEPS if tiny else ceil(3 * trained / finetune_batch),
    )
    return RECIPE.format(
        path=shlex.quote(str(folder / "recipe.yaml")),
        name=re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).strip("-.") or "mine",
        seed=seed,
        root=quote(str(folder.resolve())),
        forget=", ".join(quote(name) for name in forget),
        model=block,
        batch=batch,
        questions=questions,
        tokens=8 if tiny and words <= 4 else 4 * words + 8,
        unlikelihood=_settings(splits, ("1e-3", "2e-3") if tiny else RATES),
        mmunlearner=_settings(splits, ("16e-4", "24e-4") if tiny else RATES, steps),
        ga_diff=_settings(splits, ("2e-4", "4e-4") if tiny else RATES, steps),
    )


def _settings(splits: Splits, rates: Sequence[str], steps: int = 0) -> str:
    """Return the lines of a method's budget: settings to try, or one where the entities cannot be halved."""
    budget = f"steps: {steps}, augment: forget" if steps else ""
    tries = f"trials: [{{learning_rate: {rates[0]}}}, {{learning_rate: {rates[1]}}}]"
    with suppress(DataError):  # of validation, where there is one entity to be halved
        validation(splits)
        # One half of the entities tries, the other is scored.
        return (f"    train: {{{budget}}}\n" if budget else "") + f"    {tries}   # tried on half of the entities"
    budget += ", " * bool(budget) + f"learning_rate: {rates[0]}"
    return f"    train: {{{budget}}}\n    # With two entities or more in each group:\n    # {tries}"
