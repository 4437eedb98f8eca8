"""The broker is killed, stopped, made to refuse and cut off: nothing is lost, and no verdict is slower for it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_record import FaultBook, balance, read_by_plc
from outage_account import account
from outage_kinds import OUTAGES, PACKET_BYTES, Outage
from outage_rig import Site, site, tell
from tls_broker import BASE, MOSQUITTO, WAIT_S

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed: apt-get install mosquitto"),
]
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "outages.py"
RATIO = 1.5  # of the p95 of blocks that follow each other
CUTS = 12  # the waits between them grow: six minutes


def suffer(made: Site, outage: Outage, parts: int, rest: int) -> None:
    """The PLC reads `parts` more results while the broker is away, the witness gets `rest` more when it is back."""
    outage.begin(made)
    made.more_parts(parts)
    assert made.unpublished >= parts // 2, "the broker was not away"
    outage.end(made)
    made.more_published(rest)


def assert_three_books_agree(made: Site, timeout_s: float = WAIT_S) -> None:
    made.drain(timeout_s)
    wanted = made.books.results
    made.wait("the witness has them all", lambda: made.unpublished <= 0)
    newest = max(json.loads(one.payload)["seq"] for one in made.results)
    lasts = [json.loads(one.payload)["seq"] for one in made.witness.look() if one.topic == f"{BASE}/result/last"]
    made.stop_balanced()
    found = account(made.ledger, made.plc_log, made.witness.look(), BASE)
    tell(f"{found}")
    assert found.wrong == ()
    assert found.undefined == 0
    assert found.accepted == found.results == wanted
    assert lasts[-1:] == [newest]


def test_no_outage_of_the_broker_loses_or_changes_a_result(tmp_path: Path, fault: FaultBook) -> None:
    with site(tmp_path) as made:
        made.start_plc()
        made.more_published()
        for outage in OUTAGES.values():
            suffer(made, outage, parts=60, rest=20)
        assert [cut.way for cut in made.proxy.cuts] == ["up", "down"]
        assert all(0 < cut.passed < cut.size for cut in made.proxy.cuts)
        assert_three_books_agree(made)
        fault.tell(
            18,
            injected=f"the broker or the way to it: {', '.join(OUTAGES)}",
            saw=read_by_plc(made.ledger, made.plc_log),
            books=f"{balance(made.ledger, made.plc_log)}; the witness at the broker has each of them",
        )


@pytest.mark.heavy
@pytest.mark.timeout(1200)
def test_outages_5000_parts_and_twenty_broker_kills(tmp_path: Path) -> None:
    kills = [OUTAGES["killed"], OUTAGES["ended"]] * 10
    others = [one for name, one in OUTAGES.items() if name not in ("killed", "ended")] * 2
    order = [one for pair in zip(kills, others, strict=False) for one in pair] + kills[len(others) :]
    with site(tmp_path) as made:
        made.start_plc()
        made.more_published()
        begin = time.monotonic()
        for outage in order:
            suffer(made, outage, parts=100, rest=100)
        made.wait("5 000 parts", lambda: made.books.results >= 5000, timeout_s=300)
        rate = len(made.plc.results) / (time.monotonic() - begin)
        assert_three_books_agree(made)
        tell(f"outages: {len(order)}, parts a second: {rate:.1f}")


@pytest.mark.heavy
@pytest.mark.timeout(1200)
def test_outages_that_cut_every_message_for_minutes_lose_nothing(tmp_path: Path) -> None:
    """A network that lets small packets pass and breaks at each large one is no proof against the message."""
    with site(tmp_path) as made:
        made.start_plc(rate=5)
        made.more_published()
        made.proxy.cut("up", 0, PACKET_BYTES, again=True)
        made.wait("many connections have broken", lambda: len(made.proxy.cuts) >= CUTS, timeout_s=900)
        made.proxy.mend()
        assert_three_books_agree(made, timeout_s=200)


@pytest.mark.heavy
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("what", "parts", "kinds"), [("broker", 250, 1), ("web", 150, 2)])
def test_outages_make_no_verdict_slower(tmp_path: Path, what: str, parts: int, kinds: int) -> None:
    """The web service's too, killed or flooded."""
    figures = tmp_path / "outages.json"
    command = [sys.executable, str(BENCHMARK), what, "--parts", str(parts), "--json", str(figures)]
    subprocess.run(command, check=True)
    measured = json.loads(figures.read_text())
    assert measured["undefined"] == 0
    assert len(measured["ratios"]) == kinds
    for found in measured["ratios"].values():
        assert found["pairs"] >= 6
        assert max(found["plc_ill"], found["station_ill"]) <= RATIO
