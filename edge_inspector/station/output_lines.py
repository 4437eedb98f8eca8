"""The cameras' output lines: a thread for each camera that has some, so that no slow camera holds up the line loop."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from edge_inspector.errors import CameraError
from edge_inspector.interfaces import Clock, HasOutputLines, OutputOrder

_WAIT_S = 0.1
LATE_NS = 100_000_000
"""A line that should have been energised so long ago is not any more: a pulse would be taken for the next part's."""
DEAD_MAN_NS = 1_000_000_000
"""All lines fall when no order has come for so long: links order four times a second while the event loop runs."""
SET_S = 2.0
"""How long a driver may need to set a line."""

Opened = Callable[[str], "object | None"]
"""The open camera of that name, None = it is not open now."""


class OutputLines:
    """`put` hands an order to its camera's thread; the station starts `threads` and joins them after `stop`."""

    def __init__(
        self, cameras: Iterable[str], opened: Opened, clock: Clock, trouble: Callable[[str, str], None]
    ) -> None:
        """`trouble(camera, text)` is called on the camera's thread when its lines fail, and with "" when they obey."""
        self._of = {name: _Lines(name, opened, clock, trouble) for name in cameras}

    @property
    def threads(self) -> Mapping[str, Callable[[], None]]:
        """What to run, each on a daemon thread of its own, by camera."""
        return {name: lines.run for name, lines in self._of.items()}

    def put(self, order: OutputOrder) -> None:
        """On any thread; never waits."""
        self._of[order.camera].put(order)

    def check(self) -> None:
        """Tell of the drivers whose calls do not come back."""
        for lines in self._of.values():
            lines.check()

    def stop(self) -> None:
        """All lines fall, as far as their cameras are open: so stop this before the cameras."""
        for lines in self._of.values():
            lines.stop()


class _Lines:
    """The lines of one camera. An order to energise is carried out at once or never, one to let fall until it is so."""

    def __init__(self, name: str, opened: Opened, clock: Clock, trouble: Callable[[str, str], None]) -> None:
        self._name = name
        self._opened = opened
        self._clock = clock
        self._tell_trouble = trouble
        self._orders: queue.SimpleQueue[tuple[OutputOrder, int]] = queue.SimpleQueue()
        self._camera: object | None = None
        self._on: dict[str, bool | None] = {}
        """Every line that was ever ordered; None = not known."""
        self._heard_ns = 0
        self._trouble = ""
        self._stopping = threading.Event()
        self._call: tuple[str, int] | None = None

    def put(self, order: OutputOrder) -> None:
        self._orders.put((order, self._clock.monotonic_ns()))

    def stop(self) -> None:
        self._stopping.set()

    def check(self) -> None:
        call = self._call
        if call is not None and self._clock.monotonic_ns() > call[1]:
            self._report(f"camera {self._name}: {call[0]} does not come back")

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                order, asked_ns = self._orders.get(timeout=_WAIT_S)
            except queue.Empty:
                self._look()
            else:
                self._look()
                self._carry_out(order, asked_ns)
        self._fall(list(self._on))

    def _look(self) -> None:
        """What holds without an order: a camera that was opened anew is unknown, and a silent loop lets all fall."""
        camera = self._opened(self._name)
        if camera is not self._camera:
            self._camera = camera
            self._on = dict.fromkeys(self._on)
        silent = self._clock.monotonic_ns() - self._heard_ns > DEAD_MAN_NS and self._orders.empty()
        self._fall([line for line, on in self._on.items() if on is None or (on and silent)])

    def _carry_out(self, order: OutputOrder, asked_ns: int) -> None:
        now = self._clock.monotonic_ns()
        self._heard_ns = now
        known = self._on.setdefault(order.line, None)
        if not order.on:
            self._fall([order.line] if known is not False else [])
        elif known:
            return
        elif now - asked_ns > LATE_NS or (order.not_after_ns is not None and now > order.not_after_ns):
            self._report(f"camera {self._name}: an order for {order.line} came too late, the camera is too slow")
        elif self._camera is not None:
            self._set(order.line, True)

    def _fall(self, lines: Iterable[str]) -> None:
        for line in lines:
            if self._camera is not None:
                self._set(line, False)

    def _set(self, line: str, on: bool) -> None:
        self._on[line] = None
        try:
            with self._bounded(f"setting output {line}"):
                if not isinstance(self._camera, HasOutputLines):
                    raise CameraError(f"camera {self._name}: its driver has no output lines; use gpio or modbus")
                self._camera.set_output(line, on)
        except CameraError as exc:
            self._report(str(exc))
            return
        self._on[line] = on
        if None not in self._on.values():
            self._report("")

    def _report(self, text: str) -> None:
        """Changes, not repetitions."""
        if text != self._trouble:
            self._trouble = text
            self._tell_trouble(self._name, text)

    @contextmanager
    def _bounded(self, what: str) -> Iterator[None]:
        """`check` tells of a call that does not come back."""
        self._call = (what, self._clock.monotonic_ns() + int(SET_S * 1e9))
        try:
            yield
        finally:
            self._call = None
