"""Unlearning methods: one short file each."""

from mmunlearner.methods import dpo, finetune, ga, kl_min, manu, mmunlearner, npo, rmu, unlikelihood
from mmunlearner.methods.method import (
    BoundTerm,
    Budget,
    Edit,
    Method,
    Needs,
    Options,
    Reference,
    Relearning,
    Term,
    TermName,
    resolve,
)

METHODS = {
    method.name: method
    for method in (
        ga.GA,
        ga.GA_DIFF,
        kl_min.METHOD,
        npo.METHOD,
        dpo.METHOD,
        rmu.METHOD,
        manu.METHOD,
        mmunlearner.METHOD,
        mmunlearner.BOUNDED,
        unlikelihood.METHOD,
        finetune.METHOD,
    )
}

__all__ = [
    "METHODS", "BoundTerm", "Budget", "Edit", "Method", "Needs", "Options", "Reference", "Relearning", "Term",
    "TermName", "resolve",
]  # fmt: skip
