"""Stored pictures in the real program: bit by bit, over a kill, and on a disk that is full."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import real_station
from real_station import RealStation

pytestmark = pytest.mark.system
PARTS = real_station.STATION.replace('trigger = "plc"', 'trigger = "timer"\nperiod_s = 0.05').replace(
    'type = "folder"', 'type = "folder"\nslots = 64'
)
IMAGES = "[images]\nmin_free_pct = 0\n"


@pytest.fixture
def station(tmp_path: Path) -> Iterator[RealStation]:
    """20 parts a second, every second one NOT_OK; not started."""
    made = RealStation(tmp_path, "")
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()


def rows(station: RealStation, query: str) -> list[Any]:
    """What the ledger says now; nothing before there is one."""
    path = station.folder / "state/ledger.sqlite"
    if not path.exists():
        return []
    connection = sqlite3.connect(path.as_uri() + "?mode=ro", uri=True, timeout=10)
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError as exc:
        if "no such table" in str(exc):  # it is being made
            return []
        raise
    finally:
        connection.close()


def count(station: RealStation, query: str) -> int:
    return len(rows(station, query))


def test_rejects_are_kept_bit_by_bit_and_a_kill_leaves_no_file_without_its_row(station: RealStation) -> None:
    station.file.write_text(PARTS + IMAGES + "[images.originals]\nevery_nth = 3\n[images.overlays]\nrejects = false\n")
    images = station.folder / "state/images"
    station.start()
    station.wait("pictures", lambda: count(station, "SELECT 1 FROM images") >= 6)
    station.kill()
    lost = rows(station, "SELECT path FROM images ORDER BY id DESC LIMIT 1")[0]["path"]
    with sqlite3.connect(station.folder / "state/ledger.sqlite") as connection:  # as if the kill had come before it
        connection.execute("DELETE FROM images WHERE path = ?", (lost,))
    connection.close()
    station.start()
    station.wait("the picture again", lambda: count(station, f"SELECT 1 FROM images WHERE path = '{lost}'") == 1)
    station.wait("more pictures", lambda: count(station, "SELECT 1 FROM images") >= 12)
    assert station.stop() == 0

    kept = rows(station, "SELECT images.*, evaluation FROM images JOIN results USING (seq)")
    assert sorted(row["path"] for row in kept) == sorted(
        str(path.relative_to(images)) for path in images.rglob("*") if path.is_file()
    )
    sources = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (station.folder / "pictures").iterdir()]
    for row in kept:
        content = (images / row["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"]
        assert len(content) == row["size_bytes"]
        assert (row["evaluation"] == 1) == (json.loads(row["why"]) == ["every_nth"])
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert any(np.array_equal(pixels, source) for source in sources), row["path"]
        assert row["lossless"] == 1
    last = "boot_id = (SELECT boot_id FROM triggers ORDER BY seq DESC LIMIT 1)"
    rejects = rows(station, f"SELECT seq FROM results JOIN triggers USING (seq) WHERE evaluation = 2 AND {last}")
    assert rejects, "the second run had no reject"
    assert {row["seq"] for row in rejects} <= {row["seq"] for row in kept}, "a reject of the second run has no picture"


def test_a_full_disk_stops_pictures_and_nothing_else_until_there_is_room(station: RealStation) -> None:
    station.file.write_text(PARTS + IMAGES + "[images.overlays]\nrejects = false\n")
    images = station.folder / "state/images"
    images.mkdir(parents=True)
    command = [sys.executable, "-m", "edge_inspector", "run", str(station.file)]
    mount = f'mount -t tmpfs -o size=128k pictures "{images}" && exec "$@"'
    with (station.folder / "station.log").open("ab") as log:
        station.process = subprocess.Popen(
            ["unshare", "-rm", "sh", "-c", mount, "sh", *command],
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    station.wait("pictures", lambda: count(station, "SELECT 1 FROM images") >= 3)
    inside = Path(f"/proc/{station.process.pid}/root{images}")
    with contextlib.suppress(OSError), (inside / "others").open("wb") as others:  # until there is no room
        while True:
            others.write(bytes(4096))
            others.flush()
    stopped = "SELECT * FROM events WHERE code = 'images_stopped'"
    station.wait("the disk is full", lambda: count(station, stopped) == 1)
    (event,) = rows(station, stopped)
    assert event["severity"] == "alarm"
    assert "No space left on device" in event["text"]
    before = count(station, "SELECT 1 FROM results")
    station.wait("verdicts go on", lambda: count(station, "SELECT 1 FROM results") >= before + 20)
    judged = rows(station, "SELECT evaluation, count(*) AS n FROM results GROUP BY evaluation ORDER BY evaluation")
    assert [row["evaluation"] for row in judged] == [1, 2], "every part has its verdict"
    assert not list(inside.rglob("*.part")), "a half written file is left"
    pictures = count(station, "SELECT 1 FROM images")
    (inside / "others").unlink()
    station.wait("pictures again", lambda: count(station, "SELECT 1 FROM images") > pictures)
    station.wait("the event", lambda: count(station, "SELECT 1 FROM events WHERE code = 'images_again'") == 1)
    assert station.stop() == 0
