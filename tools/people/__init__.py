"""Remake the models that the package ships: `python -m tools.people`."""
