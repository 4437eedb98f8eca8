"""What the station tells of itself when somebody reads its metrics."""

from __future__ import annotations

from collections.abc import Sequence

from edge_inspector.health.progress import ProgressBook
from edge_inspector.health.readings import EngineReading, Readings
from edge_inspector.station.gpu_thread import GpuThread
from edge_inspector.station.line import Line
from edge_inspector.station.publisher_thread import PublisherThread


def readings(
    line: Line, gpu: GpuThread, publishers: Sequence[PublisherThread], progress: ProgressBook, hung_s: float
) -> Readings:
    """A snapshot; on any thread, so it only reads, and what it reads may be some events apart."""
    parts, recipe = line.parts, line.condition.recipe
    return Readings(
        identity=parts.identity,
        status=line.status,
        now_ns=parts.clock.monotonic_ns(),
        open_parts=len(line.work.open),
        classes=recipe.criteria.classes,
        deadline_s=recipe.settings.deadline_ms / 1e3,
        queues={"line": line.events.qsize(), "model": gpu.waiting, "ledger": parts.ledger.waiting},
        ledger_healthy=parts.ledger.healthy,
        ledger_bytes=parts.ledger.size_bytes or None,
        outbox_bytes=parts.ledger.outbox_bytes,
        flight_used=parts.flight.used,
        flight_slots=parts.flight.slots,
        vitals=line.vitals,
        cameras=line.cameras.readings(),
        destinations=tuple(publisher.counters() for publisher in publishers),
        links=line.links.up,
        engines=_engines(line, gpu),
        progress_age_s=progress.ages_s(),
        hung_s=hung_s,
        thresholds=line.condition.thresholds.readings(),
        thresholds_held=line.condition.thresholds.held(),
        changeovers=line.changeover.ended,
        changeover_s=line.changeover.seconds,
        images={} if parts.images is None else parts.images.counters(),
        power=line.power.reading(),
    )


def _engines(line: Line, gpu: GpuThread) -> tuple[EngineReading, ...]:
    parts = line.parts
    recipes = parts.recipes.now  # a reload may swap them in the middle
    return tuple(
        EngineReading(
            name,
            recipes[name].model_hash,
            type(parts.backend).__name__.removesuffix("Backend").lower(),
            parts.backend.options.precision,
            memory_bytes or None,
        )
        for name, memory_bytes in gpu.loaded().items()
        if name in recipes
    )
