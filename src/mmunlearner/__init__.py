"""MMUnlearner: erase what a vision-language model knows of an entity's looks, keep what it knows in words."""

import logging

__version__ = "0.1.0"

# Where it is installed, it tells whoever loads a model which faster kernels it lacks, and at every product of 8 bits
# that it takes float16.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
