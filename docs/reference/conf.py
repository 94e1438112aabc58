"""The API reference: ``sphinx-build -W docs/reference docs/reference/_build``, with the extra ``docs`` installed."""

import mocodis_monai

project = "MoCoDis"
author = copyright = "MoCoDis contributors"
version = release = mocodis_monai.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
templates_path = ["_templates"]
exclude_patterns = ["_build"]
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes of a NamedTuple are not described twice

html_theme = "furo"
html_title = "MoCoDis API reference"
html_show_sphinx = False
