"""What can go wrong in a PLC, played on demand and at random."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from edge_inspector.errors import ConfigError

AT_A_PART: Mapping[str, str] = {
    "no-ack": "results are not acknowledged for 1.5 s",
    "heartbeat-stop": "Control.Heartbeat stands still for 3 s",
    "restart": "the PLC starts again and knows none of the parts on its belt",
    "lost-link": "the connection breaks and is made anew",
    "late-scan": "one scan takes 0.7 s longer",
    "late-write": "what a scan has to write reaches the station 0.2 s late, and the PLC does not wait for it",
    "duplicate-trigger": "the same TriggerSeq is written again",
    "double-trigger": "two parts are announced in one scan, so that the first number is skipped",
}
"""Each strikes when a part is announced."""
AT_A_SCAN: Mapping[str, str] = {
    "torn-scans": "the tags of one scan come from several read requests, with time between them",
}
ALL: Mapping[str, str] = {**AT_A_PART, **AT_A_SCAN}
NO_ACK_S = 1.5
HEARTBEAT_STOP_S = 3.0
LATE_SCAN_S = 0.7
LATE_WRITE_S = 0.2
DEFAULT_SHARE = 0.05


class Faults:
    """Decides by chance: with the same seed the same faults strike the same parts, however many scans lie between."""

    def __init__(self, shares: Mapping[str, float], seed: int) -> None:
        self._shares = shares
        self._parts = random.Random(seed)
        self._scans = random.Random(seed)

    def at_a_part(self) -> tuple[str, ...]:
        """Which faults begin with this part."""
        return tuple(name for name in AT_A_PART if self._parts.random() < self._shares.get(name, 0.0))

    def cuts(self, count: int) -> tuple[int, ...]:
        """After which of `count` tags this scan's reading is interrupted; none = one request."""
        if self._scans.random() >= self._shares.get("torn-scans", 0.0):
            return ()
        return tuple(sorted(self._scans.sample(range(1, count), 2)))


def shares(asked: Sequence[str]) -> dict[str, float]:
    """`NAME` or `NAME=SHARE` (0..1) of each fault, or `all`. ConfigError: no such fault, or no share."""
    found: dict[str, float] = {}
    for text in asked:
        name, _, share_text = text.partition("=")
        if name not in (*ALL, "all"):
            raise ConfigError(f"fault {name!r} is not known; known are all, {', '.join(ALL)}")
        try:
            share = float(share_text) if share_text else DEFAULT_SHARE
        except ValueError:
            share = -1.0
        if not 0.0 <= share <= 1.0:
            raise ConfigError(f"fault {text!r}: expected a share from 0 to 1 after the =, such as {name}=0.02")
        found |= dict.fromkeys(ALL if name == "all" else (name,), share)
    return found
