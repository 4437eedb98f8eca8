"""What the station is asked for when somebody reads its metrics: a snapshot, made on the reader's thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edge_inspector.datatypes import CameraStatistics, Identity
from edge_inspector.interfaces import StationStatus, Vitals


class DestinationReading(Protocol):
    """One destination of the outbox; the counts are since the start of the process, of messages."""

    @property
    def destination(self) -> str: ...
    @property
    def connected(self) -> bool: ...
    @property
    def waiting(self) -> int: ...
    @property
    def oldest_waiting_s(self) -> float:
        """0 = nothing waits."""
        ...

    @property
    def delivered(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def reconnects(self) -> int: ...


@dataclass(frozen=True)
class CameraReading:
    """One camera; the counts are since the start of the process, over all its openings."""

    camera: str
    up: bool
    statistics: CameraStatistics
    opened: int
    lost: int
    hangs: int


@dataclass(frozen=True)
class EngineReading:
    """The model that serves one recipe; `model` is the bundle's hash, `memory_bytes` None = not known."""

    recipe: str
    model: str
    backend: str
    precision: str
    memory_bytes: int | None = None


@dataclass(frozen=True)
class ThresholdReading:
    """One class of a recipe: the recipe's own threshold, the one that judges, and what the shadow proposes.

    `proposed` None = the recipe has no other policy than the one that judges.
    """

    recipe: str
    class_name: str
    fixed: float
    now: float
    proposed: float | None


@dataclass(frozen=True)
class PowerReading:
    """The board: whether it is throttled, how often its power mode was changed, and how often that failed."""

    throttled: bool
    changes: int
    failures: int


@dataclass(frozen=True)
class Readings:
    """The station at this moment. Whoever makes one waits for nothing: no disk, no network, no lock held for long.

    `now_ns` is CLOCK_MONOTONIC. `classes` and `deadline_s` are the active recipe's. `queues` is how many things wait,
    by what they wait for: line, model, ledger. `progress_age_s` is how long ago each loop of the verdict path has shown
    progress, and `hung_s` the age from which the process ends. `links` tells of each PLC link whether somebody is at
    its other end. `changeovers` is how many came to their end, `changeover_s` how long the last of them took.
    """

    now_ns: int = 0
    identity: Identity | None = None
    status: StationStatus | None = None
    open_parts: int = 0
    classes: tuple[str, ...] = ()
    deadline_s: float | None = None
    queues: Mapping[str, int] = field(default_factory=dict)
    ledger_healthy: bool = True
    ledger_bytes: int | None = None
    outbox_bytes: int | None = None
    flight_used: int = 0
    flight_slots: int = 0
    vitals: Vitals = field(default_factory=Vitals)
    cameras: Sequence[CameraReading] = ()
    destinations: Sequence[DestinationReading] = ()
    links: Mapping[str, bool] = field(default_factory=dict)
    engines: Sequence[EngineReading] = ()
    progress_age_s: Mapping[str, float] = field(default_factory=dict)
    hung_s: float = 0.0
    thresholds: Sequence[ThresholdReading] = ()
    thresholds_held: Mapping[str, bool] = field(default_factory=dict)
    """By recipe: the policy that judges may not move them, or somebody should look."""
    changeovers: int = 0
    changeover_s: float | None = None
    images: Mapping[str, float] = field(default_factory=dict)
    """`ImageStore.counters()`."""
    power: PowerReading | None = None
    """None = nobody looks at the board."""
