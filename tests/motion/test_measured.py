"""Measured trajectories: what is written is read back bit for bit, and a bad table is refused with its place."""

import numpy as np
import pytest
import torch

from mocodis_monai.motion import read_trajectory, sample_trajectory, write_trajectory

GOOD = "shot,translation_0_mm,translation_1_mm,rotation_deg\n0,0,0.5,1e-1\n1,-1.25,2,3\n"


@pytest.mark.parametrize("dims", [2, 3])
def test_a_trajectory_survives_the_file_bit_for_bit(tmp_path, dims):
    drawn = sample_trajectory("tremor", 50, dims, np.random.RandomState(0))
    write_trajectory(tmp_path / "poses.csv", drawn)
    for got, wanted in zip(read_trajectory(tmp_path / "poses.csv"), drawn, strict=True):
        assert torch.equal(got, wanted)


def test_a_table_is_read_by_the_names_of_its_columns(tmp_path):
    path = tmp_path / "poses.csv"
    path.write_text("time_s, rotation_deg, translation_1_mm, shot, translation_0_mm\n0.1, 3, -2, 0, 1\n")
    translation, rotation = read_trajectory(path)
    assert translation.tolist() == [[1.0, -2.0]]
    assert rotation.tolist() == [[3.0]]


def test_other_columns_of_one_name_and_empty_cells_at_the_end_are_left_alone(tmp_path):
    path = tmp_path / "poses.csv"
    path.write_text("shot,translation_0_mm,translation_1_mm,rotation_deg,note,note\n0,1,2,3,a,b,,\n")
    assert read_trajectory(path).translation_mm.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1: column 'shot' is missing"),
        (GOOD.splitlines()[0] + "\n", "got no row below the names"),
        (GOOD.replace("rotation_deg", "roll"), "row 1: column 'rotation_deg' is missing.*in 2D"),
        (GOOD.replace("rotation_deg", "rotation_0_deg"), "column 'translation_2_mm' is missing.*in 3D"),
        (GOOD.replace("\n1,", "\n2,"), "row 3, column 'shot': got 2, expected 1"),
        (GOOD.replace("\n0,", "\n1,"), "row 2, column 'shot': got 1, expected 0"),
        (GOOD.replace("-1.25", "nan"), "row 3, column 'translation_0_mm': got 'nan'.*finite"),
        (GOOD.replace("-1.25", "left"), "row 3, column 'translation_0_mm': got 'left'"),
        (GOOD.replace(",3\n", ",\n"), "row 3, column 'rotation_deg': got ''"),
        (GOOD.replace(",2,3\n", "\n"), "row 3, column 'translation_1_mm': got None"),
        (GOOD.replace(",3\n", ",95\n"), "add up to 95"),
        (GOOD.replace("rotation_deg", "rotation_deg, shot"), "row 1: column 'shot' is named 2 times.*rename"),
        (GOOD.replace("0.5", "0,5"), "row 2: got 5 cells for 4 columns.*decimals with a point"),
        (GOOD.replace("-1.25", "1_0"), "row 3, column 'translation_0_mm': got '1_0'; allowed are finite numbers"),
    ],
)
def test_a_bad_table_is_refused_with_its_place(tmp_path, text, message):
    path = tmp_path / "poses.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_trajectory(path)
