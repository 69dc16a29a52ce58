"""Style of all plots: colours that colour-blind readers can distinguish, and SVG that follows the dark mode."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

# Hues after Okabe and Ito. Each hex code occurs once, since CSS finds a colour by its code.
COLOURS: dict[str, tuple[str, str]] = {
    "ink": ("#1c2530", "#e6eaf0"),
    "muted": ("#616d7a", "#9ba7b4"),
    "grid": ("#e2e6eb", "#313a45"),
    "paper": ("#ffffff", "#161b22"),
    "vanilla": ("#7d8792", "#a9b3be"),
    "oracle": ("#00866b", "#42c9a6"),
    "baseline": ("#bf5309", "#f29a56"),
    "method": ("#0a68b0", "#5cb3f7"),
    "control": ("#97558f", "#d7a0cf"),
    "forget": ("#c2450f", "#f78e5b"),
    "retain": ("#1f6f9f", "#6fbbe6"),
    "target": ("#009a7b", "#2fb592"),
}
"""Name -> hex codes on white and on dark."""
FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it takes the page's font and can be searched
    "svg.hashsalt": "mmunlearner",  # ids are random without it, and the bytes of a report would differ
    "text.parse_math": False,  # a title may contain $
    "font.size": 11,
    "text.color": COLOURS["ink"][0],
    "axes.edgecolor": COLOURS["grid"][0],
    "axes.labelcolor": COLOURS["muted"][0],
    "axes.titlecolor": COLOURS["ink"][0],
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": COLOURS["grid"][0],
    "grid.linewidth": 0.8,
    "xtick.color": COLOURS["grid"][0],
    "ytick.color": COLOURS["grid"][0],
    "xtick.labelcolor": COLOURS["muted"][0],
    "ytick.labelcolor": COLOURS["muted"][0],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "legend.labelcolor": COLOURS["muted"][0],
}


def colour(name: str) -> str:
    """Return a colour's hex code on white; `dark_mode` swaps it on dark."""
    return COLOURS[name][0]


@contextmanager
def house_style() -> Iterator[None]:
    """Let matplotlib draw in the style of this package."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # The text is set by the browser, whose font may have what matplotlib's lacks.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


def canvas(width: float, height: float, **margins: float) -> Figure:
    """Return an empty figure; its size and margins are in CSS pixels (1 px = 1 pt of matplotlib)."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    figure.subplots_adjust(
        left=margins.get("left", 0.0) / width,
        bottom=margins.get("bottom", 0.0) / height,
        right=1 - margins.get("right", 0.0) / width,
        top=1 - margins.get("top", 0.0) / height,
    )
    # The page shows through, light or dark.
    figure.patch.set_alpha(0)
    return figure


def without_background(axes: Axes) -> Axes:
    """Make the axes transparent, and return them."""
    axes.patch.set_alpha(0)
    return axes


def dark_mode() -> str:
    """Return CSS rules that turn each light colour into its dark one."""
    # By the attribute alone: marks are drawn through <use>, where a selector with an ancestor finds nothing.
    return "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in COLOURS.values()
        for kind in ("fill", "stroke")
    )


_HOVER = "hover:"
FAINT = 0.001
"""Opacity of shapes that show a text only: a shape without a colour would not see the pointer."""


def hover(artist: Artist, text: str) -> None:
    """Let an artist show a text while the pointer is on it, in SVG."""
    artist.set_gid(_HOVER + text)


def hover_bands(axes: Axes, texts: Mapping[float, str], width: float, *, above: Axes | None = None) -> None:
    """Let every place of an axis show a text: invisible bands around x, `width` wide.

    Args:
        texts: x -> text.
        above: other axes over these, with the same x; the bands reach up to their top.
    """
    to_axes = axes.transAxes.inverted()
    top = to_axes.transform((above or axes).transAxes.transform((0, 1)))[1]
    for x, text in texts.items():
        style: dict[str, Any] = {"color": colour("ink"), "alpha": FAINT, "lw": 0, "clip_on": False, "zorder": 9}
        band = Rectangle((x - width / 2, 0), width, top, transform=axes.get_xaxis_transform(), **style)
        hover(axes.add_artist(band), text)


def inline_svg(figure: Figure, name: str, label: str) -> str:
    """Write a figure as SVG within an HTML page.

    `name` makes its ids unique on the page, `label` is its text for screen readers.
    """
    body = _body(_rendered(figure))
    # Several figures share the page: matplotlib gives all of them the same ids, and refers to them by #id.
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", body)
    # HTML needs no namespace. Without it the page contains no address at all.
    body = re.sub(r' xmlns(:\w+)?="[^"]*"', "", body)
    width = float(figure.get_figwidth()) * 72
    return _opened(body, f'class="plot" role="img" aria-label="{escape(label)}" style="max-width:{width:.0f}px"')


def standalone_svg(figure: Figure, label: str) -> str:
    """Write a figure as an SVG file with its own background, dark where the reader's system is."""
    body = _body(_rendered(figure))
    # The outline of letters in the colour of the background keeps them legible where a line passes behind.
    light, dark = (f".paper{{fill:{paper}}}text{{paint-order:stroke;stroke:{paper}}}" for paper in COLOURS["paper"])
    css = f"<style>text{{stroke-width:2.5px}}{light}@media (prefers-color-scheme:dark){{{dark}{dark_mode()}}}</style>"
    opened = _opened(body, f'role="img" aria-label="{escape(label)}"', sized=True)
    return opened.replace(">", f">{css}<rect class='paper' width='100%' height='100%' rx='10'/>", 1) + "\n"


def png(figure: Figure) -> bytes:
    """Write a figure as a PNG file on white, 2.5 pixels for each CSS pixel."""
    stream = io.BytesIO()
    with house_style():
        figure.patch.set_alpha(1)
        # No version: the same results give the same bytes.
        figure.savefig(stream, format="png", dpi=180, facecolor=colour("paper"), metadata={"Software": None})
        figure.patch.set_alpha(0)  # as `canvas` made it: the page shows through
    return stream.getvalue()


def _rendered(figure: Figure) -> str:
    stream = io.StringIO()
    # No date or version: the same results give the same bytes.
    nothing: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with house_style():
        figure.savefig(stream, format="svg", metadata=nothing)
    return stream.getvalue()


def _body(svg: str) -> str:
    """Return the SVG from <svg to </svg>, without comments, in the page's font, with the texts of `hover`."""
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # The page's fonts instead of matplotlib's list.
    svg = re.sub(r"(font: [^;\"]*?px) [^;\"]*", rf"\1 {FONT}", svg)
    # What is escaped in an attribute is escaped enough for a title.
    svg = re.sub(rf'<g id="{_HOVER}([^"]*)">', r'<g class="hover"><title>\1</title>', svg)
    return re.sub(r">\s+<", "><", svg).strip()


def _opened(svg: str, attributes: str, *, sized: bool = False) -> str:
    """Put attributes on the first tag of an SVG; unless `sized`, it takes the width that the page gives it."""
    start = svg.index(">")
    first = svg[:start].replace("<svg", f"<svg {attributes}", 1)
    first = re.sub(r' (width|height)="([\d.]+)pt"', r' \1="\2"' if sized else "", first)
    return first + svg[start:]
