"""The image in the PLC's memory: what it is known to hold, and how the next one gets there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import structlog
from asyncua import ua

from edge_inspector.errors import OutputError
from edge_inspector.interfaces import Clock
from edge_inspector.outputs.opcua_client.cells import Cell
from edge_inspector.outputs.opcua_client.session import Session
from edge_inspector.outputs.opcua_client.steps import Step, lowered, steps
from edge_inspector.plc.tags import Value

log = structlog.get_logger()
_HEARTBEAT, _BLOCK = "Status.Heartbeat", "Status.Block"
_TOO_LONG = (
    *(ua.StatusCodes.BadOutOfRange, ua.StatusCodes.BadTypeMismatch, ua.StatusCodes.BadEncodingLimitsExceeded),
    ua.StatusCodes.BadInvalidArgument,
)
"""What servers say of a text that does not fit into the PLC's STRING[n]."""


class Outbound:
    """What a server has been found to take (no time stamps, shorter texts) is remembered over sessions."""

    def __init__(self, heartbeat_ms: float, clock: Clock) -> None:
        self._beat_every_ns = int(heartbeat_ms * 1e6)
        self._clock = clock
        self._cells: dict[str, tuple[Cell, ua.NodeId]] = {}
        self._longest: dict[str, int] = {}
        self._taken: dict[str, int] = {}
        """Tag -> the longest text that the PLC has taken."""
        self._stamped = True
        self._held: dict[str, Value] = {}
        """What the PLC has confirmed; what is being written is not in it."""
        self._meant: Mapping[str, Value] = {}
        """What the last write was to bring there."""
        self._beat_ns: int | None = None

    def begin(self, cells: Mapping[str, tuple[Cell, ua.NodeId]]) -> None:
        """A new session: nothing is known of what the PLC holds."""
        self._cells = {
            tag: (replace(cell, longest=self._longest.get(tag, cell.longest)), node)
            for tag, (cell, node) in cells.items()
        }
        self.forget()

    def forget(self) -> None:
        """The PLC may hold anything."""
        self._held.clear()
        self._beat_ns = None

    def has(self, tag: str) -> bool:
        """Whether the tag is mapped."""
        return tag in self._cells

    def due_ns(self, image: Mapping[str, Value]) -> int:
        """When the heartbeat has to be written next (monotonic)."""
        beat = self._held.get(_HEARTBEAT, self._held.get(_BLOCK, (None,)))
        same = image[_HEARTBEAT] == (beat[0] if isinstance(beat, tuple) else beat)
        return self._clock.monotonic_ns() + self._beat_every_ns if same else (self._beat_ns or 0) + self._beat_every_ns

    async def write(self, session: Session, image: Mapping[str, Value]) -> bool:
        """Bring the PLC to this image; False = it is there. OutputError when a node refuses its value."""
        target = self._meant = self._target(image)
        untried = [tag for tag, value in target.items() if self._length(tag, value) > self._taken.get(tag, 0)]
        todo = steps(self._held, target, untried)
        for step in todo:
            if not await self._step(session, step):
                return await self.write(session, image)  # a text was cut: what is not held now comes again
        return bool(todo)

    async def say_farewell(self, session: Session) -> None:
        """No result and no READY stay behind, nor of a write whose answer nobody has waited for."""
        there = {**self._meant, **self._held}
        gone: dict[str, Value] = {**lowered(there, there), "Status.TriggerReady": False, "Status.Word": 0}
        block = gone.get(_BLOCK)
        if isinstance(block, tuple):
            gone[_BLOCK] = (*block[:2], int(block[2]) & ~0xFFFF, *block[3:])
        step = tuple((tag, value) for tag, value in gone.items() if tag in there and self._held.get(tag) != value)
        if step:
            try:
                await self._step(session, step)
            except OutputError as exc:
                log.warning("plc_farewell_failed", error=str(exc))

    def _target(self, image: Mapping[str, Value]) -> dict[str, Value]:
        """The mapped tags; the heartbeat stands still until it is due."""
        target = {tag: image[tag] for tag in self._cells}
        now = self._clock.monotonic_ns()
        if self._beat_ns is None or now - self._beat_ns >= self._beat_every_ns:
            if any(target.get(tag) != self._held.get(tag) for tag in (_HEARTBEAT, _BLOCK)):
                self._beat_ns = now
            return target
        if _HEARTBEAT in self._held and _HEARTBEAT in target:
            target[_HEARTBEAT] = self._held[_HEARTBEAT]
        block, held = target.get(_BLOCK), self._held.get(_BLOCK)
        if isinstance(block, tuple) and isinstance(held, tuple):
            target[_BLOCK] = (held[0], *block[1:])
        return target

    async def _step(self, session: Session, step: Step) -> bool:
        """Write one step; False = a text was too long for the PLC and is shorter from now on."""
        pairs = [(self._cells[tag][1], self._cells[tag][0].variant(value)) for tag, value in step]
        for tag, _ in step:
            self._held.pop(tag, None)
        answers = await session.write(pairs, stamped=self._stamped)
        if self._stamped and any(one.value == ua.StatusCodes.BadWriteNotSupported for one in answers):
            self._stamped = False
            log.info("plc_takes_no_timestamps")
            answers = await session.write(pairs, stamped=False)
        taken = True
        for (tag, value), answer in zip(step, answers, strict=True):
            if not answer.is_good():
                self._shorten(tag, value, answer)
                taken = False
        if taken:
            self._held.update(step)
            self._taken.update({tag: max(self._length(tag, value), self._taken.get(tag, 0)) for tag, value in step})
        return taken

    def _length(self, tag: str, value: Value) -> int:
        """Of the text that is sent for a value, 0 = it is no text."""
        cell = self._cells[tag][0]
        return min(len(value), cell.longest) if isinstance(value, str) and cell.tag.type == "String" else 0

    def _shorten(self, tag: str, value: Value, answer: ua.StatusCode) -> None:
        """Half the text, when that may be what the server refuses. OutputError otherwise."""
        cell, node = self._cells[tag]
        length = self._length(tag, value)
        if not length or answer.value not in _TOO_LONG:
            raise OutputError(f"{tag}: node {cell.node.name} refuses {value!r:.60}: {answer.name}")
        shorter = cell.shorter(length)
        self._cells[tag] = (shorter, node)
        self._longest[tag] = shorter.longest
        log.warning("plc_text_cut", tag=tag, node=cell.node.name, characters=shorter.longest, error=answer.name)
