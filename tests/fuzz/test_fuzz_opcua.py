"""Recorded OPC UA sessions, said again a little wrong, against the running server, while an honest client watches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from captures import asyncua_session, node_opcua_session
from opcua_fuzzer import BATCH, Capture, OpcUaFuzzer
from real_station import OPCUA, RealStation, free_port, real_station
from watchdog import BEAT_S, Watchdog

from edge_inspector.store.books import read_books

SEED = int(os.environ.get("EDGE_INSPECTOR_FUZZ_SEED", "1"))
COUNT = int(os.environ.get("EDGE_INSPECTOR_FUZZ_COUNT", "100000"))
FIRST = int(os.environ.get("EDGE_INSPECTOR_FUZZ_FIRST", "0"))
"""Begin with the message of this number: the same seed says the same again."""
SHORT = 2000
GROWTH_MB = 60.0
LOG_BYTES_A_MESSAGE = 60.0
pytestmark = [pytest.mark.system]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def station(tmp_path: Path, port: int) -> Iterator[RealStation]:
    with real_station(tmp_path, OPCUA.format(port=port), port) as made:
        yield made


def attack(station: RealStation, port: int, capture: Capture, first: int, count: int) -> None:
    """Says `count` messages from number `first` on; fails with the number of the batch that did the damage."""
    fuzzer = OpcUaFuzzer(port, capture, SEED)
    batch, most_mb = first // BATCH, 0.0
    with Watchdog(port) as dog:
        station.wait("the honest client is there", lambda: dog.reads > 0 and dog.notifications > 0)
        fuzzer.run(batch)  # what is loaded and cached only once is not growth
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
    assert dog.slowest_s < BEAT_S
    print(  # noqa: T201
        f"\n{fuzzer.sent} OPC UA messages, seed {SEED}: {fuzzer.closed} connections closed by the server, slowest"
        f" honest read of all tags {dog.slowest_s * 1e3:.0f} ms of {dog.reads}, {dog.notifications} notifications,"
        f" memory {before_mb:.0f} -> {most_mb:.0f} MB"
    )
    assert_nothing_happened(station, fuzzer.sent)


def assert_nothing_happened(station: RealStation, sent: int) -> None:
    """No part, no refusal and no command came of it, the log is short, and the station still ends as it should."""
    assert station.stop() == 0, station.said[-3000:]
    for sign in (
        "Traceback",
        "never retrieved",
        "Exception in callback",
        "station_died",
        "was destroyed but it is pending",
    ):
        assert sign not in station.said, station.said[station.said.index(sign) - 500 :][:4000]
    assert len(station.said) < 50_000 + LOG_BYTES_A_MESSAGE * sent
    books = read_books(station.folder / "state" / "ledger.sqlite")
    assert (books.accepted, books.refused, books.results) == (0, 0, 0)


@pytest.mark.timeout(90)
def test_two_thousand_damaged_messages_change_nothing(station: RealStation, port: int) -> None:
    attack(station, port, asyncua_session(port), 0, SHORT)


@pytest.mark.heavy
@pytest.mark.timeout(1500)
def test_a_hundred_thousand_damaged_messages_change_nothing(station: RealStation, port: int, tmp_path: Path) -> None:
    honest, other = asyncua_session(port), node_opcua_session(port, tmp_path)
    attack(station, port, Capture(honest.connections + other.connections), FIRST, COUNT)
