"""Which weights matter for what: squared-gradient accumulators, and the mask as an artefact."""

from mmunlearner.saliency.compute import compute, cut, select, statistics
from mmunlearner.saliency.fisher import Fisher, squared_gradients, units
from mmunlearner.saliency.mask import Mask, load, pack, unpack
from mmunlearner.saliency.passes import DataSet, Pass, keep, kept, passes

__all__ = [
    "DataSet",
    "Fisher",
    "Mask",
    "Pass",
    "compute",
    "cut",
    "keep",
    "kept",
    "load",
    "pack",
    "passes",
    "select",
    "squared_gradients",
    "statistics",
    "units",
    "unpack",
]
