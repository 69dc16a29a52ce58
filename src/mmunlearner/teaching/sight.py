"""Sight: vision tower and projector learn to make, of each image, the embeddings of its caption's tokens.

The language model takes no part, so that a step takes a fraction of a second whatever its size.
Shapes: N images, P places of an image, D width of the embeddings, C tokens that occur in captions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmunlearner.batches import Encoder
from mmunlearner.batches.augmentation import augment
from mmunlearner.core.progress import Progress
from mmunlearner.teaching.descent import Descent
from mmunlearner.teaching.pages import Page
from mmunlearner.teaching.words import caption_tokens


@dataclass(frozen=True)
class Practice:
    """Size and rate of the steps in which a model learns to see."""

    steps: int = 800
    images: int = 64
    drawn: float = 0.4
    """Share of drawings among them. New drawings are to be read, where of a face only other views are."""
    learning_rate: float = 5e-3
    """Muon's, for matrices; AdamW's is a fifth of it."""
    sharpness: float = 20.0
    """Factor of the squared distances, relative to the mean square of an embedding, in the choice of a token."""


class Eye(nn.Module):
    """Vision tower and projector of a LLaVA, under their names in it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision_tower, self.multi_modal_projector = model.model.vision_tower, model.model.multi_modal_projector

    def forward(self, pixels: Tensor) -> Tensor:
        """Return what the language model reads in the places of images, [N, P, D]."""
        return self.multi_modal_projector(self.vision_tower(pixels).last_hidden_state[:, 1:])  # without the class token


@dataclass(frozen=True)
class Album:
    """N images and the tokens of their captions."""

    pixels: Tensor
    """[N, 3, H, W]."""
    tokens: Tensor
    """int [N, P]."""

    @classmethod
    def of(cls, encoder: Encoder, pages: Sequence[Page]) -> Album:
        """Return the images of pages."""
        pixels = torch.cat([encoder.pixels(page[0].images)["pixel_values"] for page in pages])
        return cls(pixels, torch.tensor([caption_tokens(encoder, page) for page in pages]))

    def __getitem__(self, chosen: Tensor) -> Album:
        return Album(self.pixels[chosen], self.tokens[chosen])

    def sample(self, count: int, rng: np.random.Generator) -> Album:
        """Return some of the images, at random."""
        return self[torch.from_numpy(rng.choice(len(self.tokens), min(count, len(self.tokens)), replace=False))]


class Captions:
    """Loss of what an eye makes of images, against the embeddings of their captions' tokens."""

    def __init__(self, embeddings: Tensor, tokens: Tensor, sharpness: float) -> None:
        self.known, self.size = tokens.unique(), float(embeddings[tokens.unique()].square().sum(-1).mean())
        self.table, self.sharpness = embeddings[self.known].detach(), sharpness

    def distances(self, features: Tensor) -> Tensor:
        """Return the squared distance to each known token's embedding over the mean square of these, [N, P, C]."""
        squares = features.square().sum(-1, keepdim=True) + self.table.square().sum(-1)
        return (squares - 2 * features @ self.table.T) / self.size

    def loss(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Return the cross-entropy of the nearest token, plus the distance to the right one.

        Squares alone shrink names towards their mean, and look well while they do.
        """
        distances, target = self.distances(features), torch.searchsorted(self.known, tokens)
        choice = nn.functional.cross_entropy((-self.sharpness * distances).flatten(0, 1), target.flatten())
        return choice + distances.gather(-1, target[..., None]).mean()


def learn_sight(
    eye: Eye, albums: tuple[Album, Album], embeddings: Tensor, practice: Practice, seed: int, progress: Progress
) -> None:
    """Train an eye on images of people and on drawings; `embeddings` are the language model's, [V, D].

    Raises:
        TrainingError: a loss is not finite.
    """
    rng, device = np.random.default_rng([seed, 21]), embeddings.device
    drawn = round(practice.drawn * practice.images)
    counts = (practice.images - drawn, drawn)
    known = torch.cat([album.tokens.flatten() for album in albums]).to(device)
    captions = Captions(embeddings, known, practice.sharpness)

    def loss() -> Tensor:
        batch = [album.sample(count, rng) for album, count in zip(albums, counts, strict=True)]
        pixels = augment(torch.cat([album.pixels for album in batch]), rng).to(device)
        return captions.loss(eye(pixels), torch.cat([album.tokens for album in batch]).to(device))

    eye.requires_grad_(True)
    descent = Descent(eye, practice.learning_rate, practice.steps, rise=20, fall=3, weight_decay=0.02)
    descent.run(loss, progress)
