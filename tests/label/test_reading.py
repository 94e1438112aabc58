"""What our app takes for a scan; MONAI Label, which is not installed here, is stood in for."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

import nibabel as nib
import numpy as np
import pytest

from mocodis_monai.data.nifti import write_volume
from mocodis_monai.errors import InputError

MODULE = "mocodis_monai.label_app.correction_task"


@pytest.fixture
def task_class(monkeypatch) -> type:
    """The class of the task, on stand-ins for the packages of the server."""
    for name in ("fastapi", "monailabel", "monailabel.interfaces", "monailabel.interfaces.tasks", "monailabel.tasks"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    for name in ("monailabel.interfaces.tasks.infer_v2", "monailabel.tasks.infer"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    base = SimpleNamespace(BasicInferTask=type("BasicInferTask", (), {"input_key": "image"}))
    monkeypatch.setitem(sys.modules, "monailabel.tasks.infer.basic_infer", base)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    from mocodis_monai.label_app.correction_task import CorrectionTask

    monkeypatch.delitem(sys.modules, MODULE)  # the next import meets the real packages
    return CorrectionTask


def test_our_app_refuses_masks_and_what_is_corrected_already(task_class, tmp_path):
    values = np.random.default_rng(0).random((20, 20, 4), dtype=np.float32)
    mask = np.zeros((20, 20, 4), np.uint8)
    mask[5:15, 5:15] = 1
    for name, data in (("scan", values), ("mask", mask)):
        nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / f"{name}.nii.gz")
    write_volume(tmp_path / "again.nii.gz", values, like=tmp_path / "scan.nii.gz")
    (read,) = object.__new__(task_class).pre_transforms()
    assert read({"image": tmp_path / "scan.nii.gz"})["image"].shape == (1, 20, 20, 4)
    for name, reason in (("mask", "a mask or a map of labels"), ("again", "has corrected this already")):
        with pytest.raises(InputError, match=reason):
            read({"image": tmp_path / f"{name}.nii.gz"})
