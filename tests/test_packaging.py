"""The wheel holds what a station needs, and the lock files fit pyproject.toml."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import edge_inspector

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ON_A_DEVICE = ("tensorrt", "jetson")
ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = [c.rpartition(" ")[2] for c in PROJECT["project"]["classifiers"] if re.search(r"Python :: 3\.\d+$", c)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel):
    name = next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    return message_from_string(wheel.read(name).decode())


def test_the_wheel_carries_the_demo_bundle_and_the_typing_mark(wheel):
    wanted = {"bundles/pcb-demo/model.onnx", "bundles/pcb-demo/model.toml", "calibration/report.html.j2", "py.typed"}
    assert {f"edge_inspector/{name}" for name in wanted} - set(wheel.namelist()) == set()


def test_the_wheel_carries_every_module_and_nothing_but_the_package(wheel):
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "edge_inspector").rglob("*.py")}
    assert modules - set(wheel.namelist()) == set()
    assert {n.split("/")[0].partition("-")[0] for n in wheel.namelist()} == {"edge_inspector"}


def test_the_wheel_has_the_version_of_the_package_and_the_licence(wheel, metadata):
    assert metadata["Version"] == edge_inspector.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert any(n.endswith("licenses/LICENSE") for n in wheel.namelist())


def test_the_command_is_installed(wheel):
    entry_points = next(n for n in wheel.namelist() if n.endswith("entry_points.txt"))
    assert "edge-inspector = edge_inspector.cli.main:app" in wheel.read(entry_points).decode()


def test_there_is_one_lock_file_for_each_python_that_we_name():
    assert sorted(p.name for p in (ROOT / "requirements").glob("py*.txt")) == sorted(f"py{v}.txt" for v in PYTHONS)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_file_satisfies_every_requirement_of_the_project(python):
    text = (ROOT / f"requirements/py{python}.txt").read_text()
    locked = {canonicalize_name(n): v for n, v in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}
    project = PROJECT["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name not in ON_A_DEVICE}
    groups = [project["dependencies"], *extras.values(), PROJECT["dependency-groups"]["dev"]]
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux", "extra": ""}
    for requirement in (Requirement(line) for group in groups for line in group):
        if requirement.name == project["name"] or (requirement.marker and not requirement.marker.evaluate(environment)):
            continue
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in the lock file of Python {python}: make lock"
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{requirement} but locked {version}: make lock"
        )


def test_nvidias_packages_for_tests_are_locked_with_their_hashes():
    wanted = re.findall(r"^([\w.-]+==\S+?);?(?: |$)", (ROOT / "requirements/nvidia.in").read_text(), re.MULTILINE)
    text = (ROOT / "requirements/nvidia.txt").read_text()
    assert len(wanted) == 4
    packages = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert sorted(p.split()[0] for p in packages) == sorted(wanted)
    assert all("--hash=sha256:" in p for p in packages)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_file_has_a_hash_for_each_package_and_names_no_index(python):
    text = (ROOT / f"requirements/py{python}.txt").read_text()
    packages = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(packages) > 20
    assert [p.splitlines()[0] for p in packages if "--hash=sha256:" not in p] == []
    assert not re.search(r"://|--(extra-)?index-url|--find-links", text)
