"""The command line."""

from mmunlearner.cli.commands import app, main

__all__ = ["app", "main"]
