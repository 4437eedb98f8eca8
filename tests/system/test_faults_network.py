"""Rows 18 and 19 of the fault table: a network of every bad kind before the broker, and an outage of ten minutes."""

from __future__ import annotations

import itertools
import json
import statistics
from pathlib import Path

import pytest
from fault_proxy import SOUND, Toxics
from fault_record import FaultBook, balance, read_by_plc
from outage_account import account
from outage_rig import Site, site
from tls_broker import BASE, MOSQUITTO

from edge_inspector.plc_sim.log import read_plc_log

pytestmark = [
    pytest.mark.system,
    pytest.mark.heavy,
    pytest.mark.timeout(600),
    pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed: apt-get install mosquitto"),
]
TOXICS = {
    "latency": Toxics(latency_s=0.2),
    "down": Toxics(down=True),
    "bandwidth": Toxics(bytes_per_s=8_000),
    "slow close": Toxics(limit_bytes=4_000, close_s=1.0),
    "timeout": Toxics(timeout_s=1.0),
    "reset": Toxics(reset_s=0.5),
    "slicing": Toxics(slice_bytes=7),
    "byte limit": Toxics(limit_bytes=6_000),
}
"""The eight of toxiproxy."""
PARTS, REST = 30, 20
RATIO = 2.0
"""A verdict knows nothing of the broker; a shared machine knows its neighbours."""
OUTAGE_PARTS, OUTAGE_RATE_HZ = 1500, 40.0
"""As many as a line of 2.5 parts a second makes in ten minutes."""
REPLAY_PER_S = 200.0
MUCH = 1.5
"""A second's share of messages at the most: whole seconds are cut somewhere."""


def round_trips_ms(made: Site, begin: int) -> list[float]:
    """Of what the PLC has read since that byte of its log."""
    results = read_plc_log(made.plc_log, begin).results
    return [one.round_trip_ms for one in results if one.round_trip_ms is not None]


def median_ms(made: Site) -> float:
    """The round trip of the next parts."""
    begin = made.plc_log.stat().st_size
    made.more_parts(PARTS)
    return statistics.median(round_trips_ms(made, begin))


def books_agree(made: Site) -> str:
    """After everything has arrived and the station has stopped; in words."""
    made.drain(120)
    made.wait("the witness has them all", lambda: made.unpublished <= 0)
    made.stop_balanced()
    found = account(made.ledger, made.plc_log, made.witness.look(), BASE)
    assert found.wrong == ()
    return f"{balance(made.ledger, made.plc_log)}; {found.results} at the broker, {found.duplicates} of them twice"


def test_no_bad_network_before_the_broker_delays_a_verdict_or_loses_a_result(tmp_path: Path, fault: FaultBook) -> None:
    with site(tmp_path) as made:
        made.start_plc()
        made.more_published(5)
        ratios = []
        for toxics in TOXICS.values():
            sound_ms = median_ms(made)
            made.proxy.suffer(toxics)
            ratios.append(median_ms(made) / sound_ms)
            made.proxy.suffer(SOUND)
            made.more_published(REST)
        ratio = statistics.median(ratios)
        assert ratio <= RATIO, f"by network, times the median before: {dict(zip(TOXICS, ratios, strict=True))}"
        books = books_agree(made)
        assert made.books.undefined == 0
        fault.tell(
            18,
            injected=f"a TCP proxy before the broker: {', '.join(TOXICS)}",
            saw=f"{read_by_plc(made.ledger, made.plc_log)}; a part takes {ratio:.1f} times as long as before the fault,"
            " the median of all",
            books=books,
        )


def test_after_a_long_outage_the_broker_gets_everything_in_order_at_a_bounded_rate(
    tmp_path: Path, fault: FaultBook
) -> None:
    with site(tmp_path) as made:
        text = made.station.file.read_text()
        made.station.file.write_text(text.replace('type = "mqtt"', f'type = "mqtt"\nreplay_per_s = {REPLAY_PER_S}', 1))
        made.station.kill()
        made.station.start()
        made.start_plc(OUTAGE_RATE_HZ)
        made.more_published(5)
        made.kill_broker()
        before = len(made.results)
        begin = made.plc_log.stat().st_size
        made.wait("half of a long backlog", lambda: made.unpublished >= OUTAGE_PARTS // 2, 240)
        away_ms = statistics.median(round_trips_ms(made, begin))
        made.wait("a long backlog", lambda: made.unpublished >= OUTAGE_PARTS, 240)
        made.broker.start()
        begin = made.plc_log.stat().st_size
        made.wait("the backlog has arrived", lambda: made.unpublished < REPLAY_PER_S, 120)
        replay_ms = statistics.median(round_trips_ms(made, begin))
        books = books_agree(made)
        again = made.results[before:]
        numbers = list(dict.fromkeys(json.loads(one.payload)["seq"] for one in again))
        assert numbers == sorted(numbers), "a result came before an older one"
        seconds = [len(list(some)) for _, some in itertools.groupby(again, key=lambda one: int(one.at))]
        assert max(seconds) <= MUCH * REPLAY_PER_S, f"{max(seconds)} results in a second"
        assert replay_ms <= 2 * RATIO * away_ms, f"{replay_ms:.1f} ms during the replay, {away_ms:.1f} ms before"
        assert made.books.undefined == 0
        fault.tell(
            19,
            injected=f"the broker is killed for {OUTAGE_PARTS} parts, ten minutes of a line with 2.5 a second",
            saw=f"{read_by_plc(made.ledger, made.plc_log)}; during the replay the median is {replay_ms / away_ms:.1f}"
            " times that of the outage",
            books=f"{books}; in order, at most {max(seconds)} in a second",
        )
