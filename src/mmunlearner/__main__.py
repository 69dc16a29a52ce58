"""`python -m mmunlearner` is the command `mmunlearner`."""

from mmunlearner.cli import main

if __name__ == "__main__":
    main()
