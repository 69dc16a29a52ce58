"""`python -m tools.site`: build the documentation as a site, or renew the run whose report it shows."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from sphinx.cmd.build import build_main

from tools.site.check import broken_links
from tools.site.demo import store
from tools.site.stage import stage

REPOSITORY = Path(__file__).resolve().parents[2]


def build(out: Path) -> int:
    """Build the site at `out`, strictly; return an exit code."""
    shutil.rmtree(out, ignore_errors=True)  # pages that are no longer made must not stay
    source = stage(REPOSITORY, out.with_name(f"{out.name}-source"))
    # One broken page must not hide the others: all warnings are shown, and then they are errors.
    code = build_main(["-q", "-W", "--keep-going", "-E", "-c", str(Path(__file__).parent), str(source), str(out)])
    broken = broken_links(out)
    for link in broken:
        print(f"broken link: {link}", file=sys.stderr)
    print(f"site: {out / 'index.html'}")
    return code or bool(broken)


parser = argparse.ArgumentParser(prog="python -m tools.site", description=__doc__)
parser.add_argument("--out", type=Path, default=Path("build/site"), help="folder of the site")
parser.add_argument("--demo", type=Path, help="a finished run: store what its report is made of in docs/demo")
arguments = parser.parse_args()
if arguments.demo:
    store(arguments.demo, REPOSITORY / "docs" / "demo")
sys.exit(build(arguments.out))
