"""Comparisons of the main model with the run's other models: with the controls and with the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmunlearner.evaluate.scores import noise_limit
from mmunlearner.report.criteria import MANY, Comparison, compare, describe_test
from mmunlearner.report.results import Model, Results
from mmunlearner.report.template import enumerated, plural, signed


@dataclass(frozen=True)
class Contrast:
    """Two models in all columns that both have a score in."""

    model: Model
    reference: Model
    columns: Sequence[Comparison]

    @property
    def better(self) -> list[Comparison]:
        """Columns in which the model is closer to the aim beyond noise."""
        return [c for c in self.columns if c.gain > 0 and c.beyond_noise(len(self.columns))]

    @property
    def worse(self) -> list[Comparison]:
        """Columns in which the model is further from the aim beyond noise."""
        return [c for c in self.columns if c.gain < 0 and c.beyond_noise(len(self.columns))]

    @property
    def hidden(self) -> list[Comparison]:
        """Columns in which a difference is within noise only because there are so few entities."""
        return [c for c in self.columns if c.lacks_entities(len(self.columns))]

    @property
    def too_few(self) -> str:
        """`: 6 entities are too few` where that is why nothing can be measured; else empty."""
        if not self.hidden:
            return ""
        fewest = min(c.clusters for c in self.hidden)
        return f": {fewest} entities are too few" if fewest > 1 else ": one entity is too few"

    @property
    def text(self) -> str:
        """All columns with a measurable difference; where there is none, why."""
        if not self.columns:
            return f"{self.model.title} and {self.reference.title} have no column in common."
        if not self.better and not self.worse:
            return (
                f"Nothing measurable{self.too_few}. In none of {plural(len(self.columns), 'column')} is "
                f"{self.model.title} closer to the aim than {self.reference.title}, or further from it, beyond noise "
                f"({describe_test(self.columns)}).{self._remedy}"
            )
        parts = [f"Better in {_with_points(self.better)}"] if self.better else []
        parts += [f"{'worse' if self.better else 'Worse'} in {_with_points(self.worse)}"] if self.worse else []
        level = len(self.columns) - len(self.better) - len(self.worse)
        return "; ".join(parts) + (f"; no measurable difference in the other {level}." if level else ".")

    @property
    def _remedy(self) -> str:
        """Say which differences would count with more entities."""
        if not self.hidden:
            return ""
        fewest = min(c.clusters for c in self.hidden)
        # Few entities estimate their own noise poorly, for which Student's t asks for more.
        needed, enough = (noise_limit(len(self.columns), entities) for entities in (fewest, MANY))
        few = f"with {fewest} entities it takes {needed:.1f}" if fewest > 1 else "one entity never shows a difference"
        names = _with_points(self.hidden)
        return f" With many entities, where {enough:.1f} standard errors are enough, {names} would count; {few}."


def _with_points(comparisons: Sequence[Comparison]) -> str:
    return enumerated([f"{c.column.title} ({signed(c.difference)} points)" for c in comparisons])


def contrast(results: Results, model: Model, reference: Model) -> Contrast:
    """Compare two models in all columns that both have."""
    return Contrast(model, reference, compare(results, model, reference))


def against_baselines(results: Results, main: Model) -> list[Contrast]:
    """Compare the main model with each baseline."""
    return [contrast(results, main, model) for model in results.models if model.role == "baseline" and model != main]


def against_random_masks(results: Results, main: Model) -> list[Contrast]:
    """Compare each control with a random mask with the variant whose mask differs in nothing else, the main one first.

    Where no variant has such a mask, it is compared with the main model.
    """
    contrasts = []
    for control in results.models:
        if control.role == "control" and control.mask_config is not None and control.mask_config.random:
            # The effect of saliency alone shows only against the variant whose mask has the same parts and options.
            twin = replace(control.mask_config, random=False)
            variants = [model for model in results.models if model.role == "method" and model.mask_config == twin]
            variant = main if main in variants or not variants else variants[0]
            contrasts.append(contrast(results, variant, control))
    return sorted(contrasts, key=lambda contrast: contrast.model is not main)


def against_other_controls(results: Results, main: Model) -> list[Contrast]:
    """Compare the main model with each control whose mask is not random."""
    controls = [model for model in results.models if model.role == "control"]
    return [contrast(results, main, c) for c in controls if not (c.mask_config and c.mask_config.random)]
