"""Runs a method."""

from mmunlearner.unlearn.early_stopping import Level, Look
from mmunlearner.unlearn.unlearn import Trained, train_config, unlearn

__all__ = ["Level", "Look", "Trained", "train_config", "unlearn"]
