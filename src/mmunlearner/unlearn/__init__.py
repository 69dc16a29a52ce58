"""Unlearning: a job (model, method, mask, adapter, budget) is trained or edited into an unlearned model."""

from mmunlearner.unlearn.adapters import Adapter, Lora, Sine, make_adapter
from mmunlearner.unlearn.early_stopping import StopCheck, StopTarget
from mmunlearner.unlearn.job import Job, planned_budget, train_config
from mmunlearner.unlearn.unlearn import Trained, run_job, unlearn

__all__ = [
    "Adapter",
    "Job",
    "Lora",
    "Sine",
    "StopCheck",
    "StopTarget",
    "Trained",
    "make_adapter",
    "planned_budget",
    "run_job",
    "train_config",
    "unlearn",
]
