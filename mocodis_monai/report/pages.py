"""HTML pages that need no other file, from the templates of this folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

__all__ = ["page_template"]


def page_template(name: str, filters: Mapping[str, Callable[..., Any]] | None = None) -> Template:
    """The template of a page. What it shows is escaped, and what it is not given is an error.

    Args:
        name: of a file of this folder, such as ``"run.html.j2"``.
        filters: what the template applies to values, by name.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters or {})
    return environment.get_template(name)
