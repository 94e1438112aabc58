"""The API reference. Build it with ``sphinx-build -W docs/reference docs/reference/_build`` (extra ``docs``)."""

import mocodis_monai

project = "MoCoDis"
author = copyright = "MoCoDis contributors"
version = release = mocodis_monai.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
# The names that users import: what a package's `__all__` lists, where it is listed.
autodoc_default_options = {"members": True, "imported-members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # the fields of a NamedTuple stand in its docstring
autodoc_class_signature = "mixed"

html_theme = "furo"
html_title = "MoCoDis API reference"
