"""What we promise of an installed station, in a fresh Debian with a real systemd: station.sh says each step."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("station.sh")


@pytest.mark.heavy
@pytest.mark.system
@pytest.mark.timeout(2400)
def test_station_survives_watchdog_kill_reboot_upgrade_and_leaves_nothing():
    subprocess.run([str(SCRIPT)], timeout=2300, check=True)
