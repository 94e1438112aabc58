"""A run as one HTML page that needs no other file: a row per scan with its picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from PIL import Image

from mocodis_monai import __version__
from mocodis_monai.batch import Outcome, kinds_of
from mocodis_monai.data.files import staged

__all__ = ["save_run_report"]

PICTURE_WIDTH = 760
_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>MoCoDis report</title><style>
body { background: #101114; color: #e8e8e8; font: 15px sans-serif; margin: 2em; }
table { border-collapse: collapse; } th, td { padding: .5em 1em; text-align: left; vertical-align: top; }
tr { border-top: 1px solid #444; } td.number { text-align: right; } tr.failed td { color: #ff9d7f; }
td.name { overflow-wrap: anywhere; min-width: 11em; max-width: 20em; } img { max-width: 100%; height: auto; }
</style></head><body>
"""
_COLUMNS = ("scan", "result", "motion score, mm", "gate", "log-likelihood, nats", "time, s", "picture")


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
    failed = sum(outcome.failed for outcome in scans)
    with staged(path) as (temporary,), temporary.open("w", encoding="utf-8", errors="backslashreplace") as page:
        page.write(_HEAD)
        count = "1 scan" if len(scans) == 1 else f"{len(scans)} scans"
        page.write(f"<h1>Motion correction of {count}, {failed} failed</h1>\n")
        page.write(f"<p>MoCoDis {__version__}, {datetime.now():%Y-%m-%d %H:%M}. Research use only: ")
        page.write("not a medical device. Never read a corrected image without the original beside it.</p>\n<table>")
        page.write("<tr>" + "".join(f"<th>{name}</th>" for name in _COLUMNS) + "</tr>\n")
        for outcome in sorted(scans, key=lambda outcome: outcome.scan.name):
            page.write(_row(outcome, folder))
        page.write("</table>\n")
        if others:
            page.write(_left_out(others))
        page.write("</body></html>\n")


def _left_out(others: Sequence[Outcome]) -> str:
    """What is no scan, in a line that opens to the reasons."""
    reasons = "".join(f"<li>{escape(reason)}</li>\n" for reason in sorted(outcome.reason for outcome in others))
    summary = f"{len(others)} not a scan: {escape(kinds_of(others))}"
    return f"<details><summary>{summary}</summary><ul>\n{reasons}</ul></details>\n"


def _row(outcome: Outcome, folder: Path) -> str:
    record = outcome.record
    name = f'<td class="name">{escape(outcome.scan.name)}</td>'
    if outcome.failed:
        return f'<tr class="failed">{name}<td colspan="6">failed: {escape(outcome.reason)}</td></tr>\n'
    cells = [f"<td>{escape(outcome.result)}</td>"]
    for key in ("motion_score_mm", "gate", "log_likelihood_nats", "time_s"):
        value = record.get(key)
        cells.append(f'<td class="number">{"" if value is None else f"{value:.2f}"}</td>')
    picture = f'<img src="{_embedded(folder / record["picture"])}">' if record.get("picture") else ""
    return f"<tr>{name}{''.join(cells)}<td>{picture}</td></tr>\n"


def _embedded(picture: Path) -> str:
    """A picture as a small JPEG in the page itself."""
    with Image.open(picture) as image:
        small = image.convert("RGB")
    small.thumbnail((PICTURE_WIDTH, 2 * PICTURE_WIDTH))
    content = io.BytesIO()
    small.save(content, "jpeg", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
