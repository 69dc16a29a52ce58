"""Runs a method."""

from mmunlearner.unlearn.run import Trained, clean, train_config, unlearn

__all__ = ["Trained", "clean", "train_config", "unlearn"]
