"""A run from its recipe to its report, and what it would take."""
