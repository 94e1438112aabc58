"""A run as one HTML page that needs no other file: a row per scan with its picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from PIL import Image

from mocodis_monai import __version__
from mocodis_monai.correct.batch import NUMBERS, Outcome, kinds_of
from mocodis_monai.data.files import staged
from mocodis_monai.report.pages import page_template

__all__ = ["save_run_report"]

PICTURE_WIDTH = 760


def save_run_report(path: Path, outcomes: Sequence[Outcome], folder: Path) -> None:
    """Write the page.

    Args:
        path: the ``.html`` to make. An older one is replaced.
        outcomes: what became of the scans.
        folder: what the paths in their records are relative to.

    Raises:
        InputError: ``path`` cannot be written.
    """
    scans = [outcome for outcome in outcomes if outcome.is_scan]
    others = [outcome for outcome in outcomes if not outcome.is_scan]
    page = page_template("run.html.j2").stream(  # a row at a time: thousands of pictures do not fit into memory
        version=__version__,
        time=f"{datetime.now():%Y-%m-%d %H:%M}",
        columns=[column.title for column in NUMBERS],
        scans=sorted(scans, key=lambda outcome: outcome.scan.name),
        failed=sum(outcome.failed for outcome in scans),
        picture=lambda outcome: _embedded(folder / outcome.record["picture"]),
        others=sorted(outcome.reason for outcome in others),
        kinds=kinds_of(others),
    )
    with staged(path) as (temporary,):
        page.dump(str(temporary), "utf-8", "backslashreplace")


def _embedded(picture: Path) -> str:
    """A picture as a small JPEG in the page itself."""
    with Image.open(picture) as image:
        small = image.convert("RGB")
    small.thumbnail((PICTURE_WIDTH, 2 * PICTURE_WIDTH))
    content = io.BytesIO()
    small.save(content, "jpeg", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
