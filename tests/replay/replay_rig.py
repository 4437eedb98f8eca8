"""A station that has really run, with a calibrated camera, rules and stored originals; and copies of its folder."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import real_station
from real_station import RealStation

from edge_inspector.calibration.file import calibration_text
from edge_inspector.datatypes import Calibration
from edge_inspector.replay.records import WhatIf
from edge_inspector.replay.replaying import Asked, Replay, replay
from edge_inspector.replay.setups import read_station
from edge_inspector.store.periods import between

LENS = Calibration(
    image_hw=(64, 96),
    matrix=(90.0, 90.0, 48.3, 31.6),
    distortion=(-0.2, 0.05, 0.001, -0.001, 0.0),
    plane=(0.1, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 1.0),
)
RULES = """
[recipes.spots.zones.middle]
camera = "cam"
include = [[[4, 4], [92, 4], [92, 60], [4, 60]]]
[[recipes.spots.rules]]
kind = "defect"
name = "spots"
classes = ["bright", "dark"]
zones = ["middle"]
longer_than_mm = 1.0
"""
IMAGES = """
[images]
min_free_pct = 0
[images.originals]
every_nth = 3
[images.overlays]
rejects = false
"""


def station_text() -> str:
    """20 parts a second, every second one with a spot."""
    text: str = real_station.STATION.replace('trigger = "plc"', 'trigger = "timer"\nperiod_s = 0.05')
    text = text.replace('type = "folder"', 'type = "folder"\nslots = 64\ncalibration = "lens.yaml"')
    return text + RULES + IMAGES


@contextmanager
def running_station(folder: Path, pictures: int) -> Iterator[RealStation]:
    """Running, with at least so many pictures booked."""
    made = RealStation(folder, "")
    made.file.write_text(station_text())
    (folder / "lens.yaml").write_text(calibration_text(LENS))
    made.start()
    try:
        made.wait("pictures", lambda: _count(folder, "SELECT count(*) FROM images") >= pictures)
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.kill()


class Copy:
    """A copy of a station's folder that a test may change."""

    def __init__(self, of: Path, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "station.toml"
        self.ledger = folder / "state/ledger.sqlite"
        self.images = folder / "state/images"
        shutil.copytree(of, folder, ignore=shutil.ignore_patterns("run", "station.log"))

    def change(self, statement: str, *values: Any) -> None:
        """In the book."""
        with closing(sqlite3.connect(self.ledger)) as connection, connection:
            assert connection.execute(statement, values).rowcount, "nothing was changed"

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.ledger)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(query).fetchall()

    def write(self, old: str, new: str) -> None:
        """In the station file."""
        text = self.file.read_text()
        assert old in text, text
        self.file.write_text(text.replace(old, new))

    def replay(self, **what: Any) -> Replay:
        """All of it."""
        return replayed(self.file, WhatIf(**what))


def replayed(file: Path, what: WhatIf | None = None, **asked: Any) -> Replay:
    everything: dict[str, Any] = {"within": between(None, None), "of": None, "limit": 1000, **asked}
    return replay(read_station(file), Asked(what=what or WhatIf(), **everything))


def _count(folder: Path, query: str) -> int:
    path = folder / "state/ledger.sqlite"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path.as_uri() + "?mode=ro", uri=True, timeout=10)) as connection:
        try:
            return int(connection.execute(query).fetchone()[0])
        except sqlite3.OperationalError as exc:
            if "no such table" in str(exc):  # it is being made
                return 0
            raise
