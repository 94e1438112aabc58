"""The architecture: imports run one way, motion knows no MONAI, files stay short, packages are declared."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mocodis_monai"
# The order of the layout, from the bottom up; a module may import its own layer and those before it.
# What stands on one line is one layer.
LAYERS = [
    {"errors", "precision", "distributed"},
    {"motion"},
    {"data"},
    {"transforms"},
    {"networks"},
    {"release"},
    {"sampling", "parallel", "losses", "optimizers", "inferers", "metrics", "engines", "handlers"},
    {"evaluation", "report", "gallery", "simulation"},
    {"averaging", "correct"},
    {"export", "label_app"},
    {"cli"},
]
# The same inside ``correct``.
CORRECT = [{"ledger"}, {"scans"}, {"correction"}, {"batch"}, {"processes", "console", "run_report"}, {"run"}]
MODULES = sorted(p for p in PACKAGE.rglob("*.py"))
MAX_LINES = 320


def layer(part: str) -> int:
    found = [i for i, names in enumerate(LAYERS) if part in names]
    assert found, f"mocodis_monai.{part} has no place in the order of imports; add it to LAYERS"
    return found[0]


def imported(path: Path) -> set[str]:
    """Dotted names that a module imports anywhere in it, relative imports made absolute."""
    names: set[str] = set()
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def own_parts(path: Path) -> set[str]:
    """The layers' names that a module imports, such as ``motion`` for ``mocodis_monai.motion.fourier``."""
    parts = {name.split(".")[1] for name in imported(path) if name.startswith("mocodis_monai.")}
    return parts - {"__version__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    own = part_of(path)
    if own == "__init__":
        assert not imported(path), "the package imports nothing, so that the command's --help is quick"
        return
    upward = {part for part in own_parts(path) if layer(part) > layer(own)}
    assert not upward, f"{own} stands below {upward}"


def test_the_modules_of_a_correction_import_one_way():
    below: set[str] = set()
    for names in CORRECT:
        for name in names:
            used = imported(PACKAGE / "correct" / f"{name}.py")
            parts = {dotted.split(".")[2] for dotted in used if dotted.startswith("mocodis_monai.correct.")}
            assert parts <= below, f"{name} may import {below}"
        below |= names
    assert below == {path.stem for path in (PACKAGE / "correct").glob("*.py")} - {"__init__"}


def test_no_parts_need_each_other_in_a_circle():
    needs: dict[str, set[str]] = {}
    for path in MODULES:
        needs.setdefault(part_of(path), set()).update(own_parts(path) - {part_of(path)})
    order = list(TopologicalSorter(needs).static_order())  # raises CycleError, which names the circle
    assert order.index("release") < order.index("evaluation") < order.index("report")


@pytest.mark.parametrize("path", sorted((PACKAGE / "motion").glob("*.py")), ids=lambda p: p.name)
def test_motion_imports_neither_monai_nor_anything_of_ours(path):
    tops = {name.split(".")[0] for name in imported(path)}
    assert "monai" not in tops
    assert own_parts(path) <= {"motion"}


def test_motion_runs_without_monai():
    code = "import sys; sys.modules['monai'] = None; import mocodis_monai.motion"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "tests").rglob("*.py"))], ids=lambda p: p.name)
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES, "split the file by what it is about"


def test_every_subpackage_is_declared():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    declared = set(config["options"]["packages"].split()) - {"mocodis_monai.bundle"}
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in PACKAGE.rglob("__init__.py")}
    assert declared == found
