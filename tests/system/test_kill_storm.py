"""SIGKILL of the station at random moments, while its broker comes and goes: nothing lost, nothing doubled.

KILL_SEED chooses the moments, KILL_FROM the first kill: a long run that was broken off goes on where it was.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_record import FaultBook, balance, longest_without_verdict_s, read_by_plc
from outage_account import Account, account
from outage_kinds import PACKET_BYTES
from outage_rig import Site, site, tell
from tls_broker import BASE, MOSQUITTO

from edge_inspector.store.flight import FlightRecord

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed: apt-get install mosquitto"),
]
SEED = os.environ.get("KILL_SEED", "1")
FIRST = int(os.environ.get("KILL_FROM", "0"))
MANY, EPISODE = 200, 10
LONGEST_S = 2.0  # a start takes about one: many kills meet one
AIMED = 0.6  # the share of kills that come while a part is in work, or its result on its way into the book
OPEN_S = 0.012  # a part takes about so long
TURN = 0.4  # the share of kills before which the broker goes or comes back


class Weather:
    """The broker goes away in one of four ways, and comes back."""

    def __init__(self, made: Site) -> None:
        self._made = made
        self._back: Callable[[], None] | None = None

    def turn(self, chance: random.Random) -> None:
        """Fair becomes foul, foul becomes fair."""
        if self._back is not None:
            self.clear()
            return
        made = self._made
        ways: list[tuple[Callable[[], None], Callable[[], None]]] = [
            (made.kill_broker, made.broker.start),
            (
                lambda: made.broker.process.send_signal(signal.SIGSTOP),
                lambda: made.broker.process.send_signal(signal.SIGCONT),
            ),
            (lambda: made.broker.password(False), lambda: made.broker.password(True)),
            (made.proxy.hold, made.proxy.release),
        ]
        go, self._back = ways[chance.randrange(len(ways))]
        go()
        made.proxy.cut("up", chance.randrange(20), PACKET_BYTES)  # when it is back, it breaks once more in a packet

    def clear(self) -> None:
        """Fair."""
        if self._back is not None:
            self._back()
            self._back = None


def storm(made: Site, kills: range) -> None:
    """Kill and start the station so often; each kill's moment hangs on the seed and its number alone."""
    weather = Weather(made)
    for number in kills:
        chance = random.Random(f"{SEED}/{number}")
        if chance.random() < TURN:
            weather.turn(chance)
        if chance.random() < AIMED:
            made.next_announcement(after=chance.randrange(1, 20))
            time.sleep(chance.uniform(0, OPEN_S))
        else:
            time.sleep(chance.uniform(0, LONGEST_S))
        made.station.kill()
        made.station.start()
    weather.clear()
    made.more_published()


def settled_account(made: Site) -> Account:
    """The last parts are settled and published, the station is stopped, the books are compared."""
    made.drain()
    wanted = made.books.results
    made.wait("the witness has them all", lambda: made.unpublished <= 0)
    made.stop_balanced()
    with FlightRecord(made.ledger.parent / "run" / "flight.bin") as flight:
        assert flight.left() == []
    found = account(made.ledger, made.plc_log, made.witness.look(), BASE)
    assert found.accepted == found.results == wanted
    return found


@pytest.mark.heavy
def test_ten_kills_at_random_moments_lose_nothing_and_double_nothing(tmp_path: Path, fault: FaultBook) -> None:
    with site(tmp_path) as made:
        made.start_plc()
        made.more_published()
        storm(made, range(EPISODE))
        found = settled_account(made)
        tell(f"{found}")
        assert found.wrong == ()
        fault.tell(
            25,
            injected=f"SIGKILL at {EPISODE} random moments, most with a part in work, while the broker comes and goes",
            saw=read_by_plc(made.ledger, made.plc_log),
            books=f"{balance(made.ledger, made.plc_log)}; {found.replayed} closed after a restart",
            recovery_s=longest_without_verdict_s(made.ledger),
        )


@pytest.mark.heavy
@pytest.mark.timeout(3600)
def test_outages_with_two_hundred_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        for first in range(FIRST, MANY, EPISODE):
            made.start_plc()
            storm(made, range(first, min(first + EPISODE, MANY)))
            found = settled_account(made)
            tell(f"KILL_SEED={SEED}, kills {first} to {min(first + EPISODE, MANY) - 1}: {found}")
            assert found.wrong == ()
            made.station.start()
            made.station.wait_until_listening(made.plc_port)
        assert found.undefined > 0, "no kill has met an open part"
