"""MMUnlearner: erase what a vision-language model knows of an entity's looks, keep what it knows in words."""

__version__ = "0.1.0"
