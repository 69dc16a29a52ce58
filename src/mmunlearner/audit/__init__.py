"""Attacks on an unlearned model, each beside the same attack on the oracle: is it gone, or only hidden?"""

from mmunlearner.audit.relearning import Attack, Attacker, Curve, Measurement, Return, halves, relearn, returned
from mmunlearner.audit.rounding import round_to_nearest, rounded

__all__ = [
    "Attack",
    "Attacker",
    "Curve",
    "Measurement",
    "Return",
    "halves",
    "relearn",
    "returned",
    "round_to_nearest",
    "rounded",
]
