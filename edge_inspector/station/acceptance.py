"""What is accepted gets its number and its place in the flight record, before anybody is told."""

from __future__ import annotations

from edge_inspector.datatypes import Mode, Trigger
from edge_inspector.inspection import Inspection, Job
from edge_inspector.plc.tags import MAX_TEXT
from edge_inspector.station.announcements import windows
from edge_inspector.station.attempts import Attempts
from edge_inspector.station.booking import Booking
from edge_inspector.station.parts import LoadedRecipe, Parts
from edge_inspector.station.thresholds import Thresholds


class Acceptance:
    """On the event loop. One row of numbers for all that the station inspects, whoever asked for it."""

    def __init__(self, parts: Parts, next_seq: int, booking: Booking, thresholds: Thresholds) -> None:
        self.next_seq = next_seq
        self.last_part_ns: int | None = None
        """When the line's last part came (CLOCK_MONOTONIC)."""
        self._posted = 0
        self._parts = parts
        self._booking = booking
        self._thresholds = thresholds
        self._attempts = Attempts(parts.ledger.recent_attempts())

    @property
    def own_trigger_seq(self) -> int:
        """The number of the next part where the station itself counts them: without holes between two starts."""
        return (self.next_seq - self._posted) % 2**32

    def part(
        self, recipe: LoadedRecipe, mode: Mode, trigger_seq: int, part_id: str, at_ns: int, plc_boot_id: int
    ) -> tuple[Inspection, int]:
        """A part of the line, and its slot in the flight record. StorageError when there is no room for it."""
        attempt = self._attempts.count(part_id)
        self.last_part_ns = self._parts.clock.monotonic_ns()
        return self._begun(recipe, mode, trigger_seq, part_id, attempt, at_ns, plc_boot_id, windows(recipe.settings))

    def posted(self, recipe: LoadedRecipe, part_id: str, at_ns: int) -> tuple[Inspection, int]:
        """Pictures that somebody has sent: no part of the line, and no attempt of one."""
        begun = self._begun(recipe, Mode.MANUAL, 0, part_id, 1, at_ns, 0, {})
        self._posted += 1
        return begun

    def _begun(
        self,
        recipe: LoadedRecipe,
        mode: Mode,
        trigger_seq: int,
        part_id: str,
        attempt: int,
        at_ns: int,
        plc_boot_id: int,
        doubtful: dict[str, tuple[float, float]],
    ) -> tuple[Inspection, int]:
        parts, settings, seq = self._parts, recipe.settings, self.next_seq
        trigger = Trigger(
            seq=seq,
            result_id=f"{parts.identity.station}.{parts.ledger.book}.{seq}",
            trigger_seq=trigger_seq,
            part_id=part_id[:MAX_TEXT],
            attempt=attempt,
            mode=mode,
            recipe=recipe.name,
            recipe_no=settings.number,
            boot_id=parts.identity.boot_id,
            plc_boot_id=plc_boot_id,
            accepted_ns=at_ns,
            deadline_ns=at_ns + int(settings.deadline_ms * 1e6),
            wall_utc=parts.clock.utc(),
            clock_synced=parts.clock.synced(),
        )
        slot = self._booking.accepted(trigger)
        self._thresholds.accepted(trigger)
        self.next_seq += 1
        margin_ns = int(settings.output_margin_ms * 1e6)
        job = Job(recipe.cameras, recipe.criteria, self._thresholds.now(recipe), recipe.model_hash, margin_ns)
        return Inspection(trigger, job, doubtful=frozenset(doubtful)), slot
