"""Runs a method."""

from mmunlearner.unlearn.run import Trained, train_config, unlearn

__all__ = ["Trained", "train_config", "unlearn"]
