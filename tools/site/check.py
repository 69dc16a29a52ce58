"""Links of a built site: every page, file and anchor that a page points to is there."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """Links and anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what a tag points to or loads, and the anchor that it is."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
                if tag != "a":
                    self.loads.append(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)


def broken_links(site: Path) -> list[str]:
    """Return the links that lead nowhere within the site, each with its page, and those that load from elsewhere."""
    pages = {file.resolve(): _parse(file) for file in sorted(site.rglob("*.html"))}
    broken = []
    for file, page in pages.items():
        name = file.relative_to(site.resolve())
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                # A page may point to another site, which is not looked up, but needs none to be shown.
                broken += [f"{name}: loads {link}"] if url.netloc and link in page.loads else []
                continue
            target = (file.parent / unquote(url.path)).resolve() if url.path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (
                url.fragment and target in pages and unquote(url.fragment) not in pages[target].anchors
            ):
                broken.append(f"{name}: {link}")
    return broken


def _parse(file: Path) -> _Page:
    page = _Page()
    page.feed(file.read_text(encoding="utf-8"))
    return page
