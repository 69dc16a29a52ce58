"""One loader per benchmark: `load(root, ...) -> Splits`."""
