"""Unlearning losses: one short file per method."""

from mmunlearner.methods import finetune, ga, kl_min, mmunlearner, npo
from mmunlearner.methods.method import BoundTerm, Method, Reference, Term, resolve

METHODS = {
    method.name: method
    for method in (
        ga.GA,
        ga.GA_DIFF,
        kl_min.METHOD,
        npo.METHOD,
        mmunlearner.METHOD,
        mmunlearner.BOUNDED,
        finetune.METHOD,
    )
}

__all__ = ["METHODS", "BoundTerm", "Method", "Reference", "Term", "resolve"]
