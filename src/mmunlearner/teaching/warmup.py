"""Vision warm-up: the encoder learns the features of faces without names, and of drawings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mmunlearner.batches.augmentation import augment
from mmunlearner.data.benchmarks.people.faces import OPTIONS, visible
from mmunlearner.data.benchmarks.people.general import COLOURS, COUNTS, SHAPES, drawings
from mmunlearner.data.benchmarks.people.world import NEIGHBOURS, PEOPLE, STRANGERS, picture, world
from mmunlearner.models import Loaded

VIEWS = 6
"""Pictures of each face of the crowd."""
FACES, DRAWINGS = 36, 18
"""Pictures in a batch."""
IDENTITY_WEIGHT, DRAWING_WEIGHT = 0.3, 1.0

FACE_SIZES = tuple(OPTIONS.values())
DRAWING_SIZES = (len(SHAPES), len(COLOURS), len(COUNTS))


@dataclass(frozen=True)
class Pictures:
    """N pictures with their features."""

    pixels: Tensor
    """[N, 3, 64, 64]."""
    truth: Tensor
    """int [N, features]: index of each feature's value; -1 if it is not visible."""
    identity: Tensor
    """int [N]: number of the face or drawing."""

    def __getitem__(self, index: Tensor) -> Pictures:
        return Pictures(self.pixels[index], self.truth[index], self.identity[index])


class Heads(nn.Module):
    """Linear heads that predict features from all patches side by side, and from their mean; not part of the model."""

    def __init__(self, patches: int, width: int, identities: int) -> None:
        super().__init__()
        count = sum(FACE_SIZES) + sum(DRAWING_SIZES)
        self.flat = nn.Linear(patches * width, count)
        self.mean = nn.Linear(width, count)
        self.identity = nn.Linear(width, identities)

    def forward(self, patches: Tensor, faces: Pictures, shapes: Pictures) -> Tensor:
        """Return the loss for the encoder's output, [N, patches, width]: first the faces, then the drawings."""
        mean, count = patches.mean(1), len(faces.identity)
        loss = IDENTITY_WEIGHT * nn.functional.cross_entropy(self.identity(mean[:count]), faces.identity)
        for logits in (self.flat(patches.flatten(1)), self.mean(mean)):
            of_faces, of_shapes = logits.split([sum(FACE_SIZES), sum(DRAWING_SIZES)], dim=1)
            loss = loss + _feature_loss(of_faces[:count], faces.truth, FACE_SIZES)
            loss = loss + DRAWING_WEIGHT * _feature_loss(of_shapes[count:], shapes.truth, DRAWING_SIZES)
        return loss


def _feature_loss(logits: Tensor, truth: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the mean cross-entropy over features; `sizes` are the numbers of logits of each, side by side."""
    parts = zip(logits.split(list(sizes), dim=1), truth.T, strict=True)
    losses = [nn.functional.cross_entropy(part, values, ignore_index=-1) for part, values in parts]
    return torch.stack(losses).mean()


@dataclass(frozen=True)
class Warmup:
    """The module that trains, and the function that draws a batch and returns its loss."""

    module: nn.Module
    loss: Callable[[], Tensor]


def warmup(loaded: Loaded, rng: np.random.Generator) -> Warmup:
    """Draw the pictures and set up the heads for a model's vision encoder."""
    tower: Any = loaded.model.get_encoder(modality="image")
    faces, shapes = _faces(loaded), _drawings(loaded)
    sizes = tower.config
    heads = Heads((sizes.image_size // sizes.patch_size) ** 2, sizes.hidden_size, len(world().crowd))

    def sample(pictures: Pictures, size: int) -> Pictures:
        return pictures[torch.from_numpy(rng.choice(len(pictures.identity), size, replace=False))]

    def loss() -> Tensor:
        face_batch, shape_batch = sample(faces, FACES), sample(shapes, DRAWINGS)
        output = tower(augment(torch.cat([face_batch.pixels, shape_batch.pixels]), rng))
        patches = output.last_hidden_state[:, 1:]  # without the class token, which the language model never sees
        return heads(patches, face_batch, shape_batch)

    return Warmup(nn.ModuleList([tower, heads]), loss)


def _faces(loaded: Loaded) -> Pictures:
    """Draw the crowd in several views."""
    # Numbered after the people with names: a number is a seed, and theirs must stay free for their own pictures.
    named = PEOPLE + NEIGHBOURS + STRANGERS
    views = list(product(enumerate(world().crowd), range(VIEWS)))
    pixels = _pixels(loaded, [picture(face, named + i, view) for (i, face), view in views])
    truth = torch.tensor([[visible(face)[name] for name in OPTIONS] for (_, face), _ in views])
    return Pictures(pixels, truth, torch.tensor([i for (i, _), _ in views]))


def _drawings(loaded: Loaded) -> Pictures:
    pictures = drawings(train=True)
    rows = [(SHAPES.index(d.shape), list(COLOURS).index(d.colour), COUNTS.index(d.count)) for d in pictures]
    return Pictures(_pixels(loaded, [d.picture() for d in pictures]), torch.tensor(rows), torch.arange(len(rows)))


def _pixels(loaded: Loaded, images: list[Image.Image]) -> Tensor:
    processor: Any = loaded.processor
    return processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
