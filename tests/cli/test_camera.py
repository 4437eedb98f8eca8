"""`edge-inspector camera show`: the features of an emulated Basler camera."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from edge_inspector import config
from edge_inspector.cli.main import app

FEATURE_KEYS = (
    *("name", "kind", "value", "minimum", "maximum", "increment", "choices", "unit", "writable", "tooltip"),
)


@pytest.fixture
def station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """station.toml in the current folder, with an emulated camera and a folder; the rest of a station is not there."""
    pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")
    (tmp_path / "pictures").mkdir()
    assert cv2.imwrite(str(tmp_path / "pictures" / "0.png"), np.zeros((48, 64), np.uint8))
    (tmp_path / "station.toml").write_text(
        'schema = 1\n[cameras.top]\ntype = "basler"\nemulate_folder = "pictures"\nfeatures.ExposureTime = 1234\n'
        '[cameras.disk]\ntype = "folder"\npath = "pictures"\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)


def show(*words: str, columns: int = 200) -> Result:
    return CliRunner().invoke(app, ["camera", "show", *words], env={"COLUMNS": str(columns)})


@pytest.mark.usefixtures("station")
def test_a_feature_is_shown_as_the_station_sets_it_with_unit_and_range() -> None:
    done = show("top", "exposuretime")
    assert (done.exit_code, done.stderr) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert rows["feature"] == ["value", "unit", "allowed"]
    assert rows["ExposureTime"] == ["1234", "us", "1", "..", "10000000,", "step", "0.1"]
    assert all("exposuretime" in name.lower() for name in set(rows) - {"feature"})


@pytest.mark.usefixtures("station")
def test_what_may_be_chosen_and_what_cannot_be_written_now_is_shown() -> None:
    rows = {line.split()[0]: line.split()[1:] for line in show("top").stdout.splitlines()}
    assert " ".join(rows["TriggerActivation"]) == "RisingEdge RisingEdge, FallingEdge, AnyEdge, LevelHigh, LevelLow"
    assert rows["TriggerSource"][0] == "Software"
    assert rows["SensorWidth"][0] == "*"
    assert rows["DeviceSFNCVersionMajor"] == ["*", "2"]  # its type's own limits say nothing
    assert len(rows) > 50


@pytest.mark.usefixtures("station")
def test_the_json_has_serial_and_features_with_the_promised_keys() -> None:
    told = json.loads(show("top", "TriggerMode", "--json").stdout)
    assert set(told) == {"serial", "features"}
    assert told["serial"].startswith("0815-")
    (feature,) = told["features"]
    assert tuple(feature) == FEATURE_KEYS
    assert (feature["kind"], feature["value"], feature["choices"]) == ("enumeration", "On", ["Off", "On"])


@pytest.mark.usefixtures("station")
def test_a_text_that_no_feature_has_is_told() -> None:
    done = show("top", "exposuer")
    assert (done.exit_code, done.stdout) == (0, "no feature has 'exposuer' in its name\n")
    assert json.loads(show("top", "exposuer", "--json").stdout)["features"] == []


@pytest.mark.usefixtures("station")
def test_the_camera_is_free_again_afterwards() -> None:
    for _ in range(3):
        assert show("top", "Gain").exit_code == 0


@pytest.mark.usefixtures("station")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["disk"], "camera disk: its type has no features; expected a Basler camera", id="a folder"),
        pytest.param(["tpo"], "there is no camera 'tpo'; its cameras are: disk, top", id="an unknown name"),
        pytest.param(["--serial", "1", "gain", "more"], "and then one TEXT at most", id="too many words"),
        pytest.param(["--serial", "none", "gain"], "serial = none fits 0 cameras", id="a serial that is not there"),
        pytest.param([], "give one of: NAME", id="no camera"),
    ],
)
def test_what_cannot_be_shown_ends_with_2_and_a_sentence(words: list[str], said: str) -> None:
    done = show(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_the_camera_tables_of_the_how_to_are_right(tmp_path: Path) -> None:
    """Joined to one station file: what is missing is only the rest of a station."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "connect-a-camera.md").read_text(encoding="utf-8")
    tables = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "station.toml").write_text("schema = 1\n" + "\n".join(tables), encoding="utf-8")
    draft = config.draft(tmp_path / "station.toml")
    assert set(draft.cameras) == {"top", "side", "left", "web", "gate"}
    assert {problem.key for problem in draft.problems} == {"station", "backend", "recipes"}
