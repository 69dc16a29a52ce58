"""Runs a method."""

from mmunlearner.unlearn.run import QUANTIZED, Trained, train_config, unlearn

__all__ = ["QUANTIZED", "Trained", "train_config", "unlearn"]
