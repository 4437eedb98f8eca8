"""Rows 29 and 40 of the fault table: the wall clock steps by hours, or starts in 1970 and jumps by years."""

from __future__ import annotations

import mmap
import shutil
import sqlite3
import struct
import subprocess
import time
from contextlib import closing
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509
from fault_record import FaultBook
from fault_rig import JSON_LOG, Scene, running
from real_station import free_port

CC = shutil.which("cc")
pytestmark = [
    pytest.mark.system,
    pytest.mark.heavy,
    pytest.mark.skipif(CC is None, reason="no C compiler: apt-get install gcc libc6-dev"),
]
HOUR_S = 3600.0
TURNED_S = 600.0
"""More than any test takes, less than a step."""
MASTER = ('state_dir = "state"', 'state_dir = "state"\nmaster = "line"')
SECURE = """\
[plc.second]
type = "opcua_server"
host = "0.0.0.0"
port = {port}
[ledger]
keep_days = 30
"""


class Clock:
    """The station's wall clock, and whether it counts as set; CLOCK_MONOTONIC stays the real one."""

    def __init__(self, folder: Path) -> None:
        library, told = folder / "wall_clock.so", folder / "wall_clock"
        source = Path(__file__).parent / "wall_clock.c"
        subprocess.run([str(CC), "-shared", "-fPIC", "-Werror", "-Wall", "-o", library, source], check=True)
        told.write_bytes(bytes(16))
        with told.open("r+b") as file:
            self._told = mmap.mmap(file.fileno(), 16)
        self.env = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(told), "TZ": "UTC"}

    def turn(self, seconds: float) -> None:
        """So far from the real one, from now on."""
        self._told[:8] = struct.pack("q", round(seconds))

    def synchronised(self) -> None:
        """As by a time server."""
        self._told[8:] = struct.pack("q", 1)


def rows(made: Scene) -> list[tuple[int, float, bool]]:
    """Number, UTC in seconds, and whether the clock was set, of each result."""
    query = "SELECT seq, wall_utc, clock_synced FROM triggers JOIN results USING (seq) ORDER BY seq"
    with closing(sqlite3.connect(f"file:{made.ledger}?mode=ro", uri=True)) as book:
        found = book.execute(query).fetchall()
    return [(seq, datetime.fromisoformat(utc.replace("Z", "+00:00")).timestamp(), bool(s)) for seq, utc, s in found]


def seen(made: Scene, turned_s: float) -> None:
    """Wait until a part has been dated by a clock that is so far from this one."""
    made.wait("the clock has turned", lambda: abs(rows(made)[-1][1] - time.time() - turned_s) < TURNED_S)


def steps_s(made: Scene) -> list[float]:
    """By how much the clock has turned between a result and the next, where that is more than the parts took."""
    times = [at for _, at, _ in rows(made)]
    return [after - before for before, after in pairwise(times) if abs(after - before) > TURNED_S]


def test_a_clock_that_steps_by_an_hour_changes_times_and_nothing_else(tmp_path: Path, fault: FaultBook) -> None:
    clock = Clock(tmp_path)
    clock.synchronised()
    made = Scene(tmp_path, JSON_LOG, env=clock.env)
    with running(made):
        made.start_plc()
        made.judged()
        since_ns, since = time.monotonic_ns(), made.plc_at
        for turned_s in (3600, 0, -3600, 0):
            clock.turn(turned_s)
            seen(made, turned_s)
            made.judged(2)
        up = made.judged()
        made.finish()
        assert [round(step / HOUR_S) for step in steps_s(made)] == [1, -1, -1, 1]
        assert [seq for seq, _, _ in rows(made)] == sorted(seq for seq, _, _ in rows(made))
        assert made.books.undefined == 0
        assert not any(sight.error_code for sight in made.panel.since(since_ns) if sight.ns < up)
        fault.tell(
            29,
            injected="the wall clock (preloaded library) an hour ahead, back, an hour behind, back",
            saw=made.saw(since_ns, since, up),
            books=f"{made.balance()}; numbered in order, times an hour off",
        )


def certificate(made: Scene) -> x509.Certificate:
    """That the OPC UA server shows."""
    (path,) = (made.folder / "state").glob("**/own/cert.der")
    return x509.load_der_x509_certificate(path.read_bytes())


def test_a_clock_that_starts_in_1970_and_jumps_by_years_loses_nothing_and_dates_what_it_can(
    tmp_path: Path, fault: FaultBook
) -> None:
    clock = Clock(tmp_path)
    clock.turn(60.0 - time.time())
    made = Scene(tmp_path, SECURE.format(port=free_port()), JSON_LOG, settings=[MASTER], env=clock.env)
    with running(made):
        made.start_plc()
        made.judged()
        since_ns, since = time.monotonic_ns(), made.plc_at
        clock.turn(0.0)
        clock.synchronised()
        seen(made, 0)
        made.judged(2)
        assert made.stop() == 0
        made.restart()
        up = made.judged()
        made.finish()
        before = [at for _, at, synced in rows(made) if not synced]
        after = [at for _, at, synced in rows(made) if synced]
        assert before
        assert max(before) < HOUR_S
        assert after
        assert min(after) > 50 * 365 * 24 * HOUR_S
        assert len(before) + len(after) == made.books.results == made.books.accepted
        assert made.books.removed == 0
        assert made.books.undefined == 0
        now = datetime.fromtimestamp(time.time())
        own = certificate(made)
        assert own.not_valid_before_utc.replace(tzinfo=None) < now < own.not_valid_after_utc.replace(tzinfo=None)
        fault.tell(
            40,
            injected="the wall clock (preloaded library) in 1970, not synchronised; then today; a new start",
            saw=made.saw(since_ns, since, up),
            books=f"{made.balance()}; {len(before)} results flagged as undated, nothing removed by age,"
            " the OPC UA certificate is valid today",
        )
