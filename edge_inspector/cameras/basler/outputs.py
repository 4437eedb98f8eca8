"""Output lines of a Basler camera: driven by a user output, which nothing else drives."""

from __future__ import annotations

from edge_inspector.cameras.basler.nodes import Nodes
from edge_inspector.errors import CameraError

_USER_OUTPUT = "UserOutput"
_SELECTORS = ("LineSelector", "UserOutputSelector")


class Outputs:
    """The lines of one opened camera that we drive. Selectors are put back: a recipe's features may rely on them.

    pylon's errors come out as they are, what cannot be as CameraError.
    """

    def __init__(self, camera: str, nodes: Nodes) -> None:
        self._camera = camera
        self._nodes = nodes
        self._driven: dict[str, str] = {}

    def put(self, line: str, on: bool) -> None:
        """Energise the line or let it fall; the first time it is set up before."""
        before = {name: self._nodes.value(name) for name in _SELECTORS}
        try:
            if line not in self._driven:
                self._driven[line] = self._set_up(line)
            self._switch(self._driven[line], on)
        finally:
            for name, value in before.items():
                if value is not None and value != self._nodes.value(name):
                    self._nodes.put(name, value)

    def fall(self) -> None:
        """All lines that we have driven."""
        for line in self._driven:
            self.put(line, False)

    def _set_up(self, line: str) -> str:
        """The user output that drives the line from now on; it is off before the line listens to it."""
        nodes = self._nodes
        known = nodes.choices("LineSelector")
        if line not in known:
            raise self._error(line, f"is no line of this camera; it has {', '.join(known) or 'none'}")
        if nodes.value("TriggerMode") == "On" and nodes.value("TriggerSource") == line:
            raise self._error(line, "is the trigger's input")
        taken = self._taken_by_others(line)
        nodes.put("LineSelector", line)
        if nodes.value("LineMode") != "Output":
            if not nodes.writable("LineMode") or "Output" not in nodes.choices("LineMode"):
                raise self._error(line, "is an input, and this model cannot make it an output")
            nodes.put("LineMode", "Output")
        if nodes.value("LineInverter"):
            raise self._error(
                line, "is inverted, so it would be energised while nobody says good; set LineInverter off"
            )
        source = self._source(line, taken)
        self._switch(source, False)
        nodes.put("LineSource", source)
        return source

    def _switch(self, source: str, on: bool) -> None:
        """A camera with a single user output names it UserOutput as the source of its line; it needs no selector."""
        if source != _USER_OUTPUT:
            self._nodes.put("UserOutputSelector", source)
        self._nodes.put("UserOutputValue", on)

    def _source(self, line: str, taken: set[str]) -> str:
        able = (_USER_OUTPUT, *self._nodes.choices("UserOutputSelector"))
        free = [name for name in self._nodes.choices("LineSource") if name in able and name not in taken]
        if not free:
            used = f"; others have {', '.join(sorted(taken))}" if taken else ""
            raise self._error(line, f"has no free user output as its LineSource{used}")
        now = self._nodes.value("LineSource")
        return str(now) if now in free else free[0]

    def _taken_by_others(self, line: str) -> set[str]:
        """User outputs that drive other lines."""
        taken = set()
        for other in self._nodes.choices("LineSelector"):
            if other == line:
                continue
            self._nodes.put("LineSelector", other)
            source = self._nodes.value("LineSource")
            if self._nodes.value("LineMode") == "Output" and isinstance(source, str):
                taken.add(source)
        return {source for source in taken if source.startswith(_USER_OUTPUT)}

    def _error(self, line: str, why: str) -> CameraError:
        return CameraError(f"camera {self._camera}: output line {line} {why}")
