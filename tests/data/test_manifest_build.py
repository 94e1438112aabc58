"""A folder becomes a manifest: each subject on one side, for good, and nothing unfit or half-written."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_scans import scan
from typer.testing import CliRunner

from mocodis_monai import cli
from mocodis_monai.data.manifest import SPLITS, read_manifest, volumes_of
from mocodis_monai.data.manifest_build import build_manifest
from mocodis_monai.data.manifest_splits import Shares, assign_splits
from mocodis_monai.errors import InputError
from mocodis_monai.evaluation import read_scans

NAMES = st.sets(st.text("abc0", min_size=1, max_size=4), min_size=3, max_size=40)
SHARES = st.builds(Shares, st.floats(0.05, 0.4), st.floats(0.05, 0.4))


def flat(folder: Path, count: int = 10) -> Path:
    for number in range(count):
        scan(folder / f"p{number:02}_t1.nii.gz")
    return folder


def bids(folder: Path) -> Path:
    """Three people: still and moved in one session; in two sessions; still alone. Things that are no scans beside."""
    for name in ("acq-standard_T1w", "acq-headmotion1_T1w", "acq-headmotion2_T1w", "acq-standard_mask"):
        scan(folder / "sub-1" / "anat" / f"sub-1_{name}.nii.gz")
    for session in ("ses-a", "ses-b"):
        for name in ("acq-nomotion_T2w", "acq-motion_T2w", "acq-nomotion_T1w", "part-phase_T1w"):
            scan(folder / "sub-2" / session / "anat" / f"sub-2_{session}_{name}.nii.gz")
    scan(folder / "sub-3" / "anat" / "sub-3_FLAIR.nii")
    scan(folder / "sub-3" / "func" / "sub-3_task-rest_bold.nii.gz")
    scan(folder / "derivatives" / "sub-3" / "anat" / "sub-3_T1w.nii.gz")
    return folder


@given(NAMES, SHARES, st.integers(0, 2**32), st.randoms())
def test_each_subject_has_one_split_by_seed_and_name_alone(names, shares, seed, random):
    splits = assign_splits(names, shares, seed)
    assert set(splits) == names and set(splits.values()) <= set(SPLITS)
    again = [*names, *names]  # as many scans as there are of each, in any order
    random.shuffle(again)
    assert assign_splits(again, shares, seed) == splits


@given(NAMES, SHARES)
def test_the_numbers_are_those_of_the_shares_and_none_is_empty(names, shares):
    splits = list(assign_splits(names, shares).values())
    for split, share in zip(SPLITS, (1 - sum(shares), *shares)):
        found, due = splits.count(split), share * len(names)
        assert found >= 1
        # One is rounding; where two others got their first one out of turn, two may be missing.
        assert due - 2 < found < max(due, 1) + 1


@given(NAMES, NAMES, SHARES, st.integers(0, 99), st.integers(0, 99))
def test_who_is_known_stays_where_he_was_when_others_come(names, others, shares, seed, another):
    before = assign_splits(names, shares, seed)
    after = assign_splits(names | others, shares, another, before)
    assert before.items() <= after.items() and set(after) == names | others


def test_another_seed_gives_another_split():
    names = [f"p{number}" for number in range(30)]
    assert len({tuple(assign_splits(names, Shares(0.2, 0.3), seed).items()) for seed in range(5)}) == 5


@pytest.mark.parametrize(
    ("validation", "test", "counts"), [(0, 1, (0, 0, 9)), (0, 0, (9, 0, 0)), (0.5, 0.5, (0, 5, 4)), (1, 0, (0, 9, 0))]
)
def test_a_split_may_have_no_share(validation, test, counts):
    splits = list(assign_splits(map(str, range(9)), Shares(validation, test)).values())
    assert tuple(map(splits.count, SPLITS)) == counts


def test_a_flat_folder_becomes_a_manifest_that_training_and_evaluation_read(tmp_path):
    built = build_manifest(flat(tmp_path / "scans"), tmp_path / "own.json")
    content = json.loads((tmp_path / "own.json").read_text())
    assert content["root"] == "scans" and str(tmp_path) not in json.dumps(content)  # both may be moved together
    for entry in content["files"]:
        assert entry["sha256"] == hashlib.sha256((tmp_path / "scans" / entry["path"]).read_bytes()).hexdigest()
        assert entry["subject"] == entry["path"][:3] and (entry["content"], entry["contrast"]) == ("still", "t1")
    of_training, of_validation = (set(volumes_of(tmp_path / "own.json", split)) for split in ("train", "validation"))
    of_test = {str(scan.path) for scan in read_scans(tmp_path / "own.json").still}
    assert (len(of_training), len(of_validation), len(of_test)) == (7, 1, 2)
    everything = {str(path) for path in (tmp_path / "scans").iterdir()}
    assert of_training | of_validation | of_test == everything and len(everything) == 10
    assert (built.num_known, built.left_out, len(built.manifest.scans)) == (0, {}, 10)


def test_built_again_with_more_scans_nobody_changes_sides_and_hand_edits_stay(tmp_path):
    folder, out = flat(tmp_path / "scans", 5), tmp_path / "own.json"
    build_manifest(folder, out)
    content = json.loads(out.read_text())
    content |= {"region": "knee", "licence": "ours"}
    content["files"][0]["content"] = "moved"
    out.write_text(json.dumps(content))
    before = {entry["path"]: entry for entry in content["files"]}
    flat(folder, 12)
    scan(folder / "p00_t2.nii.gz")
    built = build_manifest(folder, out, seed=9)
    after = json.loads(out.read_text())
    assert (after["region"], after["licence"], built.num_known, built.manifest.region) == ("knee", "ours", 5, "knee")
    assert {e["path"]: e for e in after["files"] if e["path"] in before} == before
    assert len({e["split"] for e in after["files"] if e["subject"] == "p00"}) == 1
    assert len(after["files"]) == 13


def test_files_that_are_away_meanwhile_come_back_to_the_side_where_they_were(tmp_path):
    folder, out = flat(tmp_path / "scans", 10), tmp_path / "own.json"
    build_manifest(folder, out)
    content = json.loads(out.read_text())
    tested = next(entry for entry in content["files"] if entry["split"] == "test")
    tested["content"] = "moved"  # by hand
    out.write_text(json.dumps(content))
    (folder / tested["path"]).rename(tmp_path / tested["path"])
    built = build_manifest(folder, out)
    assert built.num_away == 1 and tested["subject"] not in {s.subject for s in built.manifest.scans}
    flat(folder, 40)  # many more come, and among them the one that was away
    (tmp_path / tested["path"]).rename(folder / tested["path"])
    built = build_manifest(folder, out, seed=3)
    assert built.num_away == 0 and "away" not in json.loads(out.read_text())
    (found,) = (s for s in built.manifest.scans if s.subject == tested["subject"])
    assert (found.split, found.content) == ("test", "moved")


def test_subjects_that_are_numbers_in_a_manifest_by_hand(tmp_path):
    folder, out = flat(tmp_path / "scans", 5), tmp_path / "own.json"
    build_manifest(folder, out)
    content = json.loads(out.read_text())
    content["files"][0]["subject"] = 7
    out.write_text(json.dumps(content))
    assert "7" in {scan.subject for scan in build_manifest(folder, out).manifest.scans}


def test_a_link_to_nothing_is_named(tmp_path):
    folder = flat(tmp_path / "scans")
    (folder / "p77_t1.nii.gz").symlink_to(tmp_path / "not fetched")
    with pytest.raises(InputError, match=r"p77_t1\.nii\.gz: this link leads nowhere"):
        build_manifest(folder, tmp_path / "own.json")


def test_scans_behind_links_belong_to_a_bids_tree(tmp_path):
    store, study = bids(tmp_path / "store"), tmp_path / "study"
    for person in ("sub-1", "sub-2", "sub-3"):
        (study / person).mkdir(parents=True)
        for child in (store / person).iterdir():
            (study / person / child.name).symlink_to(child)
    names = [scan.name for scan in build_manifest(study, tmp_path / "a.json").manifest.scans]
    assert names == [scan.name for scan in build_manifest(store, tmp_path / "b.json").manifest.scans]


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    folder = flat(tmp_path / "scans")
    (folder / "p00_t1.nii.gz").rename(os.fsdecode(os.fsencode(folder) + b"/t\xe9te.nii.gz"))
    with pytest.raises(InputError, match="not UTF-8"):
        build_manifest(folder, tmp_path / "own.json")


def test_a_bids_tree_gives_its_anatomical_scans_in_pairs(tmp_path):
    built = build_manifest(bids(tmp_path / "study"), tmp_path / "own.json", validation=0, test=1)
    assert list(built.left_out.values()) == [4]  # a mask, two phase images, a functional series; no derivatives
    assert len(built.manifest.scans) == 10
    scans = read_scans(tmp_path / "own.json")
    pairs = {pair.moved.name: pair.still and pair.still.name for pair in scans.real}
    assert pairs == {
        "sub-1_acq-headmotion1_T1w.nii.gz": "sub-1_acq-standard_T1w.nii.gz",
        "sub-1_acq-headmotion2_T1w.nii.gz": "sub-1_acq-standard_T1w.nii.gz",
        "sub-2_ses-a_acq-motion_T2w.nii.gz": "sub-2_ses-a_acq-nomotion_T2w.nii.gz",
        "sub-2_ses-b_acq-motion_T2w.nii.gz": "sub-2_ses-b_acq-nomotion_T2w.nii.gz",
    }
    assert [still.path.name for still in scans.still] == ["sub-3_FLAIR.nii"]


def test_names_that_tell_the_subject_in_their_own_way(tmp_path):
    for name in ("IXI002-Guys-T1", "IXI002-Guys-T2", "IXI012-HH-T1", "IXI013-HH-T1", "IXI014-HH_moved"):
        scan(tmp_path / "ixi" / f"{name}.nii.gz")
    built = build_manifest(tmp_path / "ixi", tmp_path / "own.json", subject=r"(IXI\d+)-")
    assert [s.subject for s in built.manifest.scans] == ["IXI002", "IXI002", "IXI012", "IXI013", "IXI014"]
    assert [s.content for s in built.manifest.scans] == ["still"] * 4 + ["moved"]


def test_words_before_the_subject_count_too(tmp_path):
    for name in ("moved_s01_T1", "still_s01_T1", "s02_T1", "s03_T1", "s04_T1"):
        scan(tmp_path / "words" / f"{name}.nii.gz")
    scans = build_manifest(tmp_path / "words", tmp_path / "own.json", subject=r"s\d+").manifest.scans
    found = {s.path.name: (s.subject, s.content, s.contrast) for s in scans}
    assert found["moved_s01_T1.nii.gz"] == ("s01", "moved", "T1")
    assert found["still_s01_T1.nii.gz"] == ("s01", "still", "T1")


def test_a_manifest_in_a_linked_folder_finds_its_scans(tmp_path):
    flat(tmp_path / "scans")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er")
    for _ in range(2):  # and is built again
        built = build_manifest(tmp_path / "scans", tmp_path / "link" / "own.json")
        assert all(s.path.is_file() for s in built.manifest.scans)


def twice(folder: Path) -> Path:
    """One scan under two names."""
    for number in range(6):
        scan(folder / f"p{number}.nii.gz", seed=0)
    return folder


def edited(folder: Path) -> Path:
    """A manifest in which somebody stands on both sides."""
    build_manifest(flat(folder), folder / "m.json")
    content = json.loads((folder / "m.json").read_text())
    other = next(entry for entry in content["files"] if entry["split"] == "test")
    content["files"].append({**other, "path": "another.nii.gz", "sha256": "0", "split": "train"})
    (folder / "m.json").write_text(json.dumps(content))
    return folder


def elsewhere(folder: Path) -> Path:
    """The manifest of another folder at the place of ours."""
    build_manifest(flat(folder), folder / "m.json")
    (folder / "m.json").write_text((folder / "m.json").read_text().replace('"root": "."', '"root": "other"'))
    return folder


def with_blanks(folder: Path) -> Path:
    """Two empty images among the scans."""
    for name in ("p01_blank", "p02_blank"):
        nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.float32), np.eye(4)), flat(folder) / f"{name}.nii.gz")
    return folder


def misfiled(folder: Path) -> Path:
    scan(bids(folder) / "sub-3" / "anat" / "sub-1_T2w.nii.gz")
    return folder


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda folder: folder / "gone", [], "no such folder"),
        (lambda folder: (folder / "sub-1").mkdir() or folder, [], "a BIDS tree without a scan"),
        (lambda folder: flat(folder, 2), [], "2 subjects are too few for the splits train, validation, test"),
        (flat, ["--validation", "0.6", "--test", "0.6"], "0.6 and 0.6; allowed is 0 to 1 together"),
        (flat, ["--subject", "(q)"], "finds no subject"),
        (flat, ["--subject", "("], "no regular expression"),
        (flat, ["--subject", "p"], "1 subjects are too few"),
        (twice, [], "hold the same, and are "),
        (edited, [], "in the splits"),
        (elsewhere, [], "the manifest of another folder"),
        (with_blanks, [], r"2 of 12 scans are unfit.*p01_blank.*p02_blank.*all values are zero"),
        (misfiled, [], "lies in the folder of sub-3"),
        (flat, ["--out", "own.txt"], "must end in .json"),
    ],
)
def test_what_is_unfit_is_named_and_nothing_is_written(make, options, message, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    folder = make(folder)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = CliRunner().invoke(cli.app, ["manifest", "build", str(folder), "--out", str(folder / "m.json"), *options])
    assert isinstance(done.exception, InputError), done.output
    with pytest.raises(InputError, match=message):
        raise done.exception
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_subject_on_both_sides_is_refused_by_training_and_evaluation_too(tmp_path):
    path = edited(tmp_path) / "m.json"
    for read in (read_manifest, read_scans, lambda path: volumes_of(path, "train")):
        with pytest.raises(InputError, match=r"subject p\d\d is in the splits test and train"):
            read(path)


def test_training_refuses_files_that_are_gone_or_changed_and_a_split_without_scans(tmp_path):
    out = tmp_path / "own.json"
    build_manifest(flat(tmp_path / "scans"), out)
    (victim, *_) = volumes_of(out, "train")
    scan(Path(victim), seed=1)
    with pytest.raises(InputError, match=r"sha256 is not the one in .*own\.json"):
        volumes_of(out, "train")
    Path(victim).unlink()
    with pytest.raises(InputError, match="no such file"):
        volumes_of(out, "train")
    out.unlink()
    build_manifest(tmp_path / "scans", out, validation=0)
    with pytest.raises(InputError, match="no still scan of the split validation"):
        volumes_of(out, "validation")


def test_the_command_says_how_many_are_where(tmp_path):
    done = CliRunner().invoke(
        cli.app, ["manifest", "build", str(bids(tmp_path / "study")), "--out", str(tmp_path / "m.json")]
    )
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows[1:4]] == list(SPLITS)
    assert [sum(int(row[column]) for row in rows[1:4]) for column in (1, 2, 3)] == [3, 6, 4]
    assert "4 other NIfTI files are left out" in done.stdout and str(tmp_path / "m.json") in done.stdout
    assert "reading scans" in done.stderr
