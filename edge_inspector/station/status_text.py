"""What the station is, in one line that `systemctl status` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edge_inspector.interfaces import StationStatus, Vitals
from edge_inspector.station.line import Line


def status_text(line: Line, stale: Sequence[str]) -> str:
    """Of the station as it is now; `stale` are the loops that show no progress."""
    return "; ".join(_said(line, stale))


def _said(line: Line, stale: Sequence[str]) -> Iterator[str]:
    if stale:
        yield f"NO HEARTBEAT, no progress in {', '.join(stale)}"
    status = line.status
    if status is None:
        yield "starting"
        return
    yield _readiness(status, fit=line.condition.blocked() is None, stopping=line.condition.stopping)
    yield f"recipe {status.recipe}"
    yield _verdicts(line.parts.metrics.totals)
    if line.links.up:
        yield "PLC " + ", ".join(f"{name} {'up' if up else 'away'}" for name, up in sorted(line.links.up.items()))
    down = line.condition.down
    yield "cameras " + ", ".join(f"{name} {'away' if name in down else 'up'}" for name in line.parts.cameras)
    if line.reload.refused:
        yield f"the last reload was refused: {line.reload.refused}"
    if status.alarm:
        yield "an alarm waits to be reset"
    yield from _machine(line.vitals)


def _readiness(status: StationStatus, *, fit: bool, stopping: bool) -> str:
    """A station at work counts as READY: whether it takes the next part at this very moment is for the PLC."""
    why = status.error_text or "see the log"
    told = f"{why} (ErrorCode {status.error_code})" if status.error_code else why
    if stopping:
        return f"stopping, {status.queue_depth} parts open"
    if not fit:
        return f"not ready: {told}"
    return f"READY, warning: {told}" if status.warning or status.error_code else "READY"


def _verdicts(totals: Mapping[str, int]) -> str:
    """Of Production parts since the start."""
    named = {"OK": "ok", "NOT_OK": "not_ok", "UNDEFINED": "undefined", "NOT_DECIDABLE": "not_decidable"}
    counts = {name: totals[f"results_{key}"] for name, key in named.items()}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name != "NOT_DECIDABLE")
    refused = f", {totals['refused']} triggers refused" if totals["refused"] else ""
    return f"{sum(counts.values())} parts ({told}){refused}"


def _machine(vitals: Vitals) -> Iterator[str]:
    free = {"disk": vitals.disk_free_pct, "memory": vitals.memory_free_pct}
    known = [f"{what} {percent:.0f} % free" for what, percent in free.items() if percent is not None]
    if vitals.temp_c is not None:
        known.append(f"{vitals.temp_c:.0f} C")
    if known:
        yield ", ".join(known)
    if vitals.throttled:
        yield f"throttled: {vitals.throttled}"
