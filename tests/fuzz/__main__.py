"""The long run: `PYTHONPATH=tests python -m fuzz --inputs 20000 --seed 0`, or `make fuzz`."""

from __future__ import annotations

import conftest  # isort: skip  # noqa: F401  the environment of tests, before torch is imported

import argparse
import tempfile
import time
from collections import Counter
from math import ceil
from pathlib import Path
from random import Random

from fuzz.corpora import READERS
from fuzz.reader import Corpus, Outcome, Reader


def fuzz(reader: Reader, seed: int, numbers: range) -> tuple[Counter[str], dict[str, tuple[int, Outcome]]]:
    """Try a reader on mutated files; return the counts of outcomes, and one example of each defect with its number."""
    counts, defects = Counter[str](), dict[str, tuple[int, Outcome]]()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        corpus = Corpus(reader, Path(folder) / "corpus")
        for number in numbers:
            outcome = corpus.attempt(Random(f"{seed} {reader.name} {number}"))
            counts[outcome.kind] += 1
            if outcome.kind == "defect" and outcome.place not in defects:
                defects[outcome.place] = number, outcome
    return counts, defects


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="mutated files of all readers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", default="", help="only readers with this in their name")
    parser.add_argument("--number", type=int, help="only the input of this number, as a defect names it")
    options = parser.parse_args()
    readers = [reader for name, reader in READERS.items() if options.reader in name]
    each = options.inputs / sum(reader.share for reader in readers)
    row = "{:<32}{:>8}{:>11}{:>10}{:>9}{:>9}"
    print(row.format("reader", "inputs", "successes", "refusals", "defects", "ms each"), flush=True)
    total = Counter[str]()
    for reader in readers:
        first = options.number or 0
        numbers = range(first, first + ceil(each * reader.share) if options.number is None else first + 1)
        start = time.monotonic()
        counts, defects = fuzz(reader, options.seed, numbers)
        milliseconds = 1000 * (time.monotonic() - start) / len(numbers)
        total += counts
        kinds = [counts[kind] for kind in ("success", "refusal", "defect")]
        print(row.format(reader.name, counts.total(), *kinds, f"{milliseconds:.0f}"), flush=True)
        for place, (number, outcome) in defects.items():
            print(f"  number {number}: {place}\n    " + outcome.text.replace("\n", "\n    "), flush=True)
    print(row.format("all", total.total(), total["success"], total["refusal"], total["defect"], ""))
    return 1 if total["defect"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
