"""The report of an evaluation: complete, self-contained, true to the rows, and it opens in a browser."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from matplotlib.axes import Axes
from skimage.io import imread

from mocodis_monai.errors import InputError
from mocodis_monai.evaluation import CorrectorMethod, Evaluation, Grid, cells_of, evaluate_cells
from mocodis_monai.report.evaluation import evaluate_into, save_evaluation
from mocodis_monai.report.orientation import upright
from mocodis_monai.report.pictures import distribution, trajectory_svg

# Nothing may leave the machine: the page is read from disk, and the browser keeps its background services to itself.
BROWSER = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
BOXPLOT = Axes.boxplot
GRID = Grid(("knee", "abdomen"), ("sudden", "breathing"), (1.75, 3.5), num_subjects=3)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    from mocodis_monai.networks import MotionCorrector

    network = MotionCorrector(
        channels=(8, 8, 16), fidelity_channels=(8, 8, 12, 16), num_embeddings=(12, 20), prior_hidden_size=16
    ).eval()
    methods = [CorrectorMethod("ours", network), CorrectorMethod("ours, codes only", network, fidelity=0.0)]
    return evaluate_cells(cells_of(GRID), methods, {"weights": "<b>model</b>.pt"})


@pytest.fixture(scope="module")
def files(evaluation, tmp_path_factory):
    return save_evaluation(evaluation, tmp_path_factory.mktemp("evaluation") / "new")


def test_every_case_and_method_is_in_the_csv(evaluation, files):
    with files.cases.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(evaluation.rows) == 3 * len({row.case for row in evaluation.rows})
    for line, row in zip(lines, evaluation.rows, strict=True):
        assert (line["case"], line["method"]) == (row.case, row.method)
        assert float(line["ssim"]) == pytest.approx(row.ssim, rel=1e-5)
    assert {line["score_mm"] for line in lines if line["method"] == "uncorrected"} == {""}


def test_the_summary_is_that_of_the_rows(evaluation, files):
    summary = json.loads(files.summary.read_text())
    severe = next(
        group
        for group in summary["groups"]["severity"]
        if group["group"] == "severe" and group["method"] == "ours, codes only"
    )
    rows = [row for row in evaluation.rows if row.severity == "severe"]
    after = {row.case: row.ssim for row in rows if row.method == "ours, codes only"}
    before = {row.case: row.ssim for row in rows if row.method == "uncorrected"}
    lost = [after[case] < before[case] for case in after]
    assert severe["num_cases"] == len(after)
    assert severe["means"]["ssim"] == pytest.approx(np.mean(list(after.values())))
    assert severe["made_worse"] == pytest.approx(np.mean(lost))
    assert summary["uncertainty_rank_correlation"] == pytest.approx(np.median(evaluation.rank_correlations))
    assert severe["gains"]["ssim"]["low"] <= severe["gains"]["ssim"]["mean"] <= severe["gains"]["ssim"]["high"]


def test_the_motion_score_is_ranked_against_the_displacement(evaluation, files):
    summary = json.loads(files.summary.read_text())
    rows = [row for row in evaluation.rows if row.method == "ours" and row.held_out == ""]
    ranks = []
    for name in ("score_mm", "displacement_mm"):
        values = np.array([getattr(row, name) for row in rows])
        ranks.append([np.flatnonzero(np.sort(values) == value).mean() for value in values])  # ties share their rank
    expected = np.corrcoef(*ranks)[0, 1]
    assert summary["score_rank_correlation"]["seen regions and families"] == pytest.approx(expected)
    assert '<h2 id="scores">' in files.report.read_text()


def test_the_page_needs_nothing_else_and_runs_no_script(files):
    page = files.report.read_text()
    assert not re.search(r"<script|<link|@import|\bsrc=\"(?!data:)|url\(|https?:", page)
    assert "&lt;b&gt;model" in page and "<b>model" not in page


def test_nothing_is_claimed_of_what_unknown_weights_have_seen(evaluation, files, tmp_path):
    claim, doubt = "No subject of this table was trained", "Other weights may have seen what is marked"
    assert claim not in files.report.read_text() and doubt in files.report.read_text()
    ours = evaluation._replace(about=evaluation.about | {"released": True}, examples=[])
    page = save_evaluation(ours, tmp_path).report.read_text()
    assert claim in page and doubt not in page


def test_every_cell_shows_its_best_median_and_worst_case(evaluation, files):
    page = files.report.read_text()
    for cell in {example.cell for example in evaluation.examples}:
        ranks = {example.rank for example in evaluation.examples if example.cell == cell}
        assert ranks == {"best", "median", "worst"}
        name = " | ".join(cell[:3])
        assert all(f'alt="{name}, {rank} case: scan, corrected, target' in page for rank in ranks)
    by_cell = {}
    for example in evaluation.examples:
        gain = example.after.ssim - example.before.ssim
        by_cell.setdefault(example.cell, {})[example.rank] = gain
    assert all(ranks["worst"] <= ranks["median"] <= ranks["best"] for ranks in by_cell.values())


def test_a_gain_that_is_not_finite_leaves_its_box_full(evaluation, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        Axes, "boxplot", lambda axes, gains, **options: drawn.append(gains) or BOXPLOT(axes, gains, **options)
    )
    spoilt = next(row for row in evaluation.rows if row.method == "ours" and row.severity == "severe")
    rows = [row._replace(vif=float("nan")) if row is spoilt else row for row in evaluation.rows]
    distribution(rows, ["ours"], {"vif": "VIF"}, ["severe"])
    assert np.isfinite(drawn[0][0]).all()
    assert len(drawn[0][0]) == sum(row.method == "ours" and row.severity == "severe" for row in rows) - 1


def test_moved_cases_show_what_moved(evaluation):
    for example in evaluation.examples:
        svg = trajectory_svg(example.motion)
        assert bool(svg) == (example.cell.family != "none")
        assert ("mode" in svg) == (example.cell.family == "breathing")


def test_a_folder_that_cannot_be_written_to_is_named(evaluation, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        save_evaluation(evaluation, tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("orientation", "top_left"), [("RA", "right anterior"), ("RS", "right superior"), ("AS", "anterior superior")]
)
def test_slices_are_turned_upright_whatever_their_orientation(orientation, top_left):
    opposite = dict(zip("RLAPSI", "LRPAIS"))
    image = np.zeros((4, 5))
    image[-1, -1] = 1  # the far end of both axes
    assert upright(image, orientation)[0, 0] == 1, top_left
    flipped = opposite[orientation[0]] + orientation[1]
    assert upright(image[::-1], flipped)[0, 0] == 1
    assert upright(image.T, orientation[::-1])[0, 0] == 1
    assert upright(image, orientation).shape == (5, 4)


def test_a_phantom_is_upright_as_it_is():
    image = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(upright(image, "PL"), image)
    np.testing.assert_array_equal(upright(image, "IP"), image)


def test_the_page_opens_in_a_browser(files, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    shot = tmp_path / "shot.png"
    (tmp_path / "profile").mkdir()
    places = [f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}", "--window-size=1280,2400"]
    subprocess.run([chromium, *BROWSER, *places, files.report.as_uri()], check=True, timeout=240, capture_output=True)
    picture = imread(shot)[..., :3]
    assert picture.shape[:2] == (2400, 1280)
    dark = (picture < 40).all(-1)
    rows_with_pictures = dark.mean(1) > 0.3
    assert picture[:100].min() < 100  # the title
    assert rows_with_pictures.sum() > 500  # strips of pictures on their dark ground
    assert (~rows_with_pictures).sum() > 500  # and the table above them


def test_an_evaluation_that_is_refused_leaves_no_empty_folder(tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("new", "mine"):
        with pytest.raises(InputError):
            evaluate_into(tmp_path / name, manifest=tmp_path / "missing.json")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
