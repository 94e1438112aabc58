"""Versions are stated once, in setup.cfg; what is tested as the minimum and what the bundle pins fit them."""

from __future__ import annotations

import configparser
import json
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from mocodis_monai.release import bundle_root

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def required() -> dict[str, Requirement]:
    """What the package needs, by its name."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    found = [Requirement(line) for line in config["options"]["install_requires"].splitlines() if line]
    return {canonicalize_name(one.name): one for one in found}


def lowest(requirement: Requirement) -> Version:
    (version,) = (Version(one.version) for one in requirement.specifier if one.operator == ">=")
    return version


@pytest.mark.parametrize("name", ["monai", "torch"])
def test_what_the_package_is_built_on_has_a_lowest_and_a_highest_version(required, name):
    assert {one.operator for one in required[name].specifier} == {">=", "<"}


def test_the_minimum_that_is_tested_is_the_minimum_that_is_stated(required):
    lines = (ROOT / ".ci" / "minimum.txt").read_text().splitlines()
    tested = {canonicalize_name(name): Version(version) for name, _, version in (x.partition("==") for x in lines[1:])}
    assert {"monai", "torch"} <= set(tested)
    for name, version in tested.items():
        stated = lowest(required[name]).release
        assert version.release[: len(stated)] == stated and version in required[name].specifier, name


def test_the_bundle_pins_all_that_the_vendored_package_needs(required):
    """Nothing else brings it there: in the Zoo the package is not installed but lies beside the configs."""
    metadata = json.loads(Path(bundle_root(), "configs", "metadata.json").read_text())
    basis = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    pinned = {canonicalize_name(k): v for k, v in metadata["required_packages_version"].items()}
    pinned |= {name: metadata[key] for name, key in basis.items()}
    assert set(pinned) == set(required)
    for name, version in pinned.items():
        assert version in required[name].specifier, name
