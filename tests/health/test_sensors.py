"""Sensors of a machine laid out as Linux does."""

from __future__ import annotations

from pathlib import Path

import pytest
from station_numbers import sensors_in

from edge_inspector.health.sensors import power_w, temperatures_c


def test_zones_go_by_their_type_and_one_that_is_off_is_left_out(tmp_path: Path) -> None:
    assert temperatures_c(sensors_in(tmp_path)) == {"cpu-thermal": 61.5, "gpu-thermal": 58.0, "cpu-thermal 2": -12.25}


def test_a_rail_is_power_itself_or_voltage_times_current(tmp_path: Path) -> None:
    assert power_w(sensors_in(tmp_path)) == {"VDD_IN": 9.2, "ina3221 2": 1.0, "PPT": 12.5}


@pytest.mark.parametrize("temp", ["", "hot", "150000", "-40000"])
def test_what_no_sensor_can_mean_is_no_temperature(tmp_path: Path, temp: str) -> None:
    (sensors_in(tmp_path) / "class/thermal/thermal_zone0/temp").write_text(temp)
    assert "cpu-thermal 2" not in temperatures_c(tmp_path)


def test_a_sensor_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    file = sensors_in(tmp_path) / "class/hwmon/hwmon0/curr1_input"
    file.unlink()
    file.mkdir()
    assert power_w(tmp_path) == {"ina3221 2": 1.0, "PPT": 12.5}


def test_a_machine_without_sensors_has_none(tmp_path: Path) -> None:
    assert temperatures_c(tmp_path) == power_w(tmp_path) == {}
