"""Which weights matter for what: squared-gradient accumulators, and the mask as an artefact."""

from mmunlearner.saliency.compute import compute, select, statistics
from mmunlearner.saliency.gradients import Fisher, fisher, units
from mmunlearner.saliency.mask import Mask, load, pack, unpack

__all__ = ["Fisher", "Mask", "compute", "fisher", "load", "pack", "select", "statistics", "units", "unpack"]
