"""Teaches the vision encoder to see: it names the features of faces that nobody has, and of drawings."""

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
    """Pictures and what is true of them; N of them."""

    pixels: Tensor
    """[N, 3, 64, 64]."""
    truth: Tensor
    """int [N, features]: which of its values each feature has; -1 where it cannot be seen."""
    identity: Tensor
    """int [N]: whose picture it is."""

    def __getitem__(self, which: Tensor) -> Pictures:
        return Pictures(self.pixels[which], self.truth[which], self.identity[which])


class Heads(nn.Module):
    """Read features off all patches side by side, and off their mean. Thrown away after the warm-up."""

    def __init__(self, patches: int, width: int, identities: int) -> None:
        super().__init__()
        count = sum(FACE_SIZES) + sum(DRAWING_SIZES)
        self.flat = nn.Linear(patches * width, count)
        self.mean = nn.Linear(width, count)
        self.identity = nn.Linear(width, identities)

    def forward(self, patches: Tensor, faces: Pictures, shapes: Pictures) -> Tensor:
        """The loss, given the encoder's output for faces and drawings one after the other, [N, patches, width]."""
        mean, count = patches.mean(1), len(faces.identity)
        loss = IDENTITY_WEIGHT * nn.functional.cross_entropy(self.identity(mean[:count]), faces.identity)
        for logits in (self.flat(patches.flatten(1)), self.mean(mean)):
            of_faces, of_shapes = logits.split([sum(FACE_SIZES), sum(DRAWING_SIZES)], dim=1)
            loss = loss + _feature_loss(of_faces[:count], faces.truth, FACE_SIZES)
            loss = loss + DRAWING_WEIGHT * _feature_loss(of_shapes[count:], shapes.truth, DRAWING_SIZES)
        return loss


def _feature_loss(logits: Tensor, truth: Tensor, sizes: Sequence[int]) -> Tensor:
    """Mean cross-entropy over the features whose logits stand side by side."""
    parts = zip(logits.split(list(sizes), dim=1), truth.T, strict=True)
    losses = [nn.functional.cross_entropy(part, values, ignore_index=-1) for part, values in parts]
    return torch.stack(losses).mean()


@dataclass(frozen=True)
class Warmup:
    """The vision encoder's warm-up: `module` is what trains, `loss` one batch's loss."""

    module: nn.Module
    loss: Callable[[], Tensor]


def warmup(loaded: Loaded, rng: np.random.Generator) -> Warmup:
    """Draw the pictures and set up the heads."""
    tower: Any = loaded.model.get_encoder(modality="image")
    faces, shapes = _faces(loaded), _drawings(loaded)
    sizes = tower.config
    heads = Heads((sizes.image_size // sizes.patch_size) ** 2, sizes.hidden_size, len(world().crowd))

    def loss() -> Tensor:
        some_faces = faces[_draw(rng, len(faces.identity), FACES)]
        some_shapes = shapes[_draw(rng, len(shapes.identity), DRAWINGS)]
        seen = tower(augment(torch.cat([some_faces.pixels, some_shapes.pixels]), rng)).last_hidden_state[:, 1:]
        return heads(seen, some_faces, some_shapes)

    return Warmup(nn.ModuleList([tower, heads]), loss)


def _draw(rng: np.random.Generator, count: int, size: int) -> Tensor:
    return torch.from_numpy(rng.choice(count, size, replace=False))


def _faces(loaded: Loaded) -> Pictures:
    """The crowd, numbered behind everybody who has a name."""
    named = PEOPLE + NEIGHBOURS + STRANGERS
    each = list(product(enumerate(world().crowd), range(VIEWS)))
    pixels = _pixels(loaded, [picture(face, named + i, view) for (i, face), view in each])
    truth = torch.tensor([[visible(face)[name] for name in OPTIONS] for (_, face), _ in each])
    return Pictures(pixels, truth, torch.tensor([i for (i, _), _ in each]))


def _drawings(loaded: Loaded) -> Pictures:
    drawn = drawings(train=True)
    rows = [(SHAPES.index(d.shape), list(COLOURS).index(d.colour), COUNTS.index(d.count)) for d in drawn]
    return Pictures(_pixels(loaded, [d.picture() for d in drawn]), torch.tensor(rows), torch.arange(len(rows)))


def _pixels(loaded: Loaded, images: list[Image.Image]) -> Tensor:
    processor: Any = loaded.processor
    return processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
