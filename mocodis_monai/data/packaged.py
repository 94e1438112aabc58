"""Real MR volumes that ship inside installable packages; nothing is downloaded. See data_manifests/."""

from importlib.util import find_spec
from pathlib import Path

NILEARN_NAME = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
COLIN27_PATH = Path("/usr/share/mricron/templates/ch2.nii.gz")


def icbm152_t1_path() -> Path:
    """The ICBM152 2009a T1 template, without skull, 1 mm. For training.

    Raises:
        FileNotFoundError: nilearn is not installed, or does not ship it.
    """
    # Found without an import: nilearn takes seconds to import.
    spec = find_spec("nilearn")
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise FileNotFoundError(
            "The ICBM152 volumes ship inside nilearn, which is not installed. "
            'Run: pip install -e ".[data]"'
        )
    path = Path(folders[0]) / "datasets" / "data" / NILEARN_NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: this version of nilearn does not ship the ICBM152 volumes there. "
            'Run: pip install --upgrade -e ".[data]"'
        )
    return path


def colin27_path() -> Path:
    """The Colin27 T1 average, with skull, 1 mm. For testing only.

    Raises:
        FileNotFoundError: Debian's package mricron-data is not installed.
    """
    if not COLIN27_PATH.is_file():
        raise FileNotFoundError(
            f"{COLIN27_PATH}: the Colin27 volume is not there. Install Debian's package mricron-data: "
            "apt-get install mricron-data"
        )
    return COLIN27_PATH
