"""Configuration of Sphinx; `python -m tools.site` calls it."""

from __future__ import annotations

from mmunlearner import __version__
from tools.site.docstrings import translate

project = "MMUnlearner"
release = version = __version__
copyright = "the MMUnlearner maintainers"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["run", "extra"]
html_theme = "furo"
html_title = f"MMUnlearner {__version__}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
# Rooms may use the same name for two things (a cell of a table that is read, and of one that is written).
suppress_warnings = ["ref.python"]


def setup(app) -> None:
    """Connect the translation of docstrings."""
    app.connect("autodoc-process-docstring", translate)
    app.config.html_extra_path = [str(app.srcdir / "extra")]
