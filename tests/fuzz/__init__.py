"""Mutated files of every kind that the package reads: nothing but success or one line may come of them."""
