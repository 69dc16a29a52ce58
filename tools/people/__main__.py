"""`python -m tools.people --out FOLDER`: remake the two models that the package ships, in minutes on two cores."""

from pathlib import Path

from cyclopts import App

from tools.people.train import main

app = App(name="python -m tools.people")


@app.default
def remake(*, out: Path, seed: int = 0, forget: int = 15) -> None:
    """Remake the two models that the package ships, in minutes on two cores.

    Args:
        out: Folder for `vanilla`, which knows everybody, and `oracle`, which never saw the people to forget.
        seed: Seed of the training; the shipped models have 0.
        forget: Per cent of the people whose images the oracle does not see: 5, 10 or 15.
    """
    main(out, seed=seed, forget=forget)
    print(f"models: {out / 'vanilla'} and {out / 'oracle'}")


if __name__ == "__main__":
    app()
