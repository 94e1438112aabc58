"""Real MR volumes that ship inside installable packages; nothing is downloaded. See data_manifests/."""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

NILEARN_NAME = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
COLIN27_PATH = Path("/usr/share/mricron/templates/ch2.nii.gz")


class TissuePaths(NamedTuple):
    """Probability maps of ICBM152 on the grid of its T1 image."""

    grey_matter: Path
    white_matter: Path


def icbm152_t1_path() -> Path:
    """The ICBM152 2009a T1 template, without skull, 1 mm. For training. Raises FileNotFoundError."""
    return _nilearn_path("t1")


def icbm152_tissue_paths() -> TissuePaths:
    """The grey and white matter maps of ICBM152 2009a. Raises FileNotFoundError."""
    return TissuePaths(_nilearn_path("gm"), _nilearn_path("wm"))


def colin27_path() -> Path:
    """The Colin27 T1 average, with skull, 1 mm. For testing only. Raises FileNotFoundError."""
    if not COLIN27_PATH.is_file():
        raise FileNotFoundError(
            f"{COLIN27_PATH}: the Colin27 volume is not there. Install Debian's package mricron-data: "
            "apt-get install mricron-data"
        )
    return COLIN27_PATH


def _nilearn_path(name: str) -> Path:
    """Find the package without importing it: nilearn takes seconds to import."""
    spec = find_spec("nilearn")
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise FileNotFoundError(
            "The ICBM152 volumes ship inside nilearn, which is not installed. "
            'Run: pip install -e ".[data]"'
        )
    path = Path(folders[0]) / "datasets" / "data" / NILEARN_NAME.format(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: this version of nilearn does not ship the ICBM152 volumes there. "
            'Run: pip install --upgrade -e ".[data]"'
        )
    return path
