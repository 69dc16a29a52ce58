"""Saliency of weights: squared gradients, and the mask that compares them."""

from mmunlearner.saliency.compute import (
    DataSet,
    FisherPass,
    compute,
    fisher_passes,
    select,
    statistics,
    threshold,
)
from mmunlearner.saliency.fisher import Fisher, fisher_groups, load_fisher, squared_gradients
from mmunlearner.saliency.mask import Mask, load, pack_bits, unpack_bits

__all__ = [
    "DataSet",
    "Fisher",
    "FisherPass",
    "Mask",
    "compute",
    "fisher_groups",
    "fisher_passes",
    "load",
    "load_fisher",
    "pack_bits",
    "select",
    "squared_gradients",
    "statistics",
    "threshold",
    "unpack_bits",
]
