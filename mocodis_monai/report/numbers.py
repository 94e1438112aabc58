"""How reports write numbers; what does not exist, None or NaN, leaves its place empty."""

from __future__ import annotations

import math

__all__ = ["number", "percent"]


def number(value: float | None, decimals: int = 3) -> str:
    """A number with so many decimals."""
    return f"{value:.{decimals}f}" if _exists(value) else ""


def percent(share: float | None) -> str:
    """A share between 0 and 1 in whole per cent."""
    return f"{share:.0%}" if _exists(share) else ""


def _exists(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
