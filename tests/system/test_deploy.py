"""deploy/: its linters; the bundle on emulated ARM, in a fleet, in a container. Each script says what it saw."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SYSTEM = Path(__file__).parent
ROOT = SYSTEM.parents[1]
LINTERS = ROOT / ".venv-deploy"
pytestmark = [pytest.mark.heavy, pytest.mark.system, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def linters() -> Path:
    """The environment of the linters, made where it is not there yet; everything in deploy/ is clean."""
    subprocess.run([ROOT / "tools" / "deploy_lint.sh", LINTERS, sys.executable], timeout=900, check=True)
    return LINTERS


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> dict[str, Path]:
    """A bundle of this checkout by machine, for Debian 12's Python."""
    folder = tmp_path_factory.mktemp("dist")
    made = {}
    for machine in ("aarch64", "x86_64"):
        command = [ROOT / "tools" / "wheelhouse.sh", sys.prefix, machine, "3.11"]
        subprocess.run(command, env={**os.environ, "OUT": str(folder)}, timeout=900, check=True)
        (made[machine],) = folder.glob(f"edge-inspector-*-{machine}-py3.11")
    return made


def test_deploy_is_clean(linters):
    assert (linters / "deploy.stamp").exists()


def test_bundle_is_the_same_when_it_is_made_twice(bundle, tmp_path):
    command = [ROOT / "tools" / "wheelhouse.sh", sys.prefix, "x86_64", "3.11"]
    subprocess.run(command, env={**os.environ, "OUT": str(tmp_path)}, timeout=900, check=True)
    name = f"{bundle['x86_64'].name}.tar.gz.sha256"
    assert (tmp_path / name).read_text() == (bundle["x86_64"].parent / name).read_text()


def test_bundle_installs_and_inspects_on_arm64(bundle):
    subprocess.run([SYSTEM / "arm64.sh", bundle["aarch64"]], timeout=3500, check=True)


def test_fleet_is_rolled_out_and_taken_back(bundle, linters):
    subprocess.run([SYSTEM / "fleet.sh", linters, bundle["x86_64"]], timeout=3500, check=True)


def test_image_is_built_and_runs_confined(bundle):
    subprocess.run([SYSTEM / "image.sh", bundle["x86_64"]], timeout=3500, check=True)
