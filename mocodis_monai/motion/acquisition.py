"""Which phase-encode line is acquired in which shot."""

from __future__ import annotations

import torch
from torch import Tensor

LINE_ORDERS = ("linear", "interleaved")


def assign_shots(num_lines: int, num_shots: int, line_order: str) -> Tensor:
    """Shot number of every phase-encode line.

    Lines are numbered as in centred k-space, shots in the order of time. ``linear`` gives each shot a
    contiguous block of lines from one edge of k-space to the other; ``interleaved`` gives shot s the lines s,
    s + num_shots, ...

    Args:
        num_lines: number of phase-encode lines.
        num_shots: number of shots, from 1 to ``num_lines``.
        line_order: one of :data:`LINE_ORDERS`.

    Returns:
        ``(lines,)`` long, each shot at least once.

    Raises:
        ValueError: for more shots than lines, fewer than one shot, or an unknown order.
    """
    if not 1 <= num_shots <= num_lines:
        raise ValueError(
            f"num_shots: got {num_shots} for {num_lines} phase-encode lines; allowed is 1 to {num_lines}, "
            "since every shot acquires at least one line. Lower num_shots or choose a longer "
            "phase_encode_axis."
        )
    line = torch.arange(num_lines)
    if line_order == "linear":
        return line * num_shots // num_lines
    if line_order == "interleaved":
        return line % num_shots
    raise ValueError(f"line_order: got {line_order!r}; allowed is one of {LINE_ORDERS}. Choose one of these.")
