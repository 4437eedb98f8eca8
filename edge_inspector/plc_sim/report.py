"""What the simulated PLC tells a person at the end, in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edge_inspector.plc_sim.log import PlcBook
from edge_inspector.plc_sim.proof import Proof

_LISTED = 10


def report(book: PlcBook, proof: Proof | None, seconds: float) -> list[str]:
    """The lines; without a `proof` nothing is said of bad parts, because the log alone cannot know."""
    passed = len(book.passed)
    rejected = Counter(part.why for part in book.gate if not part.passed)
    rate = f", {len(book.gate) / seconds:.1f} a second" if seconds > 0 else ""
    lines = [f"{len(book.gate)} parts through the gate in {seconds:.1f} s{rate}: {passed} passed"
             f", {rejected.total()} rejected"]  # fmt: skip
    lines += [f"  {count:>6}  {why}" for why, count in rejected.most_common()]
    if book.faults:
        lines.append("faults played: " + ", ".join(f"{name} {count}" for name, count in book.faults.items()))
    trips = sorted(told.round_trip_ms for told in book.results if told.round_trip_ms is not None)
    if trips:
        half, most = _rank(trips, 50), _rank(trips, 99)
        lines.append(f"from TriggerSeq to the result: p50 {half:.1f} ms, p99 {most:.1f} ms, at most {trips[-1]:.1f} ms")
    return [*lines, *(_proven(proof) if proof is not None else ["not compared with the station's ledger: --ledger"])]


def _proven(proof: Proof) -> list[str]:
    lines = [
        f"bad parts passed: {len(proof.bad_passed)}, wrong part ids: {len(proof.wrong_ids)}",
        f"ledger: {proof.compared} results compared, {len(proof.disagreements)} disagreements,"
        f" {proof.unread} told but never read",
    ]
    found = (*proof.bad_passed, *proof.wrong_ids, *proof.disagreements)
    lines += [f"  {text}" for text in found[:_LISTED]]
    return lines + ([f"  and {len(found) - _LISTED} more"] if len(found) > _LISTED else [])


def _rank(ordered: Sequence[float], percent: int) -> float:
    """Nearest rank."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
