"""The API reference. Build it with ``sphinx-build -W docs/reference docs/reference/_build`` (extra ``docs``)."""

import re
from typing import Any

import mocodis_monai

project = "MoCoDis"
author = copyright = "MoCoDis contributors"
version = release = mocodis_monai.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
# The pages of packages add `imported-members`: what `__all__` lists, under the name that users import.
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # the fields of a NamedTuple stand in its docstring
autodoc_class_signature = "mixed"

html_theme = "furo"
html_title = "MoCoDis API reference"

# Shapes such as (B, 1, *spatial) stand in the docstrings as in code: their star does not begin an emphasis, as it would
# in reStructuredText. Literals are left as they are.
_STAR = re.compile(r"(``.*?``)|\*(?=\w+(?![\w*]))")


def _escape_stars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [_STAR.sub(lambda found: found[1] or r"\*", line) for line in lines]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _escape_stars, priority=400)  # before napoleon
