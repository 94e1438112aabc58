"""Pairs of a moved and a still scan: read from a manifest, and measured."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from pair_of_heads import SHAPE, write

from mocodis_monai.errors import InputError
from mocodis_monai.evaluation import CorrectorMethod, cells_of_scans, evaluate_cells, read_scans, table
from mocodis_monai.evaluation.methods import Uncorrected
from mocodis_monai.evaluation.real_scans import check_sizes
from mocodis_monai.evaluation.still_scans import StillScan, cells_of_still_scans
from mocodis_monai.inferers import choose_slice_axis
from mocodis_monai.report.evaluation import save_evaluation


def test_a_still_scan_may_serve_two_sessions(pair, tmp_path):
    moved, still = (path.name for path in pair)
    (pair[0].parent / "moved2.nii.gz").write_bytes(pair[0].read_bytes())
    files = [
        {"subject": "one", "content": content, "session": session, "path": name}
        for session, first in (("a", moved), ("b", "moved2.nii.gz"))
        for content, name in (("moved", first), ("still", still))
    ]
    scans = read_scans(manifest(pair, tmp_path, files=files))
    assert [(scan.moved.name, scan.still.name) for scan in scans.real] == [(moved, still), ("moved2.nii.gz", still)]


@pytest.mark.parametrize(
    ("session", "contrast", "difference"),
    [
        ("a", "T2w", r"contrast \('T1w', 'T2w'\)\."),
        ("b", "T1w", r"session \('a', 'b'\)\."),
        ("b", "", r"session \('a', 'b'\) and contrast \('T1w', ''\)\."),
        ("a", "T1w", None),
    ],
)
def test_a_still_scan_that_fits_no_moved_one_is_named(pair, tmp_path, caplog, session, contrast, difference):
    files = [
        {"subject": "one", "content": "still", "session": "a", "contrast": "T1w", "path": "still.nii.gz"},
        {"subject": "one", "content": "moved", "session": session, "contrast": contrast, "path": "moved.nii.gz"},
        {"subject": "two", "content": "still", "path": "again.nii.gz"},
    ]
    scans = read_scans(manifest(pair, tmp_path, files=files))
    assert [scan.still is None for scan in scans.real] == [difference is not None]
    said = "subject one: still.nii.gz is not measured; it differs from moved.nii.gz in "
    assert (said in caplog.text) is (difference is not None)
    assert difference is None or re.search(re.escape(said) + difference, caplog.text)
    assert "two" not in caplog.text


def test_a_pair_of_slices_too_small_for_ssim_is_refused_before_the_work(pair, tmp_path):
    values = np.linspace(0, 1, 10 * 40 * 12, dtype=np.float32).reshape(10, 40, 12)
    for name in ("moved.nii.gz", "still.nii.gz"):
        nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.0, 4.0, 1.0])), tmp_path / name)
    files = [{"subject": "a", "content": content, "path": f"{content}.nii.gz"} for content in ("moved", "still")]
    with pytest.raises(InputError, match=r"moved\.nii\.gz: its slices have 10 x 40 voxels; SSIM needs 11"):
        check_sizes(read_scans(manifest(pair, tmp_path, root=".", files=files)).real)


@pytest.mark.parametrize("shape", [(10, 40, 40), (40, 40, 10)])
def test_a_still_scan_too_small_for_ssim_is_refused_before_the_work(tmp_path, shape):
    path = tmp_path / "small.nii.gz"
    values = np.linspace(0, 1, math.prod(shape), dtype=np.float32).reshape(shape)
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 2.0, 1.0, 1.0])), path)
    with pytest.raises(InputError, match=r"small\.nii\.gz.*SSIM needs 11"):
        next(cells_of_still_scans([StillScan("head", "one", path, "small.nii.gz")]))


def test_scans_of_one_name_in_two_folders_are_told_apart(pair, tmp_path):
    for session in ("a", "b"):
        (tmp_path / session).mkdir()
        for source in pair:
            (tmp_path / session / source.name).write_bytes(source.read_bytes())
    files = [
        {"subject": "one", "content": content, "session": session, "path": f"{session}/{content}.nii.gz"}
        for session in ("a", "b")
        for content in ("moved", "still")
    ]
    scans = read_scans(manifest(pair, tmp_path, root=".", files=files))
    names = [case.name for _, cases in cells_of_scans(scans.real) for case in cases]
    assert names == ["one a/moved.nii.gz", "one b/moved.nii.gz"]
    still = [StillScan("head", "one", Path(tmp_path / s / "still.nii.gz"), f"{s}/still.nii.gz") for s in "ab"]
    names = [case.name for _, cases in cells_of_still_scans(still, quick=True) for case in cases]
    assert len(set(names)) == len(names)


def manifest(pair: tuple[Path, Path], folder: Path, **changes) -> Path:
    moved, still = pair
    files = [
        {"subject": "one", "content": "moved", "path": moved.name},
        {"subject": "one", "content": "still", "path": still.name},
        {"subject": "two", "content": "moved", "path": "alone.nii.gz"},
    ]
    content = {"name": "a study", "region": "head", "split": "test", "root": str(moved.parent), "files": files}
    path = folder / "study.json"
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_a_pair_and_a_scan_alone_are_measured(pair, tmp_path, small_corrector):
    scans = read_scans(manifest(pair, tmp_path))
    assert [(scan.subject, scan.still is None) for scan in scans.real] == [("one", False), ("two", True)]
    assert scans.still == []
    network = small_corrector().eval()
    found = evaluate_cells(cells_of_scans(scans.real), [CorrectorMethod("ours", network)])
    rows = {(row.subject, row.method): row for row in found.rows}
    assert {row.severity for row in found.rows} == {"pairs", "moved alone"}
    assert rows["one", "uncorrected"].ssim > 0.9  # registered, and nobody moved while it was taken
    assert np.isnan(rows["two", "ours"].ssim)
    for subject in ("one", "two"):
        assert np.isfinite([rows[subject, "ours"].aes, rows[subject, "ours"].score_mm]).all()
        assert rows[subject, "ours"].surprise_nats > 0
    assert [example.target is None for example in found.examples] == [False, True]
    (listed,) = json.loads(save_evaluation(found, tmp_path).summary.read_text())["pairs"]
    assert (listed["subject"], listed["ssim_before"]) == ("one", rows["one", "uncorrected"].ssim)
    assert listed["correlation"] > 0.97
    assert '<h2 id="pairs">' in (tmp_path / "report.html").read_text()


def test_a_pair_that_cannot_be_registered_is_left_out_and_named(pair, tmp_path, small_corrector, caplog):
    blob = np.zeros(SHAPE)
    blob[0, 0, 0] = 1.0
    write(tmp_path / "blob.nii.gz", blob)
    for name in ("moved.nii.gz", "still.nii.gz", "alone.nii.gz"):
        (tmp_path / name).write_bytes((pair[0].parent / name).read_bytes())
    files = [
        {"subject": subject, "content": content, "path": f"{name}.nii.gz"}
        for subject, *names in (("one", "moved", "still"), ("two", "alone", "blob"))
        for content, name in zip(("moved", "still"), names, strict=True)
    ]
    torch.save(small_corrector().state_dict(), tmp_path / "small.pt")
    small = {"weights": tmp_path / "small.pt", "network": small_corrector()}
    found = table.evaluate(manifest=manifest(pair, tmp_path, root=".", files=files), **small)
    assert {row.subject for row in found.rows} == {"one"}
    assert found.about["left_out"] == ["two alone.nii.gz"]
    assert "blob.nii.gz: registered to alone.nii.gz it covers 0% of what that shows" in caplog.text
    assert "could not be read or registered: two alone.nii.gz" in save_evaluation(found, tmp_path).report.read_text()
    with pytest.raises(InputError, match=r"no scan could be measured of head \| real \| pairs"):
        table.evaluate(manifest=manifest(pair, tmp_path, root=".", files=files[2:]), **small)


def test_a_pair_too_thin_to_be_registered_is_refused_before_the_work(pair, tmp_path):
    values = np.linspace(0, 1, 40 * 40 * 6, dtype=np.float32).reshape(40, 40, 6)
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.0, 4.0, 1.0])), tmp_path / "still.nii.gz")
    (tmp_path / "moved.nii.gz").write_bytes(pair[0].read_bytes())
    with pytest.raises(InputError, match=r"still\.nii\.gz.*at least 8 slices"):
        check_sizes(read_scans(manifest(pair, tmp_path, root=".", files=files_of("moved moved", "still still"))).real)


def test_one_pair_is_in_memory_at_a_time_and_corrected_once(pair, tmp_path):
    order = []

    class Noting(Uncorrected):
        name = "noting"

        def correct(self, case):
            order.append(f"correct {case.name}")
            return super().correct(case)

    def cases(found):
        for case in found:
            order.append(f"read {case.name}")
            yield case

    named = {"one": "moved.nii.gz", "two": "alone.nii.gz"}
    files = [{"subject": subject, "content": "moved", "path": path} for subject, path in named.items()]
    scans = read_scans(manifest(pair, tmp_path, files=files)).real
    evaluate_cells([(cell, cases(found)) for cell, found in cells_of_scans(scans)], [Noting()])
    assert order == [f"{what} {subject} {path}" for subject, path in named.items() for what in ("read", "correct")]


def test_a_scan_is_cut_as_the_command_cuts_it(pair, tmp_path):
    moved = nib.load(pair[0])
    values = moved.get_fdata(dtype=np.float32).repeat(2, axis=1).repeat(2, axis=2)  # slices large enough for any cut
    image = nib.Nifti1Image(values, moved.affine @ np.diag([1, 0.5, 0.5, 1]))
    image.header.set_dim_info(phase=0)
    nib.save(image, tmp_path / "moved.nii.gz")
    files = [{"subject": "two", "content": "moved", "path": "moved.nii.gz"}]
    scans = read_scans(manifest(pair, tmp_path, root=str(tmp_path), files=files))
    ((_, cases),) = cells_of_scans(scans.real)
    (case,) = cases
    geometry = image.shape, image.header.get_zooms()
    assert case.slice_axis == choose_slice_axis(*geometry, 0) != choose_slice_axis(*geometry)


def files_of(*contents_and_names: str) -> list[dict[str, str]]:
    """Entries of one subject."""
    words = (text.split() for text in contents_and_names)
    return [{"subject": "a", "content": content, "path": f"{name}.nii.gz"} for content, name in words]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "train"}, "no file of the split 'test'"),
        ({"split": "held out"}, "split 'held out'; allowed are 'train', 'validation', 'test'"),
        ({"files": []}, "no file of the split 'test'"),
        ({"files": ["moved.nii.gz"]}, "is no object"),
        ({"files": [{"subject": "a", "content": "t1", "path": "moved.nii.gz"}]}, "content 't1'"),
        ({"files": [{"content": "moved", "path": "moved.nii.gz"}]}, "subject"),
        ({"files": [{"subject": "a", "content": "moved", "path": "gone.nii.gz"}]}, "no such file"),
        ({"files": [{"subject": "a", "content": "moved", "path": "moved.nii.gz", "sha256": "0"}]}, "sha256"),
        ({"files": files_of("moved moved", "still again", "still still")}, "two still scans"),
        ({"files": files_of("still still", "moved moved", "still still")}, "twice for subject a"),
        (
            {"files": [{**files_of("moved moved")[0], "session": session} for session in "ab"]},
            "twice for subject a",
        ),
        ({"files": [{"subject": ["a"], "content": "moved", "path": "moved.nii.gz"}]}, r"has subject \['a'\]; a text"),
        ({"files": [{"subject": "a", "content": "moved", "path": {"a": 1}}]}, "has path"),
        ({"files": [{"subject": "a", "content": "moved", "path": "a\0b"}]}, "has path"),
        ({"files": [{"subject": "a", "content": "moved", "path": "moved.nii.gz", "sha256": ["0"]}]}, "has sha256"),
        ({"root": ["a"]}, "the manifest has root"),
        ({"files": None}, "a list `files`"),
        ({"region": "knee | T1"}, r"'knee \| T1' is the region"),
    ],
)
def test_an_unfit_manifest_says_what_is_wrong(pair, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_scans(manifest(pair, tmp_path, **changes))


def test_a_manifest_that_is_no_json(tmp_path):
    (tmp_path / "a.json").write_text("no")
    with pytest.raises(InputError, match="not JSON"):
        read_scans(tmp_path / "a.json")
    with pytest.raises(InputError, match="No such file"):
        read_scans(tmp_path / "b.json")


def test_the_right_sha256_passes(pair, tmp_path):
    digest = hashlib.sha256(pair[0].read_bytes()).hexdigest()
    file = {"subject": "a", "content": "moved", "path": pair[0].name, "sha256": digest}
    assert len(read_scans(manifest(pair, tmp_path, files=[file])).real) == 1
