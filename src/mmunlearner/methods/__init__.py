"""Unlearning methods: one short file each."""

from mmunlearner.methods import dpo, finetune, ga, kl_min, manu, mmunlearner, npo, rmu
from mmunlearner.methods.method import BoundTerm, Edit, Method, Needs, Options, Reference, Term, TermName, resolve

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
        finetune.METHOD,
    )
}

__all__ = [
    "METHODS", "BoundTerm", "Edit", "Method", "Needs", "Options", "Reference", "Term", "TermName", "resolve"
]  # fmt: skip
