"""What the line does is written down: flight record at once, ledger and outbox behind it, listeners told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import structlog

from edge_inspector.datatypes import (
    AuditEntry,
    Event,
    InspectionResult,
    OutboxMessage,
    Reason,
    Refusal,
    SavedImage,
    Trigger,
)
from edge_inspector.errors import StorageError
from edge_inspector.interfaces import PartFeedback
from edge_inspector.plc.tags import MAX_TEXT
from edge_inspector.station.parts import Parts
from edge_inspector.store.records import (
    BookAcknowledged,
    BookAudit,
    BookEvent,
    BookFeedback,
    BookImage,
    BookImageRemoved,
    BookLate,
    BookRefusal,
    BookResult,
    BookTold,
    BookTrigger,
    BookUnannounced,
)

log = structlog.get_logger()


class Booking:
    """On the event loop; nothing here waits for a disk."""

    def __init__(self, parts: Parts, emit: Callable[[str, object], None]) -> None:
        self._parts = parts
        self._emit = emit
        self.alarmed = False
        """Whether an alarm was booked that nobody has reset yet."""

    def accepted(self, trigger: Trigger) -> int:
        """The flight record's slot of a part. StorageError when there is no room: then nothing is booked."""
        slot = self._parts.flight.trigger(trigger)
        self._parts.ledger.submit(BookTrigger(slot, trigger))
        self._parts.metrics.accepted(trigger)
        return slot

    def refused(self, trigger_seq: int, part_id: str, reason: Reason, count: int = 1) -> None:
        parts = self._parts
        refusal = Refusal(
            trigger_seq, part_id[:MAX_TEXT], reason, parts.clock.utc(), parts.identity.boot_id, count
        )  # fmt: skip
        log.warning("trigger_refused", trigger_seq=trigger_seq, reason=reason.name.lower(), count=count)
        try:
            slot: int | None = parts.flight.refusal(refusal)
        except StorageError:  # full: the refusal still goes to the ledger's queue
            slot = None
        parts.ledger.submit(BookRefusal(slot, refusal))
        parts.metrics.refused(refusal)
        self._emit("refused", refusal)

    def settled(self, slot: int, result: InspectionResult, told: bool | None) -> None:
        """A verdict that the flight record holds already, with its messages."""
        messages = self._messages(result)
        self._parts.ledger.submit(BookResult(slot, result, told=told, messages=messages))
        self._parts.metrics.result(result, told)
        self._emit("result", result)

    def told(self, slot: int, result: InspectionResult, at_ns: int) -> None:
        """A result that was settled before has reached its PLC."""
        self._parts.flight.told(slot)
        self._parts.ledger.submit(BookTold(result.result_id))
        self.told_at(result, at_ns)

    def not_told(self, result: InspectionResult) -> None:
        """A result that was settled before reaches no PLC any more."""
        self._parts.ledger.submit(BookTold(result.result_id, told=False))
        self._parts.metrics.not_told()

    def told_at(self, result: InspectionResult, at_ns: int) -> None:
        """The end of the PLC write is what the deadline is for."""
        self._parts.metrics.told(result, at_ns)
        late_ms = (at_ns - result.trigger.deadline_ns) / 1e6
        if late_ms > 0:
            word = result.evaluation.name
            self.event("warning", "told_late", f"{result.result_id}: {word} told {late_ms:.1f} ms after its deadline")

    def feedback(self, feedback: PartFeedback) -> None:
        """Somebody has looked at a part again."""
        log.info("part_feedback", trigger_seq=feedback.trigger_seq, good=feedback.good)
        self._parts.ledger.submit(
            BookFeedback(feedback.trigger_seq, feedback.plc_boot_id, feedback.good, self._parts.clock.utc())
        )

    def acknowledged(self, result_ids: Sequence[str]) -> None:
        self._parts.ledger.submit(BookAcknowledged(tuple(result_ids), self._parts.clock.utc()))
        self._parts.metrics.acknowledged(len(result_ids))

    def late(self, result: InspectionResult, at_ns: int) -> None:
        """A view that came after the verdict."""
        late_ns = at_ns - result.settled_ns
        log.warning("late_view", result_id=result.result_id, late_ms=round(late_ns / 1e6, 1))
        self._parts.ledger.submit(BookLate(result.result_id, ",".join(result.views), late_ns, self._parts.clock.utc()))
        self._parts.metrics.late(result)

    def unannounced(self, camera: str, frame_id: int | None, text: str) -> None:
        """A picture that no announced part can be sure of."""
        self._parts.ledger.submit(BookUnannounced(camera, frame_id, text, self._parts.clock.utc()))
        self._parts.metrics.unannounced(camera)

    def event(
        self, severity: Literal["info", "warning", "alarm"], code: str, text: str, parts: Sequence[str] = ()
    ) -> None:
        """Something that is not a part; it is published, too. `parts` are the result_ids of those that caused it."""
        self.alarmed |= severity == "alarm"
        record = Event(severity, code, text, self._parts.clock.utc(), tuple(parts))
        self._parts.ledger.submit(BookEvent(record, self._messages(record)))
        self._parts.metrics.event(record)
        self._emit("event", record)

    def audit(self, who: str, what: str, detail: str) -> None:
        """Somebody has changed something, or has seen what not everybody may see."""
        clock = self._parts.clock
        self._parts.ledger.submit(BookAudit(AuditEntry(clock.utc(), clock.synced(), who, what, detail)))

    def image(self, image: SavedImage) -> None:
        """A picture of a part is on the disk; on the image thread."""
        self._parts.ledger.submit(BookImage(image, self._messages(image)))
        self._parts.metrics.image(image)

    def images_removed(self, paths: tuple[str, ...]) -> None:
        """Retention has deleted them; on the image thread."""
        self._parts.ledger.submit(BookImageRemoved(paths, self._parts.clock.utc()))

    def _messages(self, record: InspectionResult | Event | SavedImage) -> tuple[OutboxMessage, ...]:
        return tuple(m for publisher in self._parts.publishers for m in publisher.render(record))
