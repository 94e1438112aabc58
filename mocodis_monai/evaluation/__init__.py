"""Evidence: cases of simulated and real motion, methods that correct them, and what can be said of the outcome.

May hold: the grid, cases, methods, statistics. No drawing (``report``) and no training.
"""

from .cases import Case, Cell, Group
from .grid import Grid, builtin_grid, cells_of, trained_on
from .measures import METRICS, Row
from .methods import Blurred, CorrectorMethod, Method, Output, Uncorrected, corrector_methods
from .real_scans import cells_of_scans, read_scans
from .run import Evaluation, Example, evaluate_cells
from .statistics import Interval, Summary, paired_interval, summarise
from .still_scans import cells_of_still_scans
from .table import evaluate

__all__ = [
    "METRICS",
    "Blurred",
    "Case",
    "Cell",
    "CorrectorMethod",
    "Evaluation",
    "Example",
    "Grid",
    "Group",
    "Interval",
    "Method",
    "Output",
    "Row",
    "Summary",
    "Uncorrected",
    "builtin_grid",
    "cells_of",
    "cells_of_scans",
    "cells_of_still_scans",
    "corrector_methods",
    "evaluate",
    "evaluate_cells",
    "paired_interval",
    "read_scans",
    "summarise",
    "trained_on",
]
