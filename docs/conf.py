"""The site that `make docs` builds of these pages, by Sphinx and MyST; nothing is fetched."""

from __future__ import annotations

import re
from typing import Any

from mmupt.version import __version__

project = "mmupt"
version = release = __version__
html_title = f"mmupt {release}"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4  # links to headings, as code hosts make them
html_theme = "furo"
html_copy_source = False
html_show_sourcelink = False
default_role = "code"  # names in docstrings, in single backticks
autodoc_typehints = "description"
autodoc_member_order = "bysource"


def setup(app: Any) -> None:
    app.connect("source-read", _recipes)
    app.connect("include-read", _from_here)


def _recipes(app: Any, name: str, source: list[str]) -> None:
    """The recipes' page lies beside the files that it tells of, and is `recipes.md` here."""
    source[0] = source[0].replace("](../recipes/README.md)", "](recipes.md)")


def _from_here(app: Any, path: Any, name: str, source: list[str]) -> None:
    source[0] = re.sub(r"\]\(([a-z0-9-]+\.yaml)\)", r"](../recipes/\1)", source[0])
