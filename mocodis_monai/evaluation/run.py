"""Run methods over cells of cases, and keep the pictures that a reader wants to see."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr
from tqdm import tqdm

from mocodis_monai import __version__
from mocodis_monai.data.intensity import foreground_mask, foreground_scale
from mocodis_monai.errors import InputError
from mocodis_monai.evaluation.cases import NO_MOTION, Alignment, Case, Cell, check_cell
from mocodis_monai.evaluation.grid import trained_on
from mocodis_monai.evaluation.measures import Row, measure
from mocodis_monai.evaluation.methods import Method, Output, Uncorrected, correct_with

__all__ = ["Evaluation", "Example", "Pair", "evaluate_cells"]


class Example(NamedTuple):
    """A case to look at: slices ``(H, W)`` float32 on the scale on which the scan's bright end is one.

    Attributes:
        rank: "best", "median" or "worst" of its cell by the gain in SSIM (without a target: in AES), or the "only" one.
        before, after: lines of the table for the scan and for the first method.
        moved, corrected, target, uncertainty: the middle slice; target and uncertainty may be None.
        pixel_mm: size of a pixel along H and W.
        motion: metadata of the simulator.
        orientation: letters of the direction that H and W grow toward.
    """

    cell: Cell
    rank: str
    before: Row
    after: Row
    moved: np.ndarray
    corrected: np.ndarray
    target: np.ndarray | None
    uncertainty: np.ndarray | None
    pixel_mm: tuple[float, float]
    motion: dict[str, Any]
    orientation: str

    @property
    def gain(self) -> float:
        """What the first method gains, by which the rank goes."""
        return _gain(self.before, self.after)


class Pair(NamedTuple):
    """A moved scan with the still one that was registered to it: lines of the table, and how well they fit.

    Attributes:
        before, after: the scan itself, and the first method.
        alignment: what the registration did.
    """

    before: Row
    after: Row
    alignment: Alignment


class Evaluation(NamedTuple):
    """All that a report is made of.

    Attributes:
        rows: every method on every case; the uncorrected scan is the method "uncorrected".
        examples: best, median and worst case of each cell.
        methods: names in the order of the table; the second is the one that the report is about.
        about: what was run, for the reader: weights, version, what training has seen, seconds.
        rank_correlations: Spearman correlation of the uncertainty with the true error, for each example that has both.
        pairs: every moved scan with a registered still one.
    """

    rows: list[Row]
    examples: list[Example]
    methods: list[str]
    about: dict[str, Any]
    rank_correlations: list[float]
    pairs: list[Pair]


def evaluate_cells(
    cells: Iterable[tuple[Cell, Iterable[Case]]],
    methods: Sequence[Method],
    about: dict[str, Any] | None = None,
    progress: bool = False,
    examples: bool = True,
) -> Evaluation:
    """Measure each method on each case; one case is in memory at a time.

    Args:
        cells: each cell with its cases, which are taken one by one: only one is in memory.
        methods: what is compared with the uncorrected scan; the report is about the first.
        about: entries for the report's head, such as the name of the weights; ``released=True`` says that they are the
            released ones, without which the report claims nothing of what training has seen.
        progress: show a progress bar.
        examples: keep pictures.

    Raises:
        InputError: there is no method, two have one name, one has no ``num_parameters``, or the tables have no place
            for a cell (all before the first case, of a list of cells; else when the cell comes); two cases have one
            name (when the second comes); a method gives something else than a finite image of the shape of the scan;
            or there is no case.
    """
    start = time.perf_counter()
    everything: list[Method] = [Uncorrected(), *methods]
    _check_methods(everything)
    for cell, _ in cells if isinstance(cells, Sequence) else ():
        check_cell(cell)
    rows: list[Row] = []
    kept: list[Example] = []
    pairs: list[Pair] = []
    looked_for: list[str] = []
    seen: dict[str, Cell] = {}
    bar = tqdm(desc="evaluating", unit="case", disable=not progress)
    for cell, found in cells:
        check_cell(cell)
        looked_for.append(cell.label)
        bar.set_postfix_str(looked_for[-1])
        drafts: list[Example] = []
        for case in found:
            _check_case(case, seen)
            measured = _measured(case, everything)
            rows += measured.rows
            drafts += [_example(case, measured)] if examples else []
            pairs += [] if case.alignment is None else [Pair(measured.rows[0], measured.rows[1], case.alignment)]
            bar.update()
        kept += _worth_a_look(drafts)
    bar.close()
    if not rows:
        raise InputError(_nothing(looked_for, str((about or {}).get("data", "evaluation"))))
    facts = {
        "version": __version__,
        "torch": torch.__version__,
        "trained_on": trained_on()._asdict(),
        "parameters": {method.name: method.num_parameters for method in methods},
        **(about or {}),
        "seconds": time.perf_counter() - start,
    }
    return Evaluation(rows, kept, [m.name for m in everything], facts, _rank_correlations(kept), pairs)


class _Measured(NamedTuple):
    """A case: a line of the table for each method, the uncorrected scan first, and what the first real one gave."""

    rows: list[Row]
    output: Output


def _measured(case: Case, methods: Sequence[Method]) -> _Measured:
    outputs = [correct_with(method, case) for method in methods]
    rows = [measure(case, method.name, output) for method, output in zip(methods, outputs, strict=True)]
    return _Measured(rows, outputs[1])


def _check_methods(methods: Sequence[Method]) -> None:
    """Refuse before the work what could not be told at its end."""
    if len(methods) < 2:
        raise InputError("methods: got none beside the uncorrected scan. Give at least one.")
    for method in methods:
        if not isinstance(getattr(method, "num_parameters", None), int) or "|" in method.name:
            raise InputError(
                f"method {method.name!r}: wanted is a name without '|', which parts the columns of tables, and the "
                "attribute num_parameters, a whole number (0 where there are none). Mend the method."
            )
    name, count = Counter(method.name for method in methods).most_common(1)[0]
    if count > 1:
        raise InputError(
            f"{count} methods are called {name!r}; each needs a name of its own, other than {Uncorrected.name!r}. "
            "Rename one."
        )


def _check_case(case: Case, seen: dict[str, Cell]) -> None:
    """Refuse a name that was ``seen`` before; else note it there."""
    if case.name in seen:
        cells = " and ".join(cell.label for cell in dict.fromkeys((seen[case.name], case.cell)))
        raise InputError(
            f"two cases are called {case.name!r} (in {cells}); methods are compared case by case, by this name. Give "
            "each case a name of its own, or leave one out."
        )
    seen[case.name] = case.cell


def _nothing(looked_for: list[str], data: str) -> str:
    """What to say where there was no case."""
    if looked_for:
        return f"{data}: no scan could be measured of {', '.join(looked_for)}; the warnings above say why."
    return (
        f"{data}: no cell came, and so no case. In the split 'test' of a manifest cells_of_scans looks for moved scans "
        "(read_scans(...).real), cells_of_still_scans for still scans of subjects without a moved one (.still): give a "
        "manifest that has them, or the cells of both."
    )


def _worth_a_look(examples: list[Example]) -> list[Example]:
    """Best, median and worst of a cell by what the first method gains; fewer where there are fewer cases."""
    ordered = sorted(examples, key=lambda example: example.gain, reverse=True)
    if len(ordered) < 3:
        few = ("only",) if len(ordered) == 1 else ("best", "worst")
        return [example._replace(rank=rank) for rank, example in zip(few, ordered)]
    ranks = {"best": ordered[0], "median": ordered[len(ordered) // 2], "worst": ordered[-1]}
    return [example._replace(rank=rank) for rank, example in ranks.items()]


def _gain(before: Row, after: Row) -> float:
    gain = after.ssim - before.ssim
    return gain if np.isfinite(gain) else after.aes - before.aes


def _example(case: Case, measured: _Measured) -> Example:
    """The case with its first correction, without a rank yet; slices only, so that the volumes can go."""
    before, after, *_ = measured.rows
    output = measured.output
    cut = partial(_middle, slice_axis=case.slice_axis, scale=1 / foreground_scale(case.moved))
    kept = [axis for axis in range(3) if axis != case.slice_axis]
    return Example(
        cell=case.cell,
        rank="",
        before=before,
        after=after,
        moved=cut(case.moved),
        corrected=cut(output.image),
        target=None if case.target is None else cut(case.target),
        uncertainty=None if output.uncertainty is None else cut(output.uncertainty),
        pixel_mm=(case.spacing_mm[kept[0]], case.spacing_mm[kept[1]]),
        motion=case.motion,
        orientation="".join(case.orientation[axis] for axis in kept),
    )


def _middle(volume: torch.Tensor, slice_axis: int, scale: float) -> np.ndarray:
    return (volume.select(slice_axis, volume.shape[slice_axis] // 2).float() * scale).numpy()


def _rank_correlations(examples: list[Example]) -> list[float]:
    """Does the map of uncertainty rank the errors that are really there?"""
    found = []
    for example in examples:
        still = example.cell.severity == NO_MOTION  # what errors it has are rounding
        if still or example.target is None or example.uncertainty is None:
            continue
        inside = foreground_mask(torch.from_numpy(example.target)[None])[0].numpy()
        error = np.abs(example.corrected - example.target)[inside]
        if error.any() and example.uncertainty[inside].any():
            found.append(float(spearmanr(example.uncertainty[inside], error).statistic))
    return found
