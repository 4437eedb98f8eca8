from __future__ import annotations

import os
import pwd
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import networks
import pytest

from edge_inspector import config
from edge_inspector.calibration.file import calibration_text
from edge_inspector.demo.filming import LENS
from edge_inspector.engine.bundle import load_bundle
from edge_inspector.health.clock import SystemClock
from edge_inspector.station.changes import Configuration, book_changes, configured, flat
from edge_inspector.store import audit
from edge_inspector.store.ledger import Ledger

STATION = """\
schema = 1
[station]
name = "bench"
recipe = "spots"
[cameras.cam]
type = "opencv"
source = "rtsp://viewer:hunter2@10.0.0.7/stream"
calibration = "lens.yaml"
[backend]
type = "onnxruntime"
[recipes.spots]
number = 7
trigger = "timer"
period_s = 1.0
bundle = "little"
views = [{ camera = "cam" }]
thresholds = { "spot" = 0.5 }
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("station")
    networks.bundle("yolo", folder / "little", golden=2)
    (folder / "lens.yaml").write_text(calibration_text(LENS))
    (folder / "station.toml").write_text(STATION)
    return folder


@pytest.fixture
def station(made: Path, tmp_path: Path) -> Path:
    """A folder of its own with station.toml, lens.yaml and the bundle."""
    return Path(shutil.copytree(made, tmp_path / "station"))


def run(station: Path) -> list[tuple[str, str, str]]:
    """One start of the station: what it adds to the trail."""
    file = station / "station.toml"
    settings = config.load(file)
    now = configured(file, settings, {"spots": load_bundle(station / "little")})
    path = station / "ledger"
    with Ledger(path, []) as ledger:
        before = int(ledger.audit_head.partition(":")[0])
        book_changes(now, ledger, SystemClock())
    with closing(sqlite3.connect(path)) as connection:
        assert audit.verify(connection).problems == ()
        query = "SELECT who, what, detail FROM audit WHERE id > ? ORDER BY id"
        return connection.execute(query, (before,)).fetchall()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    os.utime(path, (1_790_000_000, 1_790_000_000))


OWNER = f"owner:{pwd.getpwuid(os.geteuid()).pw_name}"
EDITED = r"station.toml of 2026-09-21T\d\d:13:20Z"


def test_the_first_start_says_that_there_was_nothing_to_compare_with_and_the_second_nothing(station: Path) -> None:
    ((who, what, detail),) = run(station)
    assert (who, what) == ("unknown", "configuration_recorded")
    assert re.fullmatch(r"the first one in this book: \d{2,3} values, sha256 [0-9a-f]{16}", detail)
    assert run(station) == []


@pytest.mark.parametrize(
    ("old", "new", "what", "words"),
    [
        ("= 0.5", "= 0.6", "thresholds_changed", "recipes.spots.thresholds.spot: '0.5' -> '0.6'"),
        ('thresholds = { "spot" = 0.5 }', "", "thresholds_changed", "recipes.spots.thresholds.spot: '0.5' -> nothing"),
        ("number = 7", "number = 8", "recipe_changed", "recipes.spots.number: '7' -> '8'"),
        ('name = "bench"', 'name = "b2"', "configuration_changed", "station.name: 'bench' -> 'b2'"),
    ],
)
def test_an_edit_of_the_station_file_names_its_owner_its_time_and_both_values(
    station: Path, old: str, new: str, what: str, words: str
) -> None:
    run(station)
    edit(station / "station.toml", old, new)
    found = [row for row in run(station) if "thresholds: '{}'" not in row[2] and "nothing -> '{}'" not in row[2]]
    ((who, named, detail),) = found
    assert (who, named) == (OWNER, what)
    assert re.fullmatch(re.escape(words) + rf" \({EDITED}\)", detail), detail
    assert run(station) == []


def test_another_calibration_model_and_golden_set_are_seen_though_their_paths_are_the_same(station: Path) -> None:
    run(station)
    edit(station / "lens.yaml", "data: [", "data:  [")
    ((_, what, detail),) = run(station)
    assert what == "calibration_changed"
    assert detail.startswith("cameras.cam.calibration_file: 'sha256 ")
    assert "(lens.yaml of 2026-09-21" in detail
    picture = station / "little" / "golden" / "good_000.png"
    picture.write_bytes((station / "little" / "golden" / "bad_000.png").read_bytes())
    assert [row[1] for row in run(station)] == ["golden_set_changed"]
    edit(station / "little" / "model.toml", "version = ", "version  = ")
    ((_, what, detail),) = run(station)
    assert (what, detail.split(":")[0]) == ("model_changed", "recipes.spots.model")
    assert "(model.toml of 2026-09-21" in detail


def test_credentials_of_a_url_are_nowhere_in_the_book(station: Path) -> None:
    run(station)
    edit(station / "station.toml", "viewer:hunter2@10.0.0.7/stream", "viewer:hunter3@10.0.0.8/stream")
    ((_, _, detail),) = run(station)
    assert "'rtsp://***@10.0.0.7/stream' -> 'rtsp://***@10.0.0.8/stream'" in detail
    for file in station.glob("ledger*"):
        assert b"hunter" not in file.read_bytes()


def test_a_new_version_of_the_software_is_nobodys_change_of_a_file(tmp_path: Path) -> None:
    def start(values: dict[str, str]) -> list[tuple[str, str, str]]:
        with Ledger(tmp_path / "ledger", []) as ledger:
            book_changes(Configuration(values), ledger, SystemClock())
        with closing(sqlite3.connect(tmp_path / "ledger")) as connection:
            return connection.execute("SELECT who, what, detail FROM audit WHERE id > 1").fetchall()

    assert start({"software": "1.0"}) == []
    assert start({"software": "1.1"}) == [("software", "software_changed", "software: '1.0' -> '1.1'")]


def test_a_file_of_a_user_that_is_gone_and_a_file_that_is_gone_are_no_failure(
    tmp_path: Path,
) -> None:
    mine, gone = tmp_path / "mine", tmp_path / "gone"
    mine.touch()
    unknown_uid = 3_999_999
    if os.geteuid() == 0:
        os.chown(mine, unknown_uid, -1)
    sources = {"a": mine, "b": gone}
    with Ledger(tmp_path / "ledger", []) as ledger:
        book_changes(Configuration({"a": "1", "b": "1"}, sources), ledger, SystemClock())
    with Ledger(tmp_path / "ledger", []) as ledger:
        book_changes(Configuration({"a": "2", "b": "2"}, sources), ledger, SystemClock())
    with closing(sqlite3.connect(tmp_path / "ledger")) as connection:
        rows = connection.execute("SELECT who, detail FROM audit WHERE id > 1").fetchall()
    assert rows[0][0] == (f"owner:uid {unknown_uid}" if os.geteuid() == 0 else OWNER)
    assert rows[1] == ("unknown", "b: '1' -> '2' (gone)")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": {"b": 1, "c": None}}, {"a.b": "1", "a.c": "null"}),
        ({"a": [1, 2], "b": []}, {"a": "[1, 2]", "b": "[]"}),
        ({"a": [{"x": 1}, {"x": "y"}]}, {"a.0.x": "1", "a.1.x": "y"}),
        ({"a": {}}, {"a": "{}"}),
        ({"a": "mqtts://u:p@host:8883"}, {"a": "mqtts://***@host:8883"}),
        ({"a": ["http://u@h/x@y"]}, {"a": '["http://***@h/x@y"]'}),
    ],
)
def test_values_as_words(value: dict[str, Any], expected: dict[str, str]) -> None:
    assert dict(flat(value)) == expected
