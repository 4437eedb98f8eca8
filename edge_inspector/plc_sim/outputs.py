"""What the PLC's output image has to send: what has changed, unless a fault holds it back."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from edge_inspector.plc.tags import Value
from edge_inspector.plc_sim.faults import HEARTBEAT_STOP_S, LATE_WRITE_S, NO_ACK_S

HEARTBEAT_NS = 200_000_000
_LASTING_S: Mapping[str, float] = {
    "no-ack": NO_ACK_S,
    "heartbeat-stop": HEARTBEAT_STOP_S,
    "late-write": LATE_WRITE_S,
}


class Outputs:
    """Remembers what was sent in this session. Times are monotonic ns."""

    def __init__(self) -> None:
        self._sent: dict[str, Value] = {}
        self._waiting: deque[tuple[int, Mapping[str, Value]]] = deque()
        self._until: dict[str, int] = {}
        self._beaten_ns = 0

    def forget(self) -> None:
        """A new session knows nothing of what was written in the last one."""
        self._sent.clear()
        self._waiting.clear()

    def strike(self, fault: str, now_ns: int) -> None:
        """A fault of the PLC's writing begins; others do not matter here."""
        if fault in _LASTING_S:
            self._until[fault] = now_ns + int(_LASTING_S[fault] * 1e9)

    def repeat(self, name: str, now_ns: int) -> None:
        """Send a value once more that has not changed."""
        self._waiting.append((now_ns, {name: self._sent[name]}))

    def due(self, wanted: Mapping[str, Value], now_ns: int) -> list[Mapping[str, Value]]:
        """The writes of this scan, in their order; the heartbeat changes less often than the rest."""
        changed = {name: value for name, value in wanted.items() if self._sent.get(name) != value}
        if now_ns - self._beaten_ns < HEARTBEAT_NS or self._plays("heartbeat-stop", now_ns):
            changed.pop("Control.Heartbeat", None)
        if self._plays("no-ack", now_ns):
            changed.pop("Control.ResultAckSeq", None)
        if "Control.Heartbeat" in changed:
            self._beaten_ns = now_ns
        if changed:
            self._sent |= changed
            late_ns = int(LATE_WRITE_S * 1e9) if self._plays("late-write", now_ns) else 0
            self._waiting.append((now_ns + late_ns, changed))
        found = []
        while self._waiting and self._waiting[0][0] <= now_ns:  # what is late holds up what comes behind it
            found.append(self._waiting.popleft()[1])
        return found

    def _plays(self, fault: str, now_ns: int) -> bool:
        return now_ns < self._until.get(fault, 0)
