"""`mocodis export-bundle`: what is in the folder and the zip, and that nothing is left where it cannot be made."""

from __future__ import annotations

import filecmp
import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from mocodis_monai import export
from mocodis_monai.cli import app
from mocodis_monai.errors import InputError
from mocodis_monai.export import export_bundle
from mocodis_monai.networks import MotionCorrector
from mocodis_monai.release import bundle_root

PACKAGE = Path(export.__file__).parent


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """The bundle as the command makes it."""
    folder = tmp_path_factory.mktemp("export") / "mri_motion_correction"
    done = CliRunner().invoke(app, ["export-bundle", str(folder)])
    assert done.exit_code == 0, done.output
    assert done.output.split() == [str(folder), f"{folder}.zip"]
    return folder


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_bundle_and_the_package_are_copied_whole_and_nothing_else(exported):
    found = files_of(exported)
    assert {"LICENSE", "docs/README.md", "docs/data_license.txt", "configs/metadata.json", "models/model.pt"} <= found
    assert {name.split("/")[0] for name in found} == {"LICENSE", "configs", "docs", "models", PACKAGE.name}
    kinds = (".py", ".j2", ".typed")  # code, the templates of the reports, and the word that there are hints
    paths = [path for path in PACKAGE.rglob("*") if path.suffix in kinds]
    code = {f"{PACKAGE.name}/{path.relative_to(PACKAGE).as_posix()}" for path in paths}
    assert code == {name for name in found if name.startswith(PACKAGE.name)}
    for name in found:
        source = (PACKAGE.parent if name in code else Path(bundle_root())) / name
        assert filecmp.cmp(exported / name, source, shallow=False), name


def test_the_zip_holds_the_folder(exported):
    with zipfile.ZipFile(f"{exported}.zip") as archive:
        inside = {name for name in archive.namelist() if not name.endswith("/")}
        assert inside == {f"{exported.name}/{name}" for name in files_of(exported)}
        assert archive.testzip() is None


def test_weights_of_your_own_are_in_the_export_with_their_checksum_and_the_card_says_so(tmp_path):
    network = MotionCorrector()
    torch.save(network.state_dict(), tmp_path / "own.pt")
    made = export_bundle(tmp_path / "own", tmp_path / "own.pt").folder
    assert hashlib.sha256((made / "models" / "model.pt").read_bytes()).hexdigest() in (
        made / "models" / "model.sha256"
    ).read_text()
    found = torch.load(made / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())
    card, released = ((root / "docs" / "README.md").read_text() for root in (made, Path(bundle_root())))
    assert export.OTHER_WEIGHTS in card[:600] and export.OTHER_WEIGHTS not in released
    assert card.replace(f"{export.OTHER_WEIGHTS}\n", "", 1) == released.replace("\n", "\n\n", 1)


def test_unfit_weights_leave_no_export(tmp_path):
    (tmp_path / "own.pt").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"own\.pt: not a readable checkpoint"):
        export_bundle(tmp_path / "own", tmp_path / "own.pt")
    assert {path.name for path in tmp_path.iterdir()} == {"own.pt"}


def test_nothing_else_is_left_beside_the_export(exported):
    assert {path.name for path in exported.parent.iterdir()} == {exported.name, f"{exported.name}.zip"}


def test_an_exported_bundle_exports_itself(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "__file__", str(exported / PACKAGE.name / "export.py"))
    monkeypatch.setattr(export, "bundle_root", lambda: str(exported))
    again = export_bundle(tmp_path / "again").folder
    assert files_of(again) == files_of(exported)
    with pytest.raises(InputError, match="lies inside"):
        export_bundle(exported / "again")


def test_a_large_file_is_listed_for_upload_as_the_zoo_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "LARGE_FILE_BYTES", 10**7)
    made = export_bundle(tmp_path / "bundle")
    weights = made.folder / "models" / "model.pt"
    listed = yaml.safe_load((made.folder / "large_files.yml").read_text())["large_files"]
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert listed == [{"path": "models/model.pt", "url": "", "hash_val": digest, "hash_type": "sha256"}]
    assert made.large_files == (Path("models/model.pt"),)


@pytest.mark.parametrize("taken", ["bundle", "bundle.zip"])
def test_what_is_there_is_not_overwritten(tmp_path, taken):
    (tmp_path / taken).write_text("mine")
    with pytest.raises(InputError, match=rf"{taken}: is already there\. Remove it"):
        export_bundle(tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == [taken] and (tmp_path / taken).read_text() == "mine"


def test_a_missing_parent_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere does not exist\. Make it first"):
        export_bundle(tmp_path / "nowhere" / "bundle")


@pytest.mark.parametrize("place", [PACKAGE / "bundle", Path(bundle_root()) / "docs" / "bundle"])
def test_an_export_into_what_is_copied_is_refused(place):
    with pytest.raises(InputError, match=r"lies inside .* Export to another place"):
        export_bundle(place)
    assert not place.exists()


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "make_archive", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
        export_bundle(tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
