"""Runs a method."""

from mmunlearner.unlearn.run import Trained, train_config, unlearn
from mmunlearner.unlearn.stopping import Level, Look

__all__ = ["Level", "Look", "Trained", "train_config", "unlearn"]
