# ruff: noqa: E501 - a row of a table reads best on one line
"""Which keys of a station file may change while the station runs, and where the last good file is kept."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from edge_inspector import config
from edge_inspector.config import last_good
from edge_inspector.config.reload import changed_keys

STATION = """\
schema = 1
[station]
name = "cell1"
recipe = "board"
state_dir = "state"
[cameras.top]
type = "folder"
path = "pictures"
[backend]
type = "onnxruntime"
[recipes.board]
number = 1
trigger = "timer"
period_s = 0.5
bundle = "pcb-demo"
views = [{ camera = "top" }]
[recipes.lid]
number = 2
trigger = "timer"
period_s = 0.5
bundle = "pcb-demo"
views = [{ camera = "top" }]
[ledger]
keep_days = 30
[publishers.plant]
type = "mqtt"
host = "broker"
username = "station"
password_file = "password"
[images]
max_gb = 1.0
[images.originals]
min_days = 7
"""


@pytest.mark.parametrize(
    ("before", "after", "live", "fixed"),
    [
        pytest.param("", "", [], [], id="nothing"),
        pytest.param("# no word\n", "", [], [], id="a comment is no key"),
        pytest.param("period_s = 0.5", "period_s = 0.25", ["recipes.board.period_s"], [], id="a key of a recipe"),
        pytest.param("[recipes.lid]", "[recipes.cap]", ["recipes.lid", "recipes.cap"], [], id="a recipe has gone, one came"),
        pytest.param("keep_days = 30", "max_mb = 50", ["ledger.keep_days", "ledger.max_mb"], [], id="how long it is kept"),
        pytest.param("keep_days = 30", 'synchronous = "normal"', ["ledger.keep_days"], ["ledger.synchronous"], id="both"),
        pytest.param("min_days = 7", "max_days = 9", ["images.originals.max_days"], [], id="a default is a value"),
        pytest.param("min_days = 7", 'format = "jpeg"', [], ["images.originals.format"], id="how pictures are kept"),
        pytest.param("[images]\nmax_gb = 1.0\n[images.originals]\nmin_days = 7\n", "", [], ["images"], id="no pictures"),
        pytest.param('path = "pictures"', 'path = "other"', [], ["cameras.top.path"], id="a camera"),
        pytest.param("cameras.top", "cameras.side", ["recipes.board.views", "recipes.lid.views"], ["cameras.top", "cameras.side"], id="its name"),
        pytest.param('name = "cell1"', 'name = "cell2"', [], ["station.name"], id="the station's name"),
        pytest.param('recipe = "board"', 'recipe = "lid"', ["station.recipe"], [], id="the recipe of the next start"),
        pytest.param('username = "station"', 'username = "other"', [], ["publishers.plant.username"], id="a publisher"),
        pytest.param("[ledger]", '[log]\nlevel = "debug"\n[ledger]', ["log.level"], [], id="the level of the log"),
        pytest.param("[ledger]", "[log]\njson_lines = true\n[ledger]", [], ["log.json_lines"], id="the form of the log"),
        pytest.param("[ledger]", "[web]\nport = 8123\n[ledger]", [], ["web.port"], id="the web service"),
    ],
)  # fmt: skip
def test_what_may_change_while_the_station_runs(
    tmp_path: Path, before: str, after: str, live: list[str], fixed: list[str]
) -> None:
    (tmp_path / "password").touch()
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text(STATION)
    text = STATION.replace(before, after, 1)
    if "cameras.side" in text:
        text = text.replace('camera = "top"', 'camera = "side"')
    new.write_text(text)
    assert changed_keys(config.load(old), config.load(new)) == (live, fixed)


def test_the_last_good_file_is_whole_and_its_owners_alone(tmp_path: Path) -> None:
    last_good.keep(tmp_path, b"first")
    last_good.keep(tmp_path, b"second")
    path = tmp_path / last_good.NAME
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == [last_good.NAME]


@pytest.mark.parametrize(
    ("text", "environment", "found"),
    [
        pytest.param("", {}, "state", id="beside a file that says nothing"),
        pytest.param('[station]\nstate_dir = "there"\n[broken', {}, "there", id="where a broken file says"),
        pytest.param(
            "state_dir = 'there'", {"STATE_DIRECTORY": "{}/systemd"}, "systemd", id="systemd's word goes first"
        ),
        pytest.param("\x00\ufffd", {}, "state", id="no text at all"),
    ],
)
def test_the_last_good_file_is_found_for_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, environment: dict[str, str], found: str
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    for name in ("state", "there", "systemd"):
        (tmp_path / name).mkdir()
    for name in {"state", found}:
        last_good.keep(tmp_path / name, b"x")
    (tmp_path / "station.toml").write_text(text)
    assert last_good.find(tmp_path / "station.toml") == tmp_path / found / last_good.NAME


def test_a_file_that_is_the_last_good_one_has_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    (tmp_path / "station.toml").write_text("as it was")
    last_good.keep(tmp_path, b"as it was")
    assert last_good.find(tmp_path / "station.toml") is None


def test_there_may_be_no_last_good_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert last_good.find(tmp_path / "nowhere.toml") is None
