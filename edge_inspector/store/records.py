"""What can be booked in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from edge_inspector.datatypes import (
    AuditEntry,
    Event,
    InspectionResult,
    OutboxMessage,
    Refusal,
    SavedImage,
    Trigger,
)


@dataclass(frozen=True)
class BookTrigger:
    """A part was accepted. Booking the same trigger again changes nothing."""

    slot: int | None
    trigger: Trigger


@dataclass(frozen=True)
class BookRefusal:
    """A trigger was refused; frees its flight slot. `replay`: from the flight record, perhaps booked already."""

    slot: int | None
    refusal: Refusal
    replay: bool = False


@dataclass(frozen=True)
class BookResult:
    """The verdict and its messages, in one transaction; frees its flight slot.

    `told`: whether the PLC could read it, None when this is not known yet (`BookTold` follows). `replay`: from the
    flight record; its trigger may be missing here, or all of it may be booked already: then the first verdict stays.
    """

    slot: int | None
    result: InspectionResult
    told: bool | None
    messages: tuple[OutboxMessage, ...] = ()
    replay: bool = False


@dataclass(frozen=True)
class BookTold:
    """The PLC can read the result, or the write has failed for good."""

    result_id: str
    told: bool = True


@dataclass(frozen=True)
class BookAcknowledged:
    """The PLC has read these results."""

    result_ids: tuple[str, ...]
    utc: str


@dataclass(frozen=True)
class BookFeedback:
    """Somebody has looked at a part again and found it good or bad."""

    trigger_seq: int
    plc_boot_id: int
    good: bool
    utc: str


@dataclass(frozen=True)
class BookLate:
    """An inference that came `late_ns` after its part had been settled: it changes nothing."""

    result_id: str
    camera: str
    late_ns: int
    utc: str


@dataclass(frozen=True)
class BookUnannounced:
    """A picture that no announced part could be sure of: it was judged for nobody. `frame_id` as in `Frame`."""

    camera: str
    frame_id: int | None
    text: str
    utc: str


@dataclass(frozen=True)
class BookEvent:
    """Something that is not a part, and its messages."""

    event: Event
    messages: tuple[OutboxMessage, ...] = ()


@dataclass(frozen=True)
class BookImage:
    """A picture of a part is on the disk, and its messages."""

    image: SavedImage
    messages: tuple[OutboxMessage, ...] = ()


@dataclass(frozen=True)
class BookImageRemoved:
    """Retention has deleted these files (paths as in `SavedImage`); the rows stay and say when."""

    paths: tuple[str, ...]
    utc: str


@dataclass(frozen=True)
class BookAudit:
    """One line of the audit trail."""

    entry: AuditEntry


@dataclass(frozen=True)
class BookConfiguration:
    """What the station runs with from now on, as words by key, and what of it was changed since the last start."""

    values: Mapping[str, str]
    changes: tuple[AuditEntry, ...]


@dataclass(frozen=True)
class BookKept:
    """What the line must remember over a restart: the newest value of a name counts. JSON.

    A value that takes long to write out may come as what makes it, on the ledger's thread.
    """

    name: str
    value: str | Callable[[], str]
    utc: str


@dataclass(frozen=True)
class BookStarted:
    """The program has started; `flight_kept`: it knows what the last run left open. `first_seq` is its first part's."""

    boot_id: int
    first_seq: int
    flight_kept: bool
    utc: str


@dataclass(frozen=True)
class BookStopped:
    """The program ends in order: nothing is open."""

    boot_id: int
    utc: str


@dataclass(frozen=True)
class GivenUp:
    """A destination will never take this row of the outbox, and why."""

    destination: str
    row: int
    why: str
    utc: str


@dataclass(frozen=True)
class Delivered:
    """A destination has acknowledged these rows of the outbox."""

    destination: str
    rows: tuple[int, ...]


LedgerRecord: TypeAlias = (
    BookTrigger
    | BookRefusal
    | BookResult
    | BookTold
    | BookAcknowledged
    | BookFeedback
    | BookLate
    | BookUnannounced
    | BookEvent
    | BookImage
    | BookImageRemoved
    | BookAudit
    | BookConfiguration
    | BookKept
    | BookStarted
    | BookStopped
    | GivenUp
    | Delivered
)
