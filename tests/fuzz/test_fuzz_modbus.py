"""Damaged Modbus frames against the running server, while an honest client watches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from modbus_fuzzer import BATCH, ModbusFuzzer, ModbusWatchdog, honest_frames
from real_station import RealStation, free_port, real_station

from edge_inspector.store.books import read_books

SEED = int(os.environ.get("EDGE_INSPECTOR_FUZZ_SEED", "1"))
COUNT = int(os.environ.get("EDGE_INSPECTOR_FUZZ_COUNT", "100000"))
FIRST = int(os.environ.get("EDGE_INSPECTOR_FUZZ_FIRST", "0"))
SHORT = 2000
SLOW_S = 3.0
GROWTH_MB = 30.0
LOG_BYTES_A_FRAME = 30.0
MODBUS = '[plc.line]\ntype = "modbus_server"\nport = {port}\n'
pytestmark = [pytest.mark.system]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def station(tmp_path: Path, port: int) -> Iterator[RealStation]:
    with real_station(tmp_path, MODBUS.format(port=port), port) as made:
        yield made


def attack(station: RealStation, port: int, first: int, count: int) -> None:
    fuzzer = ModbusFuzzer(port, honest_frames(), SEED)
    batch, most_mb = first // BATCH, 0.0
    with ModbusWatchdog(port) as dog:
        station.wait("the honest client is there", lambda: dog.reads > 0)
        fuzzer.run(batch)
        before_mb = station.rss_mb
        while fuzzer.sent < count:
            batch += 1
            where = f"batch {batch} of seed {SEED}: EDGE_INSPECTOR_FUZZ_FIRST={batch * BATCH}"
            fuzzer.run(batch)
            assert not dog.faults, f"{where}: {dog.faults}\n{station.said[-3000:]}"
            assert not dog.changes, f"{where}: changed without right: {dog.changes}"
            assert station.process is not None
            assert station.process.poll() is None, f"{where}: the station has ended\n{station.said[-3000:]}"
            most_mb = max(most_mb, station.rss_mb)
            assert most_mb < before_mb + GROWTH_MB, f"{where}: {before_mb:.0f} -> {most_mb:.0f} MB"
    assert dog.slowest_s < SLOW_S
    print(  # noqa: T201
        f"\n{fuzzer.sent} Modbus frames, seed {SEED}: {fuzzer.closed} connections closed by the server, slowest "
        f"honest read of all registers {dog.slowest_s * 1e3:.0f} ms of {dog.reads},"
        f" memory {before_mb:.0f} -> {most_mb:.0f} MB"
    )
    assert station.stop() == 0, station.said[-3000:]
    for sign in ("Traceback", "never retrieved", "Exception in callback", "station_died"):
        assert sign not in station.said, station.said[station.said.index(sign) - 500 :][:4000]
    assert len(station.said) < 20_000 + LOG_BYTES_A_FRAME * fuzzer.sent
    books = read_books(station.folder / "state" / "ledger.sqlite")
    assert (books.accepted, books.refused, books.results) == (0, 0, 0)


@pytest.mark.timeout(90)
def test_two_thousand_damaged_frames_change_nothing(station: RealStation, port: int) -> None:
    attack(station, port, 0, SHORT)


@pytest.mark.heavy
@pytest.mark.timeout(1500)
def test_a_hundred_thousand_damaged_frames_change_nothing(station: RealStation, port: int) -> None:
    attack(station, port, FIRST, COUNT)
