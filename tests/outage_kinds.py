"""The ways in which a broker goes away."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

from fault_proxy import Way
from outage_rig import Site

PACKET_BYTES = 450  # from here on it is a result, no CONNECT, status or acknowledgement


@dataclass(frozen=True)
class Outage:
    """`begin` takes the broker away, `end` brings it back."""

    begin: Callable[[Site], None]
    end: Callable[[Site], None]


def stand_still(made: Site) -> None:
    made.broker.process.send_signal(signal.SIGSTOP)


def cut(made: Site, way: Way, at_least: int) -> None:
    """In the middle of a packet; returns when it has happened."""
    before = len(made.proxy.cuts)
    made.proxy.cut(way, 3, at_least)
    made.wait(f"a packet is cut on its way {way}", lambda: len(made.proxy.cuts) > before)
    made.proxy.hold()


OUTAGES = {
    "killed": Outage(Site.kill_broker, lambda made: made.broker.start()),
    "ended": Outage(lambda made: made.broker.stop(), lambda made: made.broker.start()),
    "stopped": Outage(stand_still, lambda made: made.broker.process.send_signal(signal.SIGCONT)),
    "wrong password": Outage(lambda made: made.broker.password(False), lambda made: made.broker.password(True)),
    "denied topic": Outage(lambda made: made.broker.deny("result"), lambda made: made.broker.deny("")),
    "silent network": Outage(lambda made: made.proxy.hold(), lambda made: made.proxy.release()),
    "message cut": Outage(lambda made: cut(made, "up", PACKET_BYTES), lambda made: made.proxy.release()),
    "acknowledgement cut": Outage(lambda made: cut(made, "down", 0), lambda made: made.proxy.release()),
}
