"""The promise of the README: two commands on a machine that has only python3 and make."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("container_demo.sh")


@pytest.mark.heavy
@pytest.mark.system
@pytest.mark.timeout(1800)
def test_container_runs_the_demo_from_nothing():
    subprocess.run([str(SCRIPT)], timeout=1700, check=True)
