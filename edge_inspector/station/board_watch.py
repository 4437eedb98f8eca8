"""What the board says of itself: its mode, its heat, and for how long that is known."""

from __future__ import annotations

from dataclasses import replace

import structlog

from edge_inspector.interfaces import Clock, PowerMode, PowerState, Vitals
from edge_inspector.station.booking import Booking
from edge_inspector.station.events import PowerOpened, PowerTrouble
from edge_inspector.station.heat import Heat

log = structlog.get_logger()
STALE_S = 10.0
"""What the board said before that is not known any more."""


class BoardWatch:
    """On the event loop; told of each reading."""

    def __init__(self, clock: Clock, booking: Booking) -> None:
        self.modes: tuple[PowerMode, ...] = ()
        self.trouble = ""
        """Why it cannot be reached, or what it does not do; empty = nothing is known against it."""
        self._clock = clock
        self._booking = booking
        self._state: PowerState | None = None
        self._read_ns = clock.monotonic_ns()
        self._heat = Heat(clock)
        self._alarmed = False

    @property
    def mode(self) -> PowerMode | None:
        return None if self._state is None else self._state.mode

    @property
    def heat(self) -> str:
        """Why it is throttled, empty = it is not."""
        return self._heat.text

    @property
    def heat_suspected(self) -> bool:
        """Whether it may be throttled, though not long enough to count."""
        return self._heat.suspected

    @property
    def too_slow(self) -> bool:
        """Whether it is throttled, and parts are late."""
        return self._heat.too_slow

    def filled(self, vitals: Vitals) -> Vitals:
        """With what the board says of itself."""
        if self._state is None:
            return vitals
        mode = None if self.mode is None else self.mode.name
        return replace(vitals, gpu_load=self._state.gpu_load, power_mode=mode, throttled=self.heat)

    def opened(self, event: PowerOpened) -> bool:
        """As `read`."""
        self.modes, self.trouble = event.modes, ""
        log.info("power_opened", modes=[mode.name for mode in event.modes])
        return self.read(event.state)

    def troubled(self, event: PowerTrouble) -> None:
        if event.text != self.trouble:
            self._booking.event("warning", "power_control", event.text)
        self.trouble = event.text

    def read(self, state: PowerState) -> bool:
        """Whether heat has begun or ended with it. A mode is known by its number: not everybody who tells it writes
        its name as the board's table does."""
        mode = state.mode
        named = next((one for one in self.modes if mode is not None and one.number == mode.number), mode)
        self._state, self._read_ns = replace(state, mode=named), self._clock.monotonic_ns()
        return self._heat_read(state.throttled)

    def look(self, *, asked: bool) -> bool:
        """After every event, as `read`; `asked`: a change is under way, and nobody reads meanwhile."""
        if not asked and self._clock.monotonic_ns() - self._read_ns > STALE_S * 1e9:
            self._state = None
        if self.too_slow and not self._alarmed:
            text = f"the deadline cannot be kept while the board is throttled: {self.heat}"
            self._booking.event("alarm", "machine_too_slow", text)
        self._alarmed = self.too_slow
        return self._state is None and self._heat_read("")

    def part(self, *, late: bool) -> None:
        """A part was settled."""
        self._heat.part(late=late)

    def changed(self) -> None:
        """The board is in another mode."""
        self._heat.cooler()

    def _heat_read(self, throttled: str) -> bool:
        told = self._heat.read(throttled)
        if told is not None and self.heat:
            self._booking.event("warning", "throttled", told)
        elif told is not None:
            self._booking.event("info", "throttle_ended", told)
        return told is not None
