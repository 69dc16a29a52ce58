"""Teaches models the people: the two that the package ships, and the oracles of folds."""
